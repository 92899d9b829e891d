"""Segmenters that err on purpose, so that it can be measured what an agent wins back: the same model, spoiled.

All answers of the model are kept, so that one phantom is segmented once for a whole table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from MedSAM3AgentLib.planning.wordings import wordings_of
from MedSAM3AgentLib.targets import Structure
from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.progress import NO_CALLBACKS, RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS
from MedSAM3SegmentLib.vocabulary.phrases import key_of
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume

#: Concepts of a phantom that share voxels; an answer swapped within a group would not be wrong.
_GROUPS = (
    frozenset({"left kidney", "right kidney", "kidney", "kidney tumor"}),
    frozenset({"liver", "liver tumor"}),
    frozenset({"tumor", "liver tumor", "kidney tumor"}),
)


@dataclass(eq=False)
class KeptAnswers:
    """A segmenter that remembers its answers to phrases; requests with drawn prompts always run.

    Attributes:
        segmenter: the model.
        seconds: that it took.
    """

    segmenter: SegmenterProtocol
    seconds: float = 0.0
    _kept: dict[tuple[str, str, str], tuple[SegmentResult, ConceptResult]] = field(default_factory=dict)
    _drawn: dict[str, SegmentResult] = field(default_factory=dict)

    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        """As the model, each phrase once."""
        if request.prompts:
            key = hashlib.sha256(repr((volume.content_hash, request)).encode()).hexdigest()
            if key not in self._drawn:
                self._drawn[key] = self._run(volume, request, callbacks)
            return self._drawn[key]
        keys = {concept: (volume.content_hash, request.plane.value, key_of(concept)) for concept in request.concepts}
        new = tuple(concept for concept, key in keys.items() if key not in self._kept)
        if new:
            result = self._run(volume, replace(request, concepts=new, threshold=None), callbacks)
            for concept in result.concepts:
                self._kept[keys[concept.concept]] = (result, concept)
        kept = [self._kept[keys[concept]] for concept in request.concepts]
        concepts = tuple(replace(one, concept=name) for name, (_, one) in zip(request.concepts, kept, strict=True))
        result = replace(kept[0][0], concepts=concepts)
        return result if request.threshold is None else with_threshold(result, request.threshold)

    def _run(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks) -> SegmentResult:
        result = self.segmenter.segment(volume, request, callbacks)
        self.seconds += sum(result.seconds.values())
        return result


@dataclass(frozen=True, eq=False)
class SpoiledBase:
    """A segmenter whose answers are spoiled, always in the same way for the same phrase.

    Attributes:
        segmenter: that is spoiled.
        seed: of all choices.
        swap: share of phrases that are answered as another structure.
        deaf: share of phrases that find nothing.
        shift: that the threshold is moved by.
        inventing: share of phrases that find another structure where they would find nothing.
        present: concepts that are in the phantom; others are not given as answers.
    """

    segmenter: SegmenterProtocol
    seed: int
    swap: float = 0.0
    deaf: float = 0.0
    shift: float = 0.0
    inventing: float = 0.0
    present: Sequence[str] = CONCEPTS

    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        """As the model, but spoiled; what is drawn goes with the phrase that is answered."""
        answered = {concept: self._answered_as(concept) for concept in request.concepts}
        asked = tuple(dict.fromkeys(answered.values()))
        prompts = {answered[concept]: drawn for concept, drawn in request.prompts.items()}
        inner = replace(request, concepts=asked, prompts=prompts)
        result = self.segmenter.segment(volume, inner, callbacks)
        if self.shift:
            result = with_threshold(result, float(np.clip(result.provenance.threshold + self.shift, 0.05, 0.95)))
        by_name = {concept.concept: concept for concept in result.concepts}
        concepts = [self._spoiled(name, by_name[answered[name]], volume, request) for name in request.concepts]
        return replace(result, concepts=tuple(concepts))

    def _answered_as(self, phrase: str) -> str:
        rng = self._rng("swap", phrase)
        if rng.random() >= self.swap:
            return phrase
        others = [name for name in self.present if not _means_same(phrase, name)]
        return str(rng.choice(others)) if others else phrase

    def _spoiled(self, name: str, concept: ConceptResult, volume: Volume, request: SegmentRequest) -> ConceptResult:
        concept = replace(concept, concept=name)
        if self.deaf and self._rng("deaf", name).random() < self.deaf:
            return replace(
                concept,
                found=False,
                mask=np.zeros_like(concept.mask),
                instance_map=np.zeros_like(concept.instance_map),
                instances=(),
                evidence=tuple(replace(item, score=0.0, detections=()) for item in concept.evidence),
            )
        if self.inventing and not concept.found and self._rng("invent", name).random() < self.inventing:
            others = [one for one in self.present if not _means_same(name, one)]
            if others:
                other = str(self._rng("which", name).choice(others))
                found = self.segmenter.segment(volume, replace(request, concepts=(other,), prompts={}))
                return replace(found.concepts[0], concept=name)
        return concept

    def _rng(self, what: str, phrase: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}|{what}|{key_of(phrase)}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _means_same(phrase: str, concept: str) -> bool:
    """Whether a phrase means a phantom's concept, or one that shares voxels with it."""
    names = _meanings().get(key_of(phrase), frozenset())
    related = frozenset().union(*(group for group in _GROUPS if group & names)) | names
    return concept in related


def _meanings() -> Mapping[str, frozenset[str]]:
    """Which concepts of a phantom each wording means, by key."""
    if not _MEANINGS:
        vocabulary = Vocabulary.load()
        found: dict[str, set[str]] = {}
        for concept in CONCEPTS:
            phrases = (concept, *wordings_of(Structure(concept), None, vocabulary))
            for phrase in phrases:
                found.setdefault(key_of(phrase), set()).add(concept)
        _MEANINGS.update({key: frozenset(names) for key, names in found.items()})
    return _MEANINGS


_MEANINGS: dict[str, frozenset[str]] = {}
