"""How far a session has come when Slicer is left, and the ways to leave it."""

from __future__ import annotations

import numpy as np
import slicer

from .abdomen import add_abdomen
from .dialogs import Dialogs
from .session import Session
from .steps import Steps, pause


def reach(session: Session, stage: str) -> Steps:
    """Come as far as ``stage``: the panel opened, a run done, an action of the effect done."""
    session.open_panel()
    yield pause(0.5)
    if stage == "run":
        abdomen = add_abdomen()
        session.choose(abdomen, "liver; left kidney", seconds_a_slice=0.002)
        yield from session.run(session.ui.applyButton)
    elif stage == "effect":
        abdomen = add_abdomen()
        session.choose(abdomen, "liver", seconds_a_slice=0.002)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(abdomen.node)
        segment_id = node.GetSegmentation().AddEmptySegment("liver", "liver")
        _, effect = session.open_effect(node, abdomen.node, segment_id)
        yield pause(0.5)
        yield from session.act(effect, effect.options.volumeButton)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, abdomen.node)
        session.checks.check("the effect found something", found is not None and np.any(found), "liver")
    session.checks.check(f"stage {stage} is reached", True, session.model)
    yield pause(0.5)


def leave(way: str, code: int) -> None:
    """Leave Slicer in a way, with an exit code where Slicer lets one choose."""
    if way == "close" and not code:
        Dialogs()
        slicer.util.mainWindow().close()
    else:
        slicer.util.exit(code)
