"""What the segmenter says of phrases: asked in one request each round, and never twice for the same phrase."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from MedSAM3AgentLib.actions import GRID_CELLS, ExampleBox
from MedSAM3AgentLib.backends.protocol import TileView
from MedSAM3AgentLib.session import AgentRequest
from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import NO_CALLBACKS, RunCallbacks
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, BoxReading, TargetPrompts
from MedSAM3SegmentLib.provenance import Provenance
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.vocabulary.phrases import key_of
from MedSAM3SegmentLib.volume import Volume


@dataclass(eq=False)
class Evidence:
    """The segmenter's answers of one session.

    Attributes:
        segmenter: a model in this process, or an engine in another one.
        volume: what is segmented.
        request: gives plane, slices, window and threshold.
        callbacks: of every run.
        seconds: that the segmenter took.
        messages: of the runs, each once.
        earlier: provenance of the round that the session goes on from, or None.
    """

    segmenter: SegmenterProtocol
    volume: Volume
    request: AgentRequest
    callbacks: RunCallbacks = NO_CALLBACKS
    seconds: float = 0.0
    messages: list[Message] = field(default_factory=list)
    earlier: Provenance | None = None
    _first: Provenance | None = None
    _results: dict[str, tuple[SegmentResult, ConceptResult]] = field(default_factory=dict)

    @property
    def stack(self) -> SliceStack:
        """How the volume is cut."""
        return SliceStack.along(self.volume.grid, self.request.plane)

    @property
    def provenance(self) -> Provenance:
        """Of the first run, or of the earlier round where no model was asked."""
        if self._first is not None:
            return self._first
        assert self.earlier is not None
        return self.earlier

    def ask(self, phrases: Iterable[str], plane: Plane | None = None, window: Window | None = None) -> bool:
        """Ask for those phrases that were not asked yet, all in one request; whether there were any.

        Raises:
            InputError, ModelError, EngineError, Cancelled: as ``segmenter.Segmenter.segment``.
        """
        new: dict[str, str] = {}
        for phrase in phrases:
            if _key(phrase) not in self._results or plane is not None or window is not None:
                new.setdefault(_key(phrase), phrase)
        if not new:
            return False
        self._run(tuple(new.values()), plane=plane, window=window)
        return True

    def has(self, phrase: str) -> bool:
        """Whether a phrase was asked."""
        return _key(phrase) in self._results

    def of(self, phrase: str) -> ConceptResult:
        """The answer to a phrase that was asked."""
        return self._results[_key(phrase)][1]

    def stack_of(self, phrase: str) -> SliceStack:
        """How the volume was cut for a phrase that was asked."""
        return self._results[_key(phrase)][0].stack

    def at_threshold(self, phrase: str, threshold: float) -> ConceptResult:
        """The answer cut at another threshold; no model runs."""
        result, concept = self._results[_key(phrase)]
        return with_threshold(replace(result, concepts=(concept,)), threshold).concepts[0]

    def with_example(self, phrase: str, box: BoxPromptRAS) -> ConceptResult:
        """The answer to a phrase together with a box around a thing like it."""
        drawn = TargetPrompts(boxes=(box,), reading=BoxReading.THINGS_LIKE_THIS)
        return self._run((phrase,), {phrase: drawn}, keep=False).concepts[0]

    def with_drawn(self, phrase: str, drawn: TargetPrompts) -> ConceptResult:
        """The answer to a phrase together with slices of the object, which are carried through the stack.

        Raises:
            MissingTrackerError: the model cannot follow what is drawn.
        """
        return self._run((phrase,), {phrase: drawn}, mode=Mode.PROPAGATE, keep=False).concepts[0]

    def say(self, said: Message) -> None:
        """Keep a sentence for the user, once."""
        if said not in self.messages:
            self.messages.append(said)

    def _run(
        self,
        phrases: Sequence[str],
        prompts: dict[str, TargetPrompts] | None = None,
        *,
        plane: Plane | None = None,
        window: Window | None = None,
        mode: Mode = Mode.SLICES,
        keep: bool = True,
    ) -> SegmentResult:
        request = SegmentRequest(
            tuple(phrases),
            plane=plane or self.request.plane,
            slices=self.request.slices if plane is None else None,
            window=window or self.request.window,
            threshold=self.request.threshold,
            mode=mode,
            prompts=prompts or {},
        )
        started = time.monotonic()
        try:
            result = self.segmenter.segment(self.volume, request, self.callbacks)
        finally:
            self.seconds += time.monotonic() - started
        self._first = self._first or result.provenance
        if keep:
            for concept in result.concepts:
                self._results[_key(concept.concept)] = (result, concept)
        self.messages += [said for said in result.messages if said not in self.messages]
        return result


def box_of_cells(action: ExampleBox, tile: TileView, stack: SliceStack) -> BoxPromptRAS:
    """The box that an action names by cells of a tile, on that tile's slice.

    The cells divide the part of the slice that the tile shows evenly.
    """
    rows = _span(tile.rows, action.first[1], action.last[1])
    columns = _span(tile.columns, action.first[0], action.last[0])
    corners = [(tile.slice_index, rows[n] - 0.5, columns[n] - 0.5) for n in range(2)]
    last = [stack.grid.shape[axis] - 1 for axis in stack.array_axes]
    places = []
    for corner in corners:
        ijk = np.zeros(3)
        for n, axis in enumerate(stack.array_axes):
            ijk[2 - axis] = last[n] - corner[n] if stack.flips[n] else corner[n]
        right, anterior, superior = stack.grid.to_ras(ijk).tolist()
        places.append((right, anterior, superior))
    return BoxPromptRAS((places[0], places[1]))


def _span(shown: tuple[int, int], first: int, last: int) -> tuple[float, float]:
    length = shown[1] - shown[0]
    return shown[0] + length * first / GRID_CELLS, shown[0] + length * (last + 1) / GRID_CELLS


def _key(phrase: str) -> str:
    return key_of(phrase) or phrase
