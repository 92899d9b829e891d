"""Typed commands for the console: done at once, with the window alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.runs.run import run_to_end

from .command_run import CommandOutcome, CommandRun, CommandTask

__all__ = ["CommandOutcome", "keep_history", "run_command"]

#: Whoever undoes finds what was written as long as somebody holds this.
_history: list[SegmentWriter] = []


def run_command(
    segmentation_node: Any,
    text: str,
    segment_ids: Sequence[str] | str | None = None,
    volume_node: Any | None = None,
) -> CommandOutcome:
    """Do typed commands such as ``keep the largest; shrink 2 mm`` to segments, as one undo.

    A clause may name its segment (``shrink the liver 2 mm``); one that names none is said of the segment before. The
    masking, editable intensity range and overwrite mode of a Segment Editor that has the segmentation open hold: what
    must not be edited stays, and what a segment has gained in the end its neighbors lose. Nothing is written unless
    all clauses can be done.

    Args:
        segmentation_node: a vtkMRMLSegmentationNode whose segments are binary labelmaps.
        text: one or more clauses, with ``;`` between them.
        segment_ids: IDs or names of the segments that are meant where the text names none; by default the one that is
            selected in that Segment Editor, or the only one.
        volume_node: for commands by intensity; by default the source volume of that Segment Editor, or the volume that
            the segmentation was made of.

    Raises:
        InputError: a clause is not understood, which the sentence says with the nearest that is; or it cannot be done.
        Cancelled: a node was removed, or the scene was closed, meanwhile.
    """
    run = CommandRun(CommandTask(segmentation_node, text, segment_ids, volume_node), keep_history())
    run_to_end(run, slicer.app.processEvents)
    return run.outcome


def keep_history() -> SegmentWriter:
    """The one who writes into the scene, kept from now on with what can be undone."""
    writer = SegmentWriter.shared()
    _history[:] = [writer]
    return writer
