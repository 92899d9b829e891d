"""Into which adapter is learnt: a new one on the chosen model, or one that is installed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from slicer.i18n import tr as _

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.engine.learning.records import LearningOrder
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.model_store.resolve import find
from MedSAM3SegmentLib.model_store.store import installed_models, replay_bytes


@dataclass(frozen=True)
class _Base:
    """What a new adapter goes on top of, and whether it is made from synthetic pictures alone."""

    name: str
    is_demo: bool


class TargetChoice:
    """The selector, and the name of a new adapter.

    Args:
        ui: the panel's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._base = _Base("demo", True)
        self._demos: dict[str, bool] = {}
        self._shown: Any = None

    def refresh(self) -> None:
        """Offer what can be learnt into now."""
        model = self._ui.modelSelector.currentData or "demo"
        self._base = _base_of(model)
        self._demos = {}
        with suppress(MedSAM3Error):
            for one in installed_models():
                if one.card.base and replay_bytes(one.name):
                    self._demos[one.name] = one.card.is_demo
        if (self._base, self._demos) == self._shown:
            return
        self._shown = (self._base, dict(self._demos))
        selector = self._ui.learnIntoSelector
        chosen = selector.currentData
        selector.clear()
        selector.addItem(_("A new adapter on {model}").format(model=self._base.name), "")
        for name in self._demos:
            selector.addItem(_("{adapter}, in addition").format(adapter=name), name)
        selector.setCurrentIndex(max(0, selector.findData(chosen)))

    @property
    def continued(self) -> str:
        """The installed adapter that learns in addition; empty for a new one."""
        return str(self._ui.learnIntoSelector.currentData or "")

    @property
    def is_demo(self) -> bool:
        """Whether what comes out stays a demo."""
        return self._demos.get(self.continued, False) if self.continued else self._base.is_demo

    @property
    def is_larger(self) -> bool:
        """Whether PEFT is missing, so that a new adapter holds the whole detector."""
        return not self.continued and find_spec("peft") is None

    def why_not(self) -> str:
        """Why nothing can be learnt into what is chosen, in one sentence; empty where it can."""
        return "" if self.continued or self._name else str(_("Type a name for the new adapter."))

    def order(self) -> LearningOrder:
        """What was chosen here."""
        name = self.continued or self._name
        base = "" if self.continued else self._base.name
        tune = "detector" if self.is_larger else "lora"
        return LearningOrder(name, base, bool(self.continued), tune, is_demo=self.is_demo)

    @property
    def _name(self) -> str:
        return str(self._ui.learnNameEdit.text).strip()


def _base_of(model: str) -> _Base:
    """The model, or what it goes on top of where it is an adapter."""
    with suppress(MedSAM3Error, OSError):
        path = find(model.split("+")[0])
        card = ModelCard.load(path if path.is_dir() else path.parent)
        return _Base(card.base or model.split("+")[0], card.is_demo)
    return _Base(model, False)
