"""A request and a volume in, a result out: the main road of the engine.

Called by every door (panel, effect, console, shell, agent), in-process or inside the engine's own process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray

from .assembly import assemble
from .concepts import Vocabulary, advice_for, prompt_for
from .detection import slice_evidence
from .errors import Cancelled
from .features import FeatureCache, FeatureKey
from .grid import SliceStack
from .intensity import Window, choose_window, is_ct, prepare_slices
from .models.concept_model import ConceptModel, ImageFeatures, PhraseFeatures
from .models.memory import BatchGuard, fitting_batch, reliefs_of
from .request import CancelCheck, Progress, ProgressCallback, SegmentRequest, Stage
from .result import ConceptResult, Provenance, SegmentResult, SliceEvidence
from .versions import package_versions
from .volume import Volume

#: Slices that go through the network together. CPUs gain nothing from larger batches; cancelling waits for one batch.
BATCH = {"cpu": 2, "mps": 2, "cuda": 8}


@dataclass(frozen=True, eq=False)
class _Question:
    """One phrase as it goes to the model."""

    concept: str
    prompt: str
    window: Window
    messages: tuple[str, ...]


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
        self.cache = cache or FeatureCache()

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

    def segment(
        self,
        volume: Volume,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
    ) -> SegmentResult:
        """Segment every concept of ``request`` in ``volume``.

        Raises:
            InputError: the request does not fit the volume.
            Cancelled: ``cancel`` said so between two batches.
        """
        started = time.monotonic()
        stack = SliceStack.along(volume.grid, request.plane)
        indices = request.slice_range(stack)
        questions = [self._question(volume, request, concept) for concept in request.concepts]
        threshold = self.model.card.threshold if request.threshold is None else request.threshold

        said: list[str] = []
        evidence = self._look(volume, stack, indices, questions, progress or _ignore, cancel or _never, said.append)
        looked = time.monotonic()
        concepts = []
        for number, (question, items) in enumerate(zip(questions, evidence, strict=True)):
            (progress or _ignore)(Progress(Stage.ASSEMBLING, number, len(questions)))
            concepts.append(assemble(_unassembled(question, items, stack), stack, threshold))
        (progress or _ignore)(Progress(Stage.ASSEMBLING, len(questions), len(questions), 0.0))
        finished = time.monotonic()
        provenance = Provenance(
            model=self.model.identity,
            device=str(self.model.device),
            plane=stack.plane.value,
            threshold=threshold,
            input_name=volume.name,
            input_sha256=volume.content_hash,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=package_versions(),
        )
        seconds = {"segmenting": looked - started, "assembling": finished - looked}
        return SegmentResult(stack, tuple(concepts), provenance, seconds, (*self._messages(volume), *said))

    def _question(self, volume: Volume, request: SegmentRequest, concept: str) -> _Question:
        preset = self.vocabulary.window_for(concept) if is_ct(volume) else None
        window = choose_window(volume, preset, request.window)
        return _Question(concept, prompt_for(concept), window, advice_for(concept))

    def _messages(self, volume: Volume) -> tuple[str, ...]:
        if not self.model.identity.is_demo:
            return volume.messages
        return (
            "This is the demo model, trained on synthetic pictures: it shows how the program works and says nothing "
            "about a real patient.",
            *volume.messages,
        )

    @torch.inference_mode()
    def _look(
        self,
        volume: Volume,
        stack: SliceStack,
        indices: Sequence[int],
        questions: Sequence[_Question],
        progress: ProgressCallback,
        cancel: CancelCheck,
        say: Callable[[str], None],
    ) -> list[list[SliceEvidence]]:
        """Evidence per question and slice. Questions that share a window share one pass of the image encoder."""
        evidence: list[list[SliceEvidence]] = [[] for _ in questions]
        windows = list(dict.fromkeys(question.window for question in questions))
        phrases = self.model.encode_phrases([question.prompt for question in questions])
        slices = stack.extract(volume.array)
        batch = fitting_batch(self.model, BATCH.get(self.model.device.type, 1))
        guard = BatchGuard(batch, reliefs_of(self.model), say)
        total, done, started = len(indices) * len(windows), 0, time.monotonic()
        progress(Progress(Stage.SEGMENTING, 0, total))
        for window in windows:
            asked = [n for n, question in enumerate(questions) if question.window == window]

            def look_at(
                batch: Sequence[int], window: Window = window, asked: Sequence[int] = asked
            ) -> list[list[SliceEvidence]]:
                nonlocal done
                if cancel():
                    raise Cancelled(f"Stopped after {done} of {total} slices; nothing was written.")
                features = self._features(volume, stack, slices, window, batch)
                answers = self._detect(features, batch, phrases, asked)
                done += len(batch)
                left = (time.monotonic() - started) / done * (total - done)
                progress(Progress(Stage.SEGMENTING, done, total, left))
                return answers

            for answers in guard.run(indices, look_at):
                for number, item in zip(asked, answers, strict=True):
                    evidence[number].append(item)
        return evidence

    def _detect(
        self, features: ImageFeatures, batch: Sequence[int], phrases: PhraseFeatures, asked: Sequence[int]
    ) -> list[list[SliceEvidence]]:
        """Evidence per slice of the batch and phrase that is asked for."""
        pyramid = self.model.build_pyramid(features)
        answers: list[list[SliceEvidence]] = [[] for _ in batch]
        for number in asked:
            raw = self.model.detect(pyramid, phrases[number : number + 1].repeat(len(batch)))
            for pair, index in enumerate(batch):
                answers[pair].append(slice_evidence(raw, pair, index, self.model.card))
        return answers

    def _features(
        self,
        volume: Volume,
        stack: SliceStack,
        slices: NDArray,  # type: ignore[type-arg]
        window: Window,
        batch: Sequence[int],
    ) -> ImageFeatures:
        """Features of a batch of slices; only those not kept from before go through the encoder."""
        keys = [
            FeatureKey.of(volume.content_hash, stack.plane, window, self.model.features_key, index) for index in batch
        ]
        known = {key: self.cache.get(key) for key in keys}
        missing = [(key, index) for key, index in zip(keys, batch, strict=True) if known[key] is None]
        if missing:
            pictures = prepare_slices(slices[[index for _, index in missing]], window, self.model.image_size)
            fresh = self.model.encode_images(pictures).tokens
            for (key, _), tokens in zip(missing, fresh, strict=True):
                known[key] = tokens
                self.cache.put(key, tokens)
        return ImageFeatures(torch.stack([known[key] for key in keys]))  # type: ignore[misc]


def _unassembled(question: _Question, evidence: Sequence[SliceEvidence], stack: SliceStack) -> ConceptResult:
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


def _ignore(progress: Progress) -> None:
    del progress


def _never() -> bool:
    return False
