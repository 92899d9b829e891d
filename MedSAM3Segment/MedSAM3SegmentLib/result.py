"""What a run gives back: per concept the evidence, the mask it leads to, and where it came from.

The evidence (scores and soft masks of every detection above a low floor) is part of the result, so that moving the
threshold never runs the model: ``assembly.assemble`` turns the same evidence into a mask again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gating import Gate
from .grid import SliceStack
from .intensity import Window
from .request import AssemblyOptions, Mode

#: Probabilities below this are kept as nothing.
_NOTHING = 0.02


@dataclass(frozen=True, eq=False)
class SoftMask:
    """A probability map at the model's mask resolution, cropped to where it is not zero.

    Attributes:
        size: (rows, columns) of the whole map, which covers the whole slice.
        top, left: where the crop begins.
        probability: float16 ``[row, column]`` of the crop.
    """

    size: tuple[int, int]
    top: int
    left: int
    probability: NDArray[np.float16]

    @classmethod
    def of(cls, probability: NDArray[np.floating | np.bool_]) -> SoftMask:
        """A probability map or mask ``[row, column]``, without what is next to nothing around it."""
        shown = probability > _NOTHING
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        size = (int(probability.shape[0]), int(probability.shape[1]))
        if rows.size == 0:
            return cls(size, 0, 0, np.zeros((0, 0), np.float16))
        top, left = int(rows[0]), int(columns[0])
        part = probability[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        return cls(size, top, left, part.astype(np.float16))

    def full(self) -> NDArray[np.float32]:
        """The whole map, float32 ``size``."""
        whole = np.zeros(self.size, np.float32)
        rows, columns = self.probability.shape
        whole[self.top : self.top + rows, self.left : self.left + columns] = self.probability
        return whole


@dataclass(frozen=True, eq=False)
class Detection:
    """One object found on one slice.

    Attributes:
        score: what the threshold is compared with, by the model's score rule.
        query_score: sigmoid of the query's logit, without presence (MedSAM-3's published thresholds use this).
        presence: probability that the concept is on the slice at all.
        box: ``(x0, y0, x1, y1)`` as fractions of the slice's columns and rows.
        mask: where.
    """

    score: float
    query_score: float
    presence: float
    box: tuple[float, float, float, float]
    mask: SoftMask


@dataclass(frozen=True, eq=False)
class SliceEvidence:
    """All that the model said about one concept on one slice.

    Attributes:
        slice_index: along the stack.
        score: best score of any detection, kept or not, by the model's score rule; 0..1.
        presence: probability that the concept is on the slice at all.
        detections: those above the floor, best first.
        semantic: the concept's semantic map, for models whose mask rule is ``semantic``.
    """

    slice_index: int
    score: float
    presence: float
    detections: tuple[Detection, ...] = ()
    semantic: SoftMask | None = None


@dataclass(frozen=True, eq=False)
class Instance:
    """One connected object of a concept.

    Attributes:
        label: its number in ``ConceptResult.instance_map``, from 1, largest first.
        first_slice, last_slice: along the stack, both included.
        score: best slice score.
    """

    label: int
    voxels: int
    volume_mm3: float
    first_slice: int
    last_slice: int
    score: float


class StopReason(StrEnum):
    """Why propagation of an object ended before the end of the stack."""

    OBJECT_GONE = "the object score fell"
    AREA_JUMP = "the area jumped"
    DETECTION_DISAGREES = "a fresh detection disagrees"
    LEFT_REGION = "the object left the region"
    END_OF_RANGE = "the range of slices ended"


@dataclass(frozen=True)
class Stop:
    """Where and why an object was followed no further.

    Attributes:
        slice_index: the first slice that was not kept.
        forward: whether slices came in rising order.
        detail: the figures behind the reason, in words.
    """

    slice_index: int
    forward: bool
    reason: StopReason
    detail: str

    def in_words(self) -> str:
        """``ended before slice 43 upwards, because the area jumped (200 to 900 mm2)``."""
        way = "upwards" if self.forward else "downwards"
        if self.reason is StopReason.END_OF_RANGE:
            return f"{self.detail} {way}, where {self.reason}"
        return f"ended before slice {self.slice_index} {way}, because {self.reason} ({self.detail})"


@dataclass(frozen=True, eq=False)
class Track:
    """One object followed through the stack.

    Attributes:
        seeds: the slices it was shown on, by a detection or by a person.
        score: of its best seed; a person's is 1.
        masks: by slice index.
        object_scores: probability that the object is on the slice, by slice index.
        drawn: slices a person drew; they stay as drawn.
        stops: one for each way it was followed.
        shown: whether a person showed it, by whatever mark; such an object is not doubted.
    """

    seeds: tuple[int, ...]
    score: float
    masks: Mapping[int, SoftMask]
    object_scores: Mapping[int, float]
    drawn: tuple[int, ...] = ()
    stops: tuple[Stop, ...] = ()
    shown: bool = False

    @property
    def sureness(self) -> tuple[float, bool]:
        """To order tracks by: the score, and among equals a person comes before the detector."""
        return self.score, self.shown

    def in_words(self) -> str:
        """Where it was shown and why it ended, in one sentence."""
        begun = f"shown on slice{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}"
        return "; ".join([begun, *(stop.in_words() for stop in self.stops)]) + "."


@dataclass(frozen=True, eq=False)
class ConceptResult:
    """One concept in one volume.

    Attributes:
        concept: the phrase as the user typed it.
        prompt: the phrase as the model was asked.
        window: the window the model saw the volume through.
        evidence: one entry per slice that was looked at.
        found: whether anything was segmented.
        reason: one sentence that says why, or why not.
        mask: bool ``[k, j, i]`` on the volume's grid.
        instance_map: uint16 ``[k, j, i]``, 0 where there is nothing.
        messages: what the user should know of this concept, one sentence each.
        tracks: the objects that were followed, in the modes that follow any.
        clean_up: what assembly did, one sentence a step ("2 objects on single slices were dropped").
    """

    concept: str
    prompt: str
    window: Window
    evidence: tuple[SliceEvidence, ...]
    found: bool
    reason: str
    mask: NDArray[np.bool_]
    instance_map: NDArray[np.uint16]
    instances: tuple[Instance, ...]
    messages: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = ()
    clean_up: tuple[str, ...] = ()

    @property
    def score_by_slice(self) -> dict[int, float]:
        return {item.slice_index: item.score for item in self.evidence}

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True)
class AdapterIdentity:
    """Which adapter was on top of a model."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ModelIdentity:
    """Which model ran: enough to find it again, and whether it is a demo.

    Attributes:
        name, sha256: of the base model and its weight file.
        adapters: that were merged into it.
    """

    name: str
    sha256: str
    is_demo: bool
    adapters: tuple[AdapterIdentity, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        adapters = [{"name": adapter.name, "sha256": adapter.sha256} for adapter in self.adapters]
        return {"name": self.name, "sha256": self.sha256, "demo": self.is_demo, "adapters": adapters}


@dataclass(frozen=True)
class Provenance:
    """Where a result came from; kept on every segment and in every file.

    Attributes:
        created: ISO 8601 time with zone.
        versions: package name to version.
        mode: how the stack became a volume.
        prompts: what was drawn, in words, by concept.
        inside: what all else had to lie in, in words; empty where that was nothing.
    """

    model: ModelIdentity
    device: str
    plane: str
    threshold: float
    input_name: str
    input_sha256: str
    created: str
    versions: Mapping[str, str] = field(default_factory=dict)
    mode: str = Mode.SLICES.value
    prompts: Mapping[str, str] = field(default_factory=dict)
    inside: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model.as_dict(),
            "device": self.device,
            "plane": self.plane,
            "threshold": self.threshold,
            "input": {"name": self.input_name, "sha256": self.input_sha256},
            "created": self.created,
            "versions": dict(self.versions),
            "mode": self.mode,
            "prompts": dict(self.prompts),
            "inside": self.inside,
        }


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """The answer to one request.

    Attributes:
        stack: how the volume was cut; its grid is the volume's.
        concepts: in the order of the request.
        seconds: by stage.
        messages: of the whole run, one sentence each.
        assembly: which clean-up steps ran.
        gate: outside of which nothing was segmented, or None.
    """

    stack: SliceStack
    concepts: tuple[ConceptResult, ...]
    provenance: Provenance
    seconds: Mapping[str, float]
    messages: tuple[str, ...] = ()
    assembly: AssemblyOptions = field(default_factory=AssemblyOptions)
    gate: Gate | None = None

    def gate_of(self, concept: str) -> Gate | None:
        """Outside of what nothing of one concept was segmented."""
        return None if self.gate is None else self.gate.for_concept(concept)

    def label_map(self) -> NDArray[np.uint16]:
        """Concept ``n`` (from 1) over the ones before it, uint16 ``[k, j, i]``."""
        labels = np.zeros(self.stack.grid.shape, np.uint16)
        for number, concept in enumerate(self.concepts, start=1):
            labels[concept.mask] = number
        return labels

    def with_threshold(self, threshold: float) -> SegmentResult:
        """The same evidence cut at another threshold; the model does not run.

        Of objects that were followed those drop out whose score is below; none is followed anew. Where concepts lie in
        another one, they stay in what that was.
        """
        from .assembly import assemble

        concepts = tuple(
            assemble(concept, self.stack, threshold, self.assembly, self.gate_of(concept.concept))
            for concept in self.concepts
        )
        return replace(self, concepts=concepts, provenance=replace(self.provenance, threshold=threshold))
