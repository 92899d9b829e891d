"""transformers' SAM 3 for a process that runs it once and ends: a command of the shell waits for imports above all.

SAM 3's modules import transformers' parts for compiling, for many machines and for other models' losses, and the
packages above them list the files of every model there is. None of it takes part in segmenting, and it takes as long to
import as all the rest. While SAM 3 is imported here, stand-ins are in their places; what is read from a stand-in is
imported when it is first used, and afterwards the stand-ins are gone. Nothing else in the process is changed but that
transformers' modules for parallel training, if they are used later, say that PyTorch has no such part.

Only for the commands that segment one file: processes that live longer, train or run language models import all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Unpack

#: The version of transformers that this was tried with; with others everything is imported.
TRIED = ("5.23",)

#: Imported when first used: PyTorch's compiler, attention that is compiled, scipy's optimizers, and what joins
#: tokenizers and pictures, of which SAM 3's modules read one name for their annotations.
_DEFERRED = (
    "torch._dynamo",
    "torch._dynamo._trace_wrapped_higher_order_op",
    "torch.nn.attention.flex_attention",
    "scipy.optimize",
    "transformers.processing_utils",
)

#: Packages that list the files of all models when they are imported.
_LISTING = ("transformers", "transformers.models")

_NETWORKS = (
    "transformers.models.sam3.modeling_sam3",
    "transformers.models.sam3_tracker_video.modeling_sam3_tracker_video",
    "transformers.models.sam3_lite_text.modeling_sam3_lite_text",
)


class _Process:
    """Whether this process is the command's own, in which nobody else imports anything."""

    is_own = False


def begin_own_process() -> None:
    """Say that this process was started for one command of the shell."""
    _Process.is_own = True


def import_networks() -> None:
    """Import the modules of transformers that hold SAM 3, without what segmenting does not use.

    Does nothing in a process that was not started for the command, where transformers or its compiler is imported
    already, or where its version is another.
    """
    if not _Process.is_own:
        return
    installed = version("transformers")
    if any(name in sys.modules for name in (*_DEFERRED, *_LISTING)) or not installed.startswith(
        tuple(f"{tried}." for tried in TRIED)
    ):
        return
    import torch  # noqa: F401  before its parts are replaced

    stand_ins: dict[str, ModuleType] = {name: _DeferredModule(name) for name in _DEFERRED}
    compiler = stand_ins["torch._dynamo"]
    for decorator in ("disable", "allow_in_graph", "assume_constant_result"):
        setattr(compiler, decorator, _unchanged)
    vars(stand_ins["transformers.processing_utils"])["Unpack"] = Unpack
    sys.modules.update(stand_ins)
    try:
        for name in _LISTING:
            sys.modules[name] = _UnlistedPackage(name)
        vars(sys.modules["transformers"])["__version__"] = installed
        from transformers import utils
        from transformers.utils import import_utils

        for module in (utils, import_utils):
            vars(module)["is_torch_distributed_available"] = _no
        for name in _NETWORKS:
            import_module(name)
    except Exception:
        # Something is broken; importing everything says what.
        for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
            del sys.modules[name]
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if vars(sys.modules.get(parent, stand_in)).get(child) is stand_in:
                delattr(sys.modules[parent], child)


class _DeferredModule(ModuleType):
    """Gives for each name something that stands for it until it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _DeferredName(self.__name__, name)


class _DeferredName(type):
    """A class or function of a module that is imported when it is called, or when one of its attributes is read."""

    def __new__(cls, module: str, name: str) -> _DeferredName:
        return super().__new__(cls, name, (), {"__module__": module})

    def __init__(cls, _module: str, name: str) -> None:
        super().__init__(name, (), {})

    def imported(cls) -> Any:
        """What it stands for."""
        return getattr(import_module(cls.__module__), cls.__name__)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.imported()(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(cls.imported(), name)

    def __instancecheck__(cls, instance: object) -> bool:
        # Before its module is imported nothing can be one.
        return cls.__module__ in sys.modules and isinstance(instance, cls.imported())


class _UnlistedPackage(ModuleType):
    """A package whose own code runs when something is asked of it that is not one of its modules."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        spec = find_spec(name)
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError(name)
        self.__spec__, self.__file__ = spec, spec.origin
        self.__path__ = list(spec.submodule_search_locations)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if find_spec(f"{self.__name__}.{name}") is not None:
            return import_module(f"{self.__name__}.{name}")
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def _unchanged(function: Callable[..., Any] | None = None, *_args: Any, **_kwargs: Any) -> Any:
    """What a decorator of the compiler is for code that is never compiled."""
    return _unchanged if function is None else function


def _no() -> bool:
    return False
