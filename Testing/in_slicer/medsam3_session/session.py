"""The panel and the Segment Editor in this Slicer, worked as a person works them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import slicer

from .abdomen import Abdomen, knowing_segmenter
from .dialogs import Dialogs
from .lines import Checks
from .steps import Steps, Until

_MODULE = "MedSAM3Segment"


class Session:
    """A session with the extension.

    Args:
        checks: where what is found is told.
        model: ``demo`` or ``fake``; None for the demo model where it can run.

    Attributes:
        widget, ui, panel: of the module, once it is open.
        dialogs: what was said in windows of their own.
        model: which model answers, in words.
    """

    def __init__(self, checks: Checks, model: str | None = None) -> None:
        from MedSAM3SceneLib.engine import requirements

        self.checks = checks
        self.dialogs = Dialogs()
        self._is_demo = not requirements.missing_packages() if model is None else model == "demo"
        self.model = "demo model" if self._is_demo else "no model, a segmenter that knows the answer"
        self._packages, self._needed = requirements, requirements.NEEDED
        if not self._is_demo:
            requirements.NEEDED = ()  # it needs nothing
        self.widget: Any = None
        self._engine: Any = None
        checks.note("answers come from", self.model)

    @property
    def is_demo(self) -> bool:
        return self._is_demo

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def panel(self) -> Any:
        return self.widget.panel

    def close(self) -> None:
        """Leave the module as it was found."""
        self.dialogs.close()
        self._packages.NEEDED = self._needed
        if self.widget is not None and not self._is_demo:
            self.widget.logic.segmenter = None

    def close_scene(self) -> None:
        """As *File > Close Scene* does once the user has agreed."""
        slicer.mrmlScene.Clear(False)

    def open_panel(self) -> None:
        """Choose the module."""
        slicer.util.selectModule(_MODULE)
        self.widget = slicer.util.getModuleWidget(_MODULE)

    def choose(self, abdomen: Abdomen, concepts: str, seconds_a_slice: float = 0.02) -> None:
        """Choose the volume and type the phrases."""
        if not self._is_demo:
            self.widget.logic.segmenter = knowing_segmenter(abdomen, seconds_a_slice)
            self._engine = self.widget.logic.segmenter
        self.ui.volumeSelector.setCurrentNode(abdomen.node)
        self.ui.conceptsEdit.plainText = concepts

    def choose_mode(self, name: str) -> None:
        """``THIS_SLICE``, ``SLICES``, ``PROPAGATE`` or ``FROM_PROMPTS``."""
        from MedSAM3PanelLib.parameter_node import PanelMode

        selector = self.ui.modeSelector
        selector.setCurrentIndex(selector.findText(PanelMode[name].label()))

    def choose_view(self, name: str) -> None:
        """Choose the slice view that is meant."""
        self.ui.viewSelector.setCurrentIndex(self.ui.viewSelector.findText(name))

    def press(self, button: Any) -> None:
        """Click a button.

        Raises:
            RuntimeError: it cannot be pressed; with what its tip says.
        """
        if not button.enabled:
            raise RuntimeError(f"'{button.text}' cannot be pressed: {button.toolTip}")
        button.click()

    def run(self, button: Any) -> Steps:
        """Click a button of the panel and wait for the end of what it begins."""
        self.press(button)
        yield Until(lambda: not self.panel.is_busy, f"an end of '{button.text}'", 600)

    def colors(self, concepts: Sequence[str]) -> list[tuple[float, float, float]]:
        """The colors that new segments and previews get."""
        from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

        vocabulary = Vocabulary.load()
        return [vocabulary.color_for(concept) for concept in concepts]

    def open_effect(self, segmentation: Any, volume: Any, segment_id: str) -> tuple[Any, Any]:
        """The Segment Editor's widget and the MedSAM3 effect, chosen on a segment."""
        from MedSAM3SceneLib.engine.local_engine import LocalEngine

        slicer.util.selectModule("SegmentEditor")
        editor = slicer.util.getModuleWidget("SegmentEditor").editor
        editor.setSegmentationNode(segmentation)
        editor.setSourceVolumeNode(volume)
        editor.setCurrentSegmentID(segment_id)
        editor.setActiveEffectByName("MedSAM3")
        effect = editor.activeEffect().self()
        if not self._is_demo:
            effect.engine = lambda: LocalEngine(self._engine)
        return editor, effect

    def act(self, effect: Any, button: Any) -> Steps:
        """Click a button of the effect and wait for the end of what it begins."""
        self.press(button)
        yield Until(lambda: not effect.session.is_running, f"an end of '{button.text}'", 600)


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self._began) * 1000
