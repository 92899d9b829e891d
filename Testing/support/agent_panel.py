"""The agent's panel on the bench over a logic that does what a test says, with rounds that the test makes."""

from __future__ import annotations

import sys
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound, TargetVerdict
from MedSAM3SegmentLib.errors import Cancelled

from .nodes import add_volume
from .panel import LATTICE
from .slicer_modules import load_module


def page_of(color: tuple[int, int, int] = (10, 200, 30), size: tuple[int, int] = (1008, 700)) -> bytes:
    """PNG bytes of one color."""
    stream = BytesIO()
    Image.new("RGB", size, color).save(stream, "PNG")
    return stream.getvalue()


def verdict_of(name: str = "liver", verdict: str = "accepted", **more: Any) -> TargetVerdict:
    """A verdict on one target."""
    values = {"why": "All 4 checks passed.", "votes": (0, 0), "volume_ml": 1450.25, "change_ml": 0.0, "phrase": name}
    return TargetVerdict(name, verdict, **{**values, **more})


def add_round(scene: Any, number: int = 1, session: str = "1", **more: Any) -> SceneRound:
    """A round with a segmentation node in the scene."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"Agent {session} round {number}")
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().AddEmptySegment("liver", "liver")
    values: dict[str, Any] = {
        "parent": f"{session}/{number - 1}" if number > 1 else "",
        "tried": "Segment 'liver'.",
        "verdicts": (verdict_of(),),
        "page": page_of(),
        "calls": 1,
        "seconds": {"all": 2.5},
        "request": "the liver",
    }
    return SceneRound(node, session, number, **{**values, **more})


class ScriptedLogic:
    """A MedSAM3AgentLogic whose requests a test takes on by itself.

    Attributes:
        asked: what it was asked for, in order.
        rounds: that are in the scene, with the volume node of each.
        can: whether there is something to undo, and to redo.
    """

    def __init__(self, parameter_node: Any) -> None:
        self._parameter_node = parameter_node
        self.asked: list[tuple[str, Any, str, dict[str, Any]]] = []
        self.kept: list[Any] = []
        self.rounds: list[tuple[Any, SceneRound]] = []
        self.can = [False, False]
        self.is_closed = False
        self.cancelled = 0
        self.failure: Exception | None = None

    def getParameterNode(self) -> Any:  # noqa: N802
        return self._parameter_node()

    def rounds_of(self, volume_node: Any) -> list[SceneRound]:
        return [one for volume, one in self.rounds if volume is volume_node and one.node.GetScene() is not None]

    def round_of(self, node: Any) -> SceneRound:
        return next(one for _volume, one in self.rounds if one.node is node)

    def start(self, volume: Any, text: str, **told: Any) -> Any:
        return self._begin("start", volume, text, told)

    def startGoOn(self, node: Any, text: str, **told: Any) -> Any:  # noqa: N802
        return self._begin("go on", node, text, told)

    def keep(self, node: Any) -> Any:
        self.kept.append(node)
        if self.failure is not None:
            raise self.failure
        return SimpleNamespace(GetName=lambda: "liver kept")

    def undo(self) -> bool:
        return self.can[0]

    def redo(self) -> bool:
        return self.can[1]

    def canUndo(self) -> bool:  # noqa: N802
        return self.can[0]

    def canRedo(self) -> bool:  # noqa: N802
        return self.can[1]

    def close(self) -> None:
        self.is_closed = True

    def add_round(self, volume: Any, scene: Any, number: int = 1, **more: Any) -> SceneRound:
        """A round comes into the scene, and whoever asked hears of it."""
        one = add_round(scene, number, **more)
        self.rounds.append((volume, one))
        self.asked[-1][3]["onRound"](one)
        return one

    def end(self) -> None:
        """The request is done."""
        rounds = [one for _volume, one in self.rounds]
        self.asked[-1][3]["onDone"](SimpleNamespace(rounds=rounds))

    def fail(self, error: Exception | None = None) -> None:
        """The request ends with an error."""
        self.asked[-1][3]["onFailed"](error or Cancelled("The request was cancelled."))

    def _begin(self, how: str, node: Any, text: str, told: dict[str, Any]) -> Any:
        if self.failure is not None:
            raise self.failure
        self.asked.append((how, node, text, told))
        return SimpleNamespace(cancel=self._cancel)

    def _cancel(self) -> None:
        self.cancelled += 1


def open_agent_panel(bench: Any, monkeypatch: Any) -> tuple[Any, ScriptedLogic]:
    """The module's widget, and the logic that a test works."""
    module = load_module("MedSAM3Agent")
    made: list[ScriptedLogic] = []

    def make() -> ScriptedLogic:
        base = sys.modules["slicer.ScriptedLoadableModule"].ScriptedLoadableModuleLogic()
        base.moduleName = "MedSAM3Agent"
        made.append(ScriptedLogic(base.getParameterNode))
        return made[-1]

    monkeypatch.setattr(module, "MedSAM3AgentLogic", make)
    import MedSAM3AgentPanelLib.panel as panel

    monkeypatch.setattr(panel, "nodes_of_rounds", lambda volume: [one.node for one in made[-1].rounds_of(volume)])
    monkeypatch.setattr(panel, "round_of", lambda node: made[-1].round_of(node))
    return bench.open_panel("MedSAM3Agent"), made[-1]


def phantom(name: str = "ct") -> Any:
    """A small volume node."""
    return add_volume(np.zeros((4, 5, 6), np.int16), ijk_to_ras=LATTICE, name=name)


def begin(widget: Any, text: str = "the liver") -> None:
    """Type a request and ask."""
    widget.ui.requestEdit.plainText = text
    widget.ui.askButton.click()
