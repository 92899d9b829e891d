"""How a concept is asked for in training: its own phrase, other wordings, and phrases that mean something else.

A model that has only ever been asked for what it knows answers yes to everything (Sompote/SAM3_LoRA issue 22), so
phrases of things that are not in the picture, real and invented, are part of every batch as negatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

#: Ways to ask, with the probability of each; the bare phrase has the rest.
_TEMPLATES = ("the {}", "segment the {}", "find the {}", "{} on the image", "show the {}", "a {}")
_TEMPLATE_PROBABILITY = 0.25

#: Everyday nouns that no medical picture shows; negatives that anybody might type to see what happens.
_EVERYDAY = (
    "car dog cat house tree table chair window door bottle cup plate spoon fork knife bread apple banana orange "
    "bicycle bus train boat airplane road river mountain cloud sun moon star flower grass leaf stone sand fish bird "
    "horse cow sheep elephant lion tiger bear rabbit mouse snake frog spider shirt shoe hat glove coat book pen paper "
    "phone computer screen keyboard lamp clock mirror bed pillow blanket towel soap brush comb key lock hammer nail "
    "saw rope ladder bucket broom guitar piano drum violin ball kite doll toy robot engine wheel tire bridge tower "
    "castle church school shop market farm garden fence wall roof floor ceiling stairs kitchen bathroom office desk "
    "coin ring necklace button zipper pocket bag box basket suitcase umbrella candle match fire smoke ice snow rain"
).split()

_SYLLABLES = (
    "ba ce di fo gu ha je ki lo mu na pe qui ro sa te vi wo xa yu za bran cor dul fen gol his jar kel lum mor nix "
    "pan ros sit tor ulm var wex yel zor oma itis oid al ic us um a e plex derm nal tic vex ren pul cer"
).split()


def positive_prompt_text(concept: str, synonyms: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str:
    """One way to ask for ``concept``: itself, a synonym, or either in a sentence."""
    choices = (concept, *synonyms.get(concept, ()))
    phrase = concept if rng.random() < 0.6 else str(rng.choice(choices))
    if rng.random() < _TEMPLATE_PROBABILITY:
        phrase = str(rng.choice(_TEMPLATES)).format(phrase)
    return phrase


def invented_word(rng: np.random.Generator) -> str:
    """A word that means nothing."""
    return "".join(rng.choice(_SYLLABLES, size=int(rng.integers(1, 5))))


def negative_prompt_text(others: Sequence[str], rng: np.random.Generator) -> str:
    """A phrase that names nothing in the picture: another concept, an everyday thing, or an invented word."""
    draw = rng.random()
    if draw < 0.5 and others:
        phrase = str(rng.choice(others))
    elif draw < 0.65:
        phrase = str(rng.choice(_EVERYDAY))
    else:
        phrase = " ".join(invented_word(rng) for _ in range(int(rng.integers(1, 3))))
    if rng.random() < 0.25:
        qualifier = rng.choice(["left", "right", "the", "segment the", "a", "small", "large", "upper", "lower"])
        phrase = f"{qualifier} {phrase}"
    return phrase


def all_prompt_texts(
    concepts: Iterable[str], synonyms: Mapping[str, Sequence[str]], others: Sequence[str]
) -> list[str]:
    """Texts a tokenizer should be trained on: every positive wording and every known negative."""
    phrases = [phrase for concept in concepts for phrase in (concept, *synonyms.get(concept, ()))]
    sentences = [template.format(phrase) for phrase in phrases for template in ("{}", *_TEMPLATES)]
    return [*sentences, *others, *_EVERYDAY, *_SYLLABLES]
