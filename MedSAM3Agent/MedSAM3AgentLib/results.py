"""What is kept of a session as segments of a file, each with where it came from and what the language model wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3AgentLib.actions import action_data
from MedSAM3AgentLib.session import AgentResult, Proposal
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.labelmap_nifti import write_label_map
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, Segment, provenance_text
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.vocabulary.terminology import terminology_entry
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary


def write_kept(path: Path, result: AgentResult, grid: VoxelGrid, kept: tuple[Proposal, ...] | None = None) -> None:
    """Write what was kept: segments of those that were found to ``.seg.nrrd``, else labels by the order of the plan.

    Args:
        kept: of another round, or None for the last.

    Raises:
        InputError: the file cannot be written.
    """
    proposals = result.kept if kept is None else kept
    provenance = {**result.provenance.as_dict(), "agent": _session(result)}
    if path.name.lower().endswith((".nii", ".nii.gz")):
        labels = np.zeros(grid.shape, np.uint16)
        for number, proposal in enumerate(proposals, start=1):
            labels[proposal.mask] = number
        names = {number: proposal.target.name for number, proposal in enumerate(proposals, start=1)}
        write_label_map(path, labels, grid, names, provenance)
        return
    vocabulary = Vocabulary.load()
    segments = [
        Segment(
            proposal.target.name,
            proposal.mask,
            vocabulary.color_for(proposal.target.structure.name),
            terminology_entry(
                vocabulary.find(proposal.target.structure.name) or vocabulary.find(proposal.target.structure.phrase)
            ),
            {PROVENANCE_TAG: provenance_text({**provenance, **_segment(proposal)})},
        )
        for proposal in proposals
        if not proposal.is_absent
    ]
    write_segmentation(path, segments, grid, provenance)


def _session(result: AgentResult) -> dict[str, Any]:
    """Of the session; the request's own words stay in the transcript, since they may name a person."""
    session: dict[str, Any] = {
        "understood_by": result.plan.by,
        "rounds": len(result.rounds),
        "stop": result.stop.value,
        "calls": result.calls,
    }
    if result.answer:
        session["language_model_wrote_no_finding"] = result.answer
    return session


def _segment(proposal: Proposal) -> dict[str, Any]:
    return {
        "concept": proposal.target.name,
        "prompt": proposal.phrase,
        "action": action_data(proposal.action),
        "verdict": proposal.verdict.words,
        "why": str(proposal.why),
    }
