"""PySide6 with PythonQt's ways, which are those of Slicer's ``qt`` module.

Properties are attributes, signals connect by their C++ signature on the object, and a member that Qt does not have
raises. ``adapt`` changes PySide6's classes themselves, so objects that Qt makes behave like those that Python makes.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import MethodDescriptorType, MethodType
from typing import Any

# Slicer's enums are numbers; PySide6 reads this before it is imported.
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x06")

try:
    import shiboken6
    from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
except ImportError as error:
    raise ImportError(
        f"{error}. The bench needs PySide6, and PySide6 needs libraries that pip does not bring; on Debian and Ubuntu:"
        " apt-get install libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0 fonts-dejavu-core"
    ) from error

#: The parts of Qt that Slicer's ``qt`` module holds.
QT_MODULES = (QtCore, QtGui, QtWidgets)

#: What PySide6 adds to Qt, which Slicer does not have.
PYSIDE_ONLY = frozenset(
    ("Signal", "SignalInstance", "Slot", "Property", "ClassInfo", "QEnum", "QFlag", "SIGNAL", "SLOT", "QtMsgType")
)

_object_setattr = QtCore.QObject.__mro__[1].__setattr__
_connect = QtCore.QObject.connect
_disconnect = QtCore.QObject.disconnect
_set_model = QtWidgets.QCompleter.setModel


class SlotErrors:
    """Exceptions that a slot let out. Slicer prints them and goes on; a test should hear of them."""

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        #: Asked whether the user saw a message about the error that has just come out of a slot.
        self.is_shown: Callable[[BaseException], bool] = lambda _error: False

    def add(self, error: BaseException) -> None:
        if not self.is_shown(error):
            self.raised.append(error)


slot_errors = SlotErrors()
_is_loading = False

#: What signals call, by the hash of the sender, while that lives: Python's collector sees no reference of PythonQt's.
_kept_slots: dict[int, list[Any]] = {}


@cache
def adapt() -> None:
    """Give PySide6's classes PythonQt's ways, for the rest of this process."""
    # PySide6 fills its modules when a name is first asked for.
    members = [getattr(module, name) for module in (*QT_MODULES, QtUiTools) for name in dir(module)]
    classes = [member for member in members if isinstance(member, type) and issubclass(member, QtCore.QObject)]
    # A class whose methods are static as well has a way of its own to look them up.
    own_ways = {qt_class: qt_class.__getattribute__ for qt_class in classes}
    for qt_class in sorted(own_ways, key=lambda each: len(each.__mro__)):
        _make_properties_attributes(qt_class)
        qt_class.__setattr__ = _set_attribute
        qt_class.__getattribute__ = _get_attribute(own_ways[qt_class])
        qt_class.__getattr__ = _missing_attribute
        qt_class.__hash__ = _hash
    qt_object = QtCore.QObject
    qt_object.className = lambda self: getattr(type(self), "bench_class_name", type(self).staticMetaObject.className())
    qt_object.delete = lambda self: self.deleteLater()
    qt_object.name = property(lambda self: self.objectName, lambda self, name: self.setObjectName(name))
    qt_object.__bool__ = lambda self: shiboken6.isValid(self)
    QtWidgets.QCompleter.setModel = _set_model_as_qt_5
    for qt_class in (QtWidgets.QDialog, QtWidgets.QMenu, QtWidgets.QApplication, QtCore.QEventLoop, QtGui.QDrag):
        qt_class.exec_ = qt_class.exec


def _hash(self: Any) -> int:
    """PythonQt goes by the address of the object, which is gone together with it."""
    return int(shiboken6.getCppPointer(self)[0]) if shiboken6.isValid(self) else 0


def _set_model_as_qt_5(self: Any, model: Any) -> None:
    """Qt 5 sets the popup up again for each model, so that the completer hears its keys before other event filters."""
    _set_model(self, model)
    self.popup().installEventFilter(self)


def connect(self: Any, signature: str, slot: Callable[..., Any]) -> bool:
    """Call ``slot`` when the signal comes, with as many of its arguments as ``slot`` takes, as PythonQt does.

    Raises:
        AttributeError: the object has no such signal.
    """
    if not callable(slot):
        raise TypeError(f"{signature} is connected to {slot!r}, which cannot be called.")
    taken = _arguments_taken(slot)

    def call(*arguments: Any) -> None:
        try:
            slot(*arguments[:taken])
        except Exception as error:
            slot_errors.add(error)
            sys.__excepthook__(type(error), error, error.__traceback__)

    own = _own_signals(self)
    name = _normalised(signature)
    if name in own:
        own[name].append((slot, call))
        _keep(self, call)
        return True
    # Not the object's own metaObject(): PySide6 takes the class's away together with the object.
    if type(self).staticMetaObject.indexOfSignal(name) < 0:
        raise AttributeError(f"{_class_name(self)} has no signal {signature}.")
    _connect(self, QtCore.SIGNAL(name), call)
    _connections(self).append((name, slot, call))
    _keep(self, call)
    return True


def _keep(self: Any, call: Callable[..., Any]) -> None:
    key = hash(self)
    if key not in _kept_slots:
        _kept_slots[key] = []
        _connect(self, QtCore.SIGNAL("destroyed()"), lambda: _kept_slots.pop(key))
    _kept_slots[key].append(call)


def _connect_either_way(self: Any, *arguments: Any) -> bool:
    """``connect``, but for what PySide6 itself connects, which names the sender first."""
    if isinstance(arguments[0], QtCore.QObject):
        return bool(_connect(*arguments))
    return connect(self, *arguments)


def disconnect(self: Any, signature: str | None = None, slot: Callable[..., Any] | None = None) -> bool:
    """Undo ``connect``; without a slot for all slots, without a signature for all signals."""
    name = None if signature is None else _normalised(signature)
    found = False
    for own_name, slots in _own_signals(self).items():
        for pair in [pair for pair in slots if name in (None, own_name) and slot in (None, pair[0])]:
            slots.remove(pair)
            _kept_slots[hash(self)].remove(pair[1])
            found = True
    kept = []
    for connected in _connections(self):
        if name in (None, connected[0]) and slot in (None, connected[1]):
            _disconnect(self, QtCore.SIGNAL(connected[0]), connected[2])
            _kept_slots[hash(self)].remove(connected[2])
            found = True
        else:
            kept.append(connected)
    _connections(self)[:] = kept
    return found


def emit(self: Any, signature: str, *arguments: Any) -> None:
    """Send a signal that a stand-in declares in ``bench_signals``."""
    if self.signalsBlocked():
        return
    for _slot, call in list(_own_signals(self)[_normalised(signature)]):
        call(*arguments)


def _arguments_taken(slot: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt would give ``slot``; None for all."""
    function = slot.__func__ if inspect.ismethod(slot) else slot
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - (1 if inspect.ismethod(slot) else 0)


def _normalised(signature: str) -> str:
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


def _connections(self: Any) -> list[tuple[str, Any, Any]]:
    return self.__dict__.setdefault("_bench_connections", [])


def _own_signals(self: Any) -> dict[str, list[tuple[Any, Any]]]:
    """The slots of each signal that the stand-ins in the object's ancestry declare."""
    declared = {_normalised(name) for each in type(self).__mro__ for name in each.__dict__.get("bench_signals", ())}
    slots: dict[str, list[tuple[Any, Any]]] = self.__dict__.setdefault("_bench_signals", {})
    for name in declared:
        slots.setdefault(name, [])
    return slots


class _Attribute(property):
    """A Qt property as an attribute of the instance; asked of the class it is what Qt has there (QTimer.singleShot)."""

    def __init__(self, name: str, of_class: Any) -> None:
        self._name = name
        self._of_class = of_class
        self._setter_name = f"set{name[0].upper()}{name[1:]}"
        super().__init__(self._read, self._write)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner) if instance is not None else self._of_class or self

    def _read(self, instance: Any) -> Any:
        if isinstance(self._of_class, MethodDescriptorType):
            return self._of_class(instance)
        return instance.property(self._name)

    def _write(self, instance: Any, value: Any) -> None:
        if value is None and isinstance(self._read(instance), (str, int, float)):
            # PythonQt refuses it for numbers, and makes the word None of it for a text.
            raise TypeError(f"{_class_name(instance)}.{self._name} cannot be set to None.")
        if callable(self._of_class) and not isinstance(self._of_class, MethodDescriptorType):
            # Its name is a static slot's, too, and PythonQt finds that one first.
            raise AttributeError(f"Slot '{self._name}' can not be overwritten on {_class_name(instance)} object")
        setter = getattr(instance, self._setter_name, None)
        if setter is not None:
            setter(value)
        elif not instance.setProperty(self._name, value):
            raise TypeError(f"{_class_name(instance)}.{self._name} cannot be set to {value!r}.")


def _make_properties_attributes(qt_class: Any) -> None:
    """Let each property be an attribute of ``qt_class``; a getter of the same name makes way for it."""
    meta = qt_class.staticMetaObject
    for number in range(meta.propertyCount()):
        name = meta.property(number).name()
        own = qt_class.__dict__.get(name)
        if number >= meta.propertyOffset() or own is not None:
            setattr(qt_class, name, _Attribute(name, getattr(qt_class, name, None)))


@contextmanager
def loading_ui_file() -> Iterator[None]:
    """Children do not become attributes of the top widget meanwhile, which is a custom of PySide6's loader alone."""
    global _is_loading
    _is_loading = True
    try:
        yield
    finally:
        _is_loading = False


def _set_attribute(self: Any, name: str, value: Any) -> None:
    """PythonQt's rule: only what the class has, and what Python classes add to it, can be set."""
    made_in_python = not type(self).__module__.startswith("PySide6")
    if isinstance(inspect.getattr_static(type(self), name, None), QtCore.Property):
        # A stand-in's own; the object's attribute would only hide it.
        self.setProperty(name, value)
    elif hasattr(type(self), name) or made_in_python or name in self.__dict__:
        _object_setattr(self, name, value)
    elif QtCore.QObject.property(self, name) is not None:
        self.setProperty(name, value)
    elif not (_is_loading and isinstance(value, QtCore.QObject)):
        raise AttributeError(f"{_class_name(self)} has no member '{name}' in Qt that could be set.")


def _get_attribute(own_way: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    def get(self: Any, name: str) -> Any:
        # PySide6 finds these two past the class's own attributes.
        if name == "connect":
            return MethodType(_connect_either_way, self)
        if name == "disconnect":
            return MethodType(disconnect, self)
        return own_way(self, name)

    return get


def _missing_attribute(self: Any, name: str) -> Any:
    if not name.startswith("_"):
        value = QtCore.QObject.property(self, name)
        if value is not None:
            return value
    raise AttributeError(f"{_class_name(self)} has no member '{name}', neither in Qt nor on the bench.")


def _class_name(self: Any) -> str:
    return type(self).__name__
