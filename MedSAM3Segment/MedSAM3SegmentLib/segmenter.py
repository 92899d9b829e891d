"""A request and a volume in, a result out: the main road of the engine.

Called by every door (panel, effect, console, shell, agent), in-process or inside the engine's own process.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import torch

from .assembly import assemble
from .concepts import Vocabulary, advice_for, prompt_for
from .errors import InputError
from .exemplars import Exemplars
from .features import FeatureCache
from .few_shot import LIKENESS_THRESHOLD, Example, in_words, labelled_slices, look_like, with_labelled_slices
from .following import detects, follow_concepts, follows, tracker_of
from .gating import Gate
from .grid import SliceStack
from .intensity import Window, choose_window, is_ct
from .looking import Question, look
from .models.concept_model import VISUAL_PHRASE, ConceptModel
from .planes import look_along_planes, more_stacks
from .prompt_geometry import boxes_on
from .request import CancelCheck, Mode, PartialCallback, ProgressCallback, SegmentRequest, Stage
from .result import ConceptResult, Provenance, SegmentResult, SliceEvidence
from .slice_features import SliceFeatures
from .versions import package_versions
from .volume import Volume
from .watching import Watch


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
        from .models.loading import load_model

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
        started = time.monotonic()
        request = _fitting(request, volume)
        stack = SliceStack.along(volume.grid, request.plane)
        gate = Gate.of(request, stack)
        threshold = self.model.card.threshold if request.threshold is None else request.threshold
        questions = [self._question(volume, stack, request, concept) for concept in request.concepts]
        if any(follows(request, concept) for concept in request.concepts):
            tracker_of(self.model, request.mode)
        said: list[str] = []
        watch = Watch(progress, cancel, partial, said.append)

        features = SliceFeatures(self.model, self.cache, volume, stack)
        evidence = self._look(features, questions, request, gate, threshold, watch)
        looked = time.monotonic()
        concepts = [_unassembled(question, items, stack) for question, items in zip(questions, evidence, strict=True)]
        concepts = follow_concepts(concepts, request, features, gate, threshold, watch)
        followed = time.monotonic()
        seconds = {"segmenting": looked - started}
        if any(concept.tracks for concept in concepts):
            seconds["propagating"] = followed - looked
        provenance = self._provenance(volume, stack, request, threshold)
        return self._assembled(volume, request, gate, concepts, provenance, seconds, watch, said)

    @torch.inference_mode()
    def segment_like(
        self,
        volume: Volume,
        examples: Mapping[str, Sequence[Example]],
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
    ) -> SegmentResult:
        """Segment in ``volume`` what ``examples`` show, without words, through the tracker's memory.

        Args:
            examples: by concept, which is a mere name here. Slices that they label in ``volume`` itself come back as
                they are.
            request: in the mode ``slices`` every slice is compared with the examples by itself, in the mode
                ``propagate`` what is found so is also followed. The threshold is 0.5 unless it names one.
            progress, cancel: as for ``segment``.

        Raises:
            InputError: the request or an example does not fit, or a concept has no example.
            ModelError: the model has no tracker.
            Cancelled: ``cancel`` said so between two slices.
        """
        started = time.monotonic()
        missing = [concept for concept in request.concepts if not examples.get(concept)]
        if missing:
            raise InputError(f"There is no example of '{missing[0]}'; give one, or leave the concept out.")
        if request.mode is Mode.FROM_PROMPTS or request.prompts or request.more_planes:
            raise InputError("Examples do not go with drawn prompts or more planes; leave those out.")
        request = _fitting(request, volume)
        stack = SliceStack.along(volume.grid, request.plane)
        gate = Gate.of(request, stack)
        threshold = LIKENESS_THRESHOLD if request.threshold is None else request.threshold
        said: list[str] = []
        watch = Watch(progress, cancel, None, said.append)
        features = SliceFeatures(self.model, self.cache, volume, stack)
        concepts = []
        for name in request.concepts:
            window_of = functools.partial(self._window, request, name)
            evidence = look_like(examples[name], features, window_of, gate, watch)
            concepts.append(_unassembled(Question(name, name, window_of(volume)), evidence, stack))
        looked = time.monotonic()
        concepts = follow_concepts(concepts, request, features, gate, threshold, watch)
        seconds = {"segmenting": looked - started, "propagating": time.monotonic() - looked}
        for number, concept in enumerate(concepts):
            labelled = labelled_slices(examples[concept.concept], volume, stack)
            found = assemble(concept, stack, threshold, request.assembly, gate)
            concepts[number] = with_labelled_slices(found, labelled, stack)
        provenance = self._provenance(volume, stack, request, threshold)
        shown = {name: in_words(examples[name]) for name in request.concepts}
        return self._assembled(
            volume, request, gate, concepts, replace(provenance, prompts=shown), seconds, watch, said
        )

    def _assembled(
        self,
        volume: Volume,
        request: SegmentRequest,
        gate: Gate,
        concepts: Sequence[ConceptResult],
        provenance: Provenance,
        seconds: Mapping[str, float],
        watch: Watch,
        said: Sequence[str],
    ) -> SegmentResult:
        """The result, once every concept has its evidence and tracks."""
        started = time.monotonic()
        stage = watch.begin(Stage.ASSEMBLING, len(concepts))
        done = []
        for concept in concepts:
            done.append(assemble(concept, gate.stack, provenance.threshold, request.assembly, gate))
            stage.advance()
        seconds = {**seconds, "assembling": time.monotonic() - started}
        messages = (*self._messages(volume), *said)
        return SegmentResult(gate.stack, tuple(done), provenance, seconds, messages, request.assembly, gate)

    def _look(
        self,
        features: SliceFeatures,
        questions: Sequence[Question],
        request: SegmentRequest,
        gate: Gate,
        threshold: float,
        watch: Watch,
    ) -> list[list[SliceEvidence]]:
        """Evidence per question: on all slices, or where boxes alone need it on theirs, or none."""
        everywhere = [question for question in questions if detects(request, question.concept)]
        seen = look_along_planes(features, everywhere, request, gate, threshold, watch) if everywhere else []
        evidence = {question.concept: items for question, items in zip(everywhere, seen, strict=True)}
        for question in questions:
            slices = sorted({box.middle for box in question.exemplars.boxes if box.positive})
            if question not in everywhere and question.is_phrase and slices:
                boxed = replace(gate, slices=tuple(slices))
                (evidence[question.concept],) = look(features, [question], boxed, threshold, watch)
        return [evidence.get(question.concept, []) for question in questions]

    def _question(self, volume: Volume, stack: SliceStack, request: SegmentRequest, concept: str) -> Question:
        window = self._window(request, concept, volume)
        prompts = request.prompts.get(concept)
        if prompts is None:
            return Question(concept, prompt_for(concept), window, advice_for(concept))
        exemplars = Exemplars.of(boxes_on(stack, prompts.boxes), stack.spacing[0])
        if not prompts.is_phrase:
            return Question(concept, VISUAL_PHRASE, window, (), exemplars, is_phrase=False)
        return Question(concept, prompt_for(concept), window, advice_for(concept), exemplars)

    def _window(self, request: SegmentRequest, concept: str, volume: Volume) -> Window:
        preset = self.vocabulary.window_for(concept) if is_ct(volume) else None
        return choose_window(volume, preset, request.window)

    def _provenance(self, volume: Volume, stack: SliceStack, request: SegmentRequest, threshold: float) -> Provenance:
        return Provenance(
            model=self.model.identity,
            device=str(self.model.device),
            plane=", ".join(cut.plane.value for cut in (stack, *more_stacks(request, stack))),
            threshold=threshold,
            input_name=volume.name,
            input_sha256=volume.content_hash,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=package_versions(),
            mode=request.mode.value,
            prompts={concept: prompts.in_words() for concept, prompts in request.prompts.items()},
        )

    def _messages(self, volume: Volume) -> tuple[str, ...]:
        if not self.model.identity.is_demo:
            return volume.messages
        return (
            "This is the demo model, trained on synthetic pictures: it shows how the program works and says nothing "
            "about a real patient.",
            *volume.messages,
        )


def _fitting(request: SegmentRequest, volume: Volume) -> SegmentRequest:
    """The request without what makes no sense for ``volume``: frames have no thickness, so none are too few."""
    if not volume.is_sequence:
        return request
    return replace(request, assembly=replace(request.assembly, drop_isolated=False))


def _unassembled(question: Question, evidence: Sequence[SliceEvidence], stack: SliceStack) -> ConceptResult:
    return ConceptResult(
        concept=question.concept,
        prompt=question.prompt,
        window=question.window,
        evidence=tuple(evidence),
        found=False,
        reason="",
        mask=np.zeros(stack.grid.shape, bool),
        instance_map=np.zeros(stack.grid.shape, np.uint16),
        instances=(),
        messages=question.messages,
    )
