"""A request and a volume in, a result out: the main road of the engine.

Called by every door (panel, effect, console, shell, agent), in-process or inside the engine's own process.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import torch

from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.detection.detect_slices import Question, show_slice, steps_of
from MedSAM3SegmentLib.detection.exemplars import Exemplars
from MedSAM3SegmentLib.detection.multiplanar import gates_along, look_along_planes, more_stacks
from MedSAM3SegmentLib.detection.nested_concepts import Found, find_in_order, parts_of
from MedSAM3SegmentLib.features.feature_cache import FeatureCache
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.few_shot.examples import Examples, check_examples, in_words
from MedSAM3SegmentLib.few_shot.segment_from_examples import (
    LIKENESS_THRESHOLD,
    labelled_slices,
    look_like,
    on_some_slices,
    steps_like,
    with_labelled_slices,
)
from MedSAM3SegmentLib.geometry.voxel_grid import SliceStack
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.models.detector import ConceptModel
from MedSAM3SegmentLib.preprocessing.windowing import Window, choose_window, is_ct
from MedSAM3SegmentLib.prompts.slice_prompts import boxes_on
from MedSAM3SegmentLib.reporting.versions import package_versions
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.results.slice_detections import SliceEvidence
from MedSAM3SegmentLib.tracking.track_concepts import detects, follows, tracker_of
from MedSAM3SegmentLib.vocabulary.phrases import VISUAL_PHRASE, prompt_for
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary, advice_for

from .progress import Watch
from .provenance import Provenance
from .request import (
    CancelCheck,
    PartialCallback,
    ProgressCallback,
    SegmentRequest,
    Stage,
)
from .run_context import OneRun
from .search_region import Gate
from .volume import Volume

#: Questions that are asked together, and the gates along which they are.
_Looks = list[tuple[list[Question], list[Gate]]]


class Segmenter:
    """A loaded model and the features it has already computed.

    Args:
        model: the network with its card and identity.
        vocabulary: decides each concept's default window.
        cache: where features are kept between runs.
    """

    def __init__(
        self, model: ConceptModel, vocabulary: Vocabulary | None = None, cache: FeatureCache | None = None
    ) -> None:
        self.model = model
        self.vocabulary = vocabulary or Vocabulary.load()
        self.cache = FeatureCache() if cache is None else cache

    @classmethod
    def load(
        cls, model: str = "demo", device: str = "auto", dtype: str = "auto", resolution: int | None = None
    ) -> Segmenter:
        """A segmenter with the model that ``model`` names, as ``models.loading.load_model`` takes it.

        Raises:
            ModelError: the model cannot be loaded exactly.
            InputError: the device or the format is not there, or the resolution does not fit.
        """
        from MedSAM3SegmentLib.models.load_model import load_model

        return cls(load_model(model, device, dtype=dtype, resolution=resolution))

    @torch.inference_mode()
    def segment(
        self,
        volume: Volume,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
        partial: PartialCallback | None = None,
    ) -> SegmentResult:
        """Segment every concept of ``request`` in ``volume``.

        Args:
            progress: told how far the run has come.
            cancel: asked between batches of slices.
            partial: given each slice of each concept as soon as it is known.

        Raises:
            InputError: the request does not fit the volume.
            ModelError: the model cannot do what the mode needs.
            Cancelled: ``cancel`` said so between two batches.
        """
        run = self._begin(volume, request, self.model.card.threshold, Watch(progress, cancel, partial))
        parts = parts_of(run.request)
        questions = {concept: self._question(run, concept) for part in parts for concept in part.concepts}
        if any(follows(part, concept) for part in parts for concept in part.concepts):
            tracker_of(self.model, request.mode)

        def looks(part: SegmentRequest, gate: Gate) -> _Looks:
            return _looks([questions[concept] for concept in part.concepts], part, gate)

        windows = {concept: question.window for concept, question in questions.items()}
        run = run.over(sum(_steps(looks(part, run.gate)) for part in parts), parts, windows)

        def find(part: SegmentRequest, gate: Gate) -> list[ConceptResult]:
            asked = looks(part, gate) if gate.slices else []
            run.watch.skip(_steps(looks(part, run.gate)) - _steps(asked))
            evidence: dict[str, list[SliceEvidence]] = {}
            with run.timed("segmenting"):
                for together, gates in asked:
                    seen = look_along_planes(run.features, together, gates, run.threshold, run.watch)
                    evidence |= {question.concept: items for question, items in zip(together, seen, strict=True)}
            concepts = [run.unassembled(questions[name], evidence.get(name, [])) for name in part.concepts]
            return run.followed(concepts, part, gate)

        found = find_in_order(run.request, run.gate, run.threshold, find, run.watch)
        drawn = {concept: prompts.in_words() for concept, prompts in request.prompts.items()}
        return self._assembled(run, found, drawn)

    @torch.inference_mode()
    def segment_like(
        self,
        volume: Volume,
        examples: Examples,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
        partial: PartialCallback | None = None,
    ) -> SegmentResult:
        """Segment in ``volume`` what ``examples`` show, without words, through the tracker's memory.

        Args:
            examples: by concept, which is a mere name here. Slices that they label in ``volume`` itself come back as
                they are.
            request: in the mode ``slices`` every slice is compared with the examples by itself, in the mode
                ``propagate`` what is found so is also followed. The threshold is 0.5 unless it names one.
            progress, cancel, partial: as for ``segment``.

        Raises:
            InputError: the request or an example does not fit, or a concept has no example.
            ModelError: the model has no tracker.
            Cancelled: ``cancel`` said so between two slices.
        """
        check_examples(request, examples)
        run = self._begin(volume, request, LIKENESS_THRESHOLD, Watch(progress, cancel, partial))
        stack = run.gate.stack
        examples = {name: [on_some_slices(one, volume, stack) for one in examples[name]] for name in request.concepts}
        steps = sum(steps_like(examples[name], run.gate) for name in request.concepts)
        windows = {name: self._window(request, name, volume) for name in request.concepts}
        run = run.over(steps, parts_of(run.request), windows)

        def find(part: SegmentRequest, gate: Gate) -> list[ConceptResult]:
            concepts = []
            for name in part.concepts:
                run.watch.skip(steps_like(examples[name], run.gate) - steps_like(examples[name], gate))
                window_of = functools.partial(self._window, request, name)

                def show(item: SliceEvidence, name: str = name) -> None:
                    show_slice(name, item, gate, run.threshold, run.watch)

                with run.timed("segmenting"):
                    evidence = look_like(examples[name], run.features, window_of, gate, run.watch, show)
                concepts.append(run.unassembled(Question(name, name, windows[name]), evidence))
            concepts = run.followed(concepts, part, gate)
            for number, concept in enumerate(concepts):
                labelled = labelled_slices(examples[concept.concept], volume, stack)
                assembled = assemble(concept, stack, run.threshold, run.request.assembly, gate)
                concepts[number] = with_labelled_slices(assembled, labelled, stack)
            return concepts

        found = find_in_order(run.request, run.gate, run.threshold, find, run.watch)
        return self._assembled(run, found, {name: in_words(examples[name]) for name in request.concepts})

    def _begin(self, volume: Volume, request: SegmentRequest, threshold: float, watch: Watch) -> OneRun:
        """What a call for ``request`` works with.

        Args:
            threshold: where the request names none.
        """
        request = _fitting(request, volume)
        gate = Gate.of(request, SliceStack.along(volume.grid, request.plane))
        if request.threshold is not None:
            threshold = request.threshold
        features = SliceFeatures(self.model, self.cache, volume, gate.stack)
        return OneRun(volume, request, gate, features, threshold, watch.only_of(request.concepts))

    def _assembled(self, run: OneRun, found: Found, prompts: Mapping[str, str]) -> SegmentResult:
        """The result, once every concept has its evidence and tracks."""
        options = run.request.assembly
        stage = run.watch.begin(Stage.ASSEMBLING, len(found.concepts))
        done = []
        with run.timed("assembling"):
            for concept in found.concepts:
                gate = found.gate.for_concept(concept.concept)
                done.append(assemble(concept, gate.stack, run.threshold, options, gate))
                stage.advance()
        provenance = self._provenance(run, prompts, found.inside)
        messages = (*self._messages(run.volume), *run.said)
        return SegmentResult(run.gate.stack, tuple(done), provenance, run.seconds, messages, options, found.gate)

    def _question(self, run: OneRun, concept: str) -> Question:
        window, stack = self._window(run.request, concept, run.volume), run.gate.stack
        prompts = run.request.prompts.get(concept)
        if prompts is None:
            return Question(concept, prompt_for(concept), window, advice_for(concept))
        exemplars = Exemplars.of(boxes_on(stack, prompts.boxes), stack.spacing[0])
        if not prompts.is_phrase:
            return Question(concept, VISUAL_PHRASE, window, (), exemplars, is_phrase=False)
        return Question(concept, prompt_for(concept), window, advice_for(concept), exemplars)

    def _window(self, request: SegmentRequest, concept: str, volume: Volume) -> Window:
        preset = self.vocabulary.window_for(concept) if is_ct(volume) else None
        return choose_window(volume, preset, request.window)

    def _provenance(self, run: OneRun, prompts: Mapping[str, str], inside: str) -> Provenance:
        volume, request, stack = run.volume, run.request, run.gate.stack
        return Provenance(
            model=self.model.identity,
            device=str(self.model.device),
            plane=", ".join(cut.plane.value for cut in (stack, *more_stacks(request, stack))),
            threshold=run.threshold,
            input_name=volume.name,
            input_sha256=volume.content_hash,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=package_versions(),
            mode=request.mode.value,
            prompts=prompts,
            inside=inside,
        )

    def _messages(self, volume: Volume) -> tuple[Message, ...]:
        if not self.model.identity.is_demo:
            return volume.messages
        return (
            message(
                "This is the demo model, trained on synthetic pictures: it shows how the program works and says "
                "nothing about a real patient."
            ),
            *volume.messages,
        )


def _fitting(request: SegmentRequest, volume: Volume) -> SegmentRequest:
    """The request without what makes no sense for ``volume``: frames have no thickness, so none are too few."""
    if not volume.is_sequence:
        return request
    return replace(request, assembly=replace(request.assembly, drop_isolated=False))


def _looks(questions: Sequence[Question], request: SegmentRequest, gate: Gate) -> _Looks:
    """What is looked for on all slices along every plane, and where boxes alone need it on theirs."""
    gates = gates_along(request, gate)
    everywhere = [question for question in questions if detects(request, question.concept)]
    looks = [(everywhere, gates)] if everywhere else []
    for question in questions:
        slices = sorted({box.middle for box in question.exemplars.boxes if box.positive})
        if question not in everywhere and question.is_phrase and slices:
            looks.append(([question], [replace(gate, slices=tuple(slices))]))
    return looks


def _steps(looks: _Looks) -> int:
    return sum(steps_of(questions, gate) for questions, gates in looks for gate in gates)
