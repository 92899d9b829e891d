"""The vocabulary that ships and all names in it; for tests."""

from __future__ import annotations

from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

VOCABULARY = Vocabulary.load()

#: Every phrase and synonym.
NAMES = sorted({name for concept in VOCABULARY.concepts for name in (concept.phrase, *concept.synonyms)})
