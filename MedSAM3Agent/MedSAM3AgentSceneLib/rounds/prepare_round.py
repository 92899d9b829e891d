"""A round of the agent as what its node will hold: all that takes a while, done on a thread, beside the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedSAM3AgentLib.actions import action_data, action_words
from MedSAM3AgentLib.planning.seeds import Seeds
from MedSAM3AgentLib.session import Proposal, Round
from MedSAM3AgentLib.targets import Target, target_data
from MedSAM3AgentLib.transcript import proposal_data
from MedSAM3SceneLib.mrml.labelmaps import cropped, labelmap_on_lattice
from MedSAM3SceneLib.segments.edited_slices import WrittenSlices, written_slices
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.provenance import Provenance
from MedSAM3SegmentLib.vocabulary.terminology import terminology_entry
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .packed_mask import pack_mask
from .round_record import DISBELIEVED, KEPT, NOT, REJECTED, record_text
from .scene_round import TargetVerdict, summary_of


@dataclass(frozen=True, eq=False)
class PreparedSegment:
    """A segment of a round.

    Attributes:
        segment_id: within its node.
        name: that is shown.
        role: a value of ``round_record.ROLE_TAG``.
        target: name of the target it was made for.
        labelmap: a vtkOrientedImageData of 0 and 1, cropped.
        color: RGB, 0 to 1.
        terminology: Slicer's terminology entry.
        provenance: where it came from.
        written: what the agent wrote into it, slice by slice.
    """

    segment_id: str
    name: str
    role: str
    target: str
    labelmap: Any
    color: tuple[float, float, float]
    terminology: str
    provenance: dict[str, Any]
    written: WrittenSlices


@dataclass(frozen=True, eq=False)
class PreparedRound:
    """A round.

    Attributes:
        segments: kept ones first.
        summary: what the attribute ``SUMMARY`` holds.
        record: text of its text node.
    """

    segments: tuple[PreparedSegment, ...]
    summary: dict[str, Any]
    record: str


@dataclass(frozen=True, eq=False)
class RoundContext:
    """What all rounds of a run share.

    Attributes:
        request: the words that were typed for it.
        options: with which, plain JSON values; a later run takes them over.
        session: that the rounds belong to.
        grid: of the volume.
        stack: how it is cut.
        to_segmentation: 4x4 from the frame of the grid to that of the round's node.
        vocabulary: gives colors and terminology.
        seeds: what the run goes on from, or None.
        before_ml: volume of each target in the round before.
        earlier_provenance: of segments by target, for what is taken over as it is.
    """

    request: str
    options: Mapping[str, Any]
    session: str
    grid: VoxelGrid
    stack: SliceStack
    to_segmentation: Matrix
    vocabulary: Vocabulary
    seeds: Seeds | None
    before_ml: Mapping[str, float]
    earlier_provenance: Mapping[str, dict[str, Any]]


def prepare_round(
    context: RoundContext, done: Round, targets: Sequence[Target], provenance: Provenance, transcript: Sequence[str]
) -> PreparedRound:
    """What the node of a round will hold. Touches no scene.

    Args:
        targets: of the plan, in its order.
        transcript: lines of the run so far.
    """
    segments: list[PreparedSegment] = []
    verdicts, entries = [], []
    for number, target in enumerate(targets, start=1):
        proposal = done.kept[target.name]
        segment_id = "" if proposal.is_absent else f"target_{number}"
        if segment_id:
            segments.append(_kept_segment(context, done, proposal, segment_id, provenance))
        verdicts.append(_verdict(context, proposal, segment_id))
        entries.append(
            {
                "target": target_data(target),
                "proposal": proposal_data(proposal),
                "segment": segment_id,
                "name": target.name,
                "mask": pack_mask(proposal.mask),
            }
        )
    segments += _left_out(context, done, provenance)
    record = {
        "request": context.request,
        "options": dict(context.options),
        "targets": entries,
        "provenance": provenance.as_dict(),
        "transcript": list(transcript),
    }
    tried = _tried(done)
    return PreparedRound(
        tuple(segments), summary_of(tried, verdicts, done.calls, done.seconds), record_text(record, done.page)
    )


def _kept_segment(
    context: RoundContext, done: Round, proposal: Proposal, segment_id: str, provenance: Provenance
) -> PreparedSegment:
    name = proposal.target.name
    seed = None if context.seeds is None else context.seeds.targets.get(name)
    own = {
        "concept": name,
        "prompt": proposal.phrase,
        "action": action_data(proposal.action),
        "verdict": proposal.verdict.words,
        "why": str(proposal.why),
    }
    where = {"agent": {"session": context.session, "round": done.number}}
    is_taken_over = seed is not None and proposal is seed.earlier and name in context.earlier_provenance
    whole = context.earlier_provenance[name] if is_taken_over else {**provenance.as_dict(), **own, **where}
    drawn = () if seed is None else seed.edited
    return _segment(context, segment_id, KEPT, proposal.target, proposal.mask, whole, drawn, proposal.slice_scores)


def _left_out(context: RoundContext, done: Round, provenance: Provenance) -> list[PreparedSegment]:
    """What is not meant: by the agent's own verdict, and by that of a person."""
    segments = []
    for number, proposal in enumerate(done.rejected, start=1):
        whole = {**provenance.as_dict(), "concept": proposal.target.name, "prompt": proposal.phrase}
        whole |= {"verdict": proposal.verdict.words, "why": str(proposal.why)}
        one = _segment(context, f"not_{number}", DISBELIEVED, proposal.target, proposal.mask, whole)
        segments.append(one)
    for number, seed in enumerate(context.seeds.targets.values() if context.seeds else (), start=1):
        if seed.rejected is not None and seed.rejected.any():
            whole = {**provenance.as_dict(), "concept": seed.target.name, "verdict": "rejected by a person"}
            segments.append(_segment(context, f"rejected_{number}", REJECTED, seed.target, seed.rejected, whole))
    return segments


def _segment(
    context: RoundContext,
    segment_id: str,
    role: str,
    target: Target,
    mask: BoolMask,
    provenance: dict[str, Any],
    drawn: tuple[int, ...] = (),
    scores: Mapping[int, float] | None = None,
) -> PreparedSegment:
    name = target.name
    block, ijk_to_ras = cropped(mask, context.grid.ijk_to_ras)
    lattice = context.to_segmentation @ context.grid.ijk_to_ras
    labelmap = labelmap_on_lattice(block, context.to_segmentation @ ijk_to_ras, lattice)
    vocabulary, structure = context.vocabulary, target.structure
    concept = vocabulary.find(structure.name) or vocabulary.find(structure.phrase)
    return PreparedSegment(
        segment_id,
        name if role == KEPT else f"{NOT}{name}",
        role,
        name,
        labelmap,
        vocabulary.color_for(structure.name),
        terminology_entry(concept),
        provenance,
        written_slices(mask, context.stack, drawn, scores),
    )


def _verdict(context: RoundContext, proposal: Proposal, segment_id: str) -> TargetVerdict:
    name = proposal.target.name
    volume_ml = int(np.count_nonzero(proposal.mask)) * context.grid.voxel_volume_mm3 / 1000
    before = context.before_ml.get(name)
    return TargetVerdict(
        name,
        proposal.verdict.words,
        str(proposal.why),
        proposal.votes,
        round(volume_ml, 4),
        0.0 if before is None else round(volume_ml - before, 4),
        proposal.phrase,
        segment_id,
    )


def _tried(done: Round) -> str:
    """What a round tried, one sentence."""
    if not done.proposals:
        return str(message("nothing new"))
    words = {name: action_words(one.action) for name, one in done.proposals.items()}
    if len(set(words.values())) == 1 or len(words) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{name}: {said}" for name, said in words.items())
