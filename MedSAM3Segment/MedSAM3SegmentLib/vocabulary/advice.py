"""What a person should know of a phrase before it runs, and what may have been meant."""

from __future__ import annotations

from dataclasses import dataclass

from MedSAM3SegmentLib.messages.message import Message, message

from .phrases import clean_phrase, prompt_for
from .similar_names import longest_part, negation_in, suggest_concepts, unknown_words
from .structure_names import is_target_volume, read_structure_name
from .vocabulary import Vocabulary

#: MedSAM-3 was trained on noun phrases of at most this many words.
MAX_WORDS = 3

#: So much of a phrase that is too long is enough to know it by.
_SHOWN = 40

_NUMBERS = ("four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Advice:
    """One sentence about a phrase.

    Attributes:
        sentence: for people.
        suggestions: phrases that may be meant instead, likeliest first; often none.
    """

    sentence: Message
    suggestions: tuple[str, ...] = ()


def advice_for(phrase: str, vocabulary: Vocabulary | None = None) -> tuple[Message, ...]:
    """The sentences of ``advise``."""
    return tuple(advice.sentence for advice in advise(phrase, vocabulary))


def advise(phrase: str, vocabulary: Vocabulary | None = None) -> tuple[Advice, ...]:
    """What the user should know of ``phrase`` before it runs, one sentence each; empty when all is well.

    Args:
        phrase: one phrase, as typed.
        vocabulary: where other phrases are looked for; the shipped one by default.
    """
    vocabulary = vocabulary or Vocabulary.load()
    prompt = prompt_for(phrase)
    return (*_on_structure_name(clean_phrase(phrase)), *_on_words(prompt, vocabulary))


def _on_structure_name(phrase: str) -> tuple[Advice, ...]:
    """What a radiotherapy name asks for beside the structure."""
    if is_target_volume(phrase):
        sentence = message(
            "'{phrase}' is a volume that people draw for radiotherapy, which is not seen in an image; name what is, "
            "such as 'tumor'.",
            phrase=phrase,
        )
        return (Advice(sentence, ("tumor",)),)
    name = read_structure_name(phrase)
    if name is None or not name.remainder:
        return ()
    sentence = message(
        "'{prompt}' is looked for; the model adds no margin and takes nothing away, as '{remainder}' asks.",
        prompt=prompt_for(phrase),
        remainder=name.remainder,
    )
    return (Advice(sentence),)


def _on_words(prompt: str, vocabulary: Vocabulary) -> tuple[Advice, ...]:
    words = prompt.split()
    concept = vocabulary.find(prompt)
    if concept is None:
        if negation := negation_in(prompt):
            return (_on_negation(prompt, negation, vocabulary),)
        if "," in prompt or not {"and", "or", "&"}.isdisjoint(words):
            sentence = message(
                "'{prompt}' seems to name more than one thing; separate concepts with ';' or new lines.", prompt=prompt
            )
            return (Advice(sentence),)
        if not is_target_volume(prompt) and unknown_words(prompt, vocabulary):
            suggestions = suggest_concepts(prompt, vocabulary)
            if suggestions or len(words) <= MAX_WORDS:
                return (Advice(_unknown(prompt, suggestions), suggestions),)
    if len(words) <= MAX_WORDS:
        return ()
    count = _NUMBERS[len(words) - 4] if len(words) - 4 < len(_NUMBERS) else len(words)
    shorter = concept or vocabulary.closest_in(prompt)
    if not shorter:
        sentence = message(
            "MedSAM-3 was trained on noun phrases of at most three words; '{prompt}' has {count} and may be "
            "understood poorly.",
            prompt=prompt,
            count=count,
        )
        return (Advice(sentence),)
    sentence = message(
        "MedSAM-3 was trained on noun phrases of at most three words; '{prompt}' has {count} and may be "
        "understood poorly; try '{shorter}'.",
        prompt=prompt,
        count=count,
        shorter=shorter.phrase,
    )
    return (Advice(sentence, (shorter.phrase,)),)


def _on_negation(prompt: str, negation: str, vocabulary: Vocabulary) -> Advice:
    """Of "liver without tumor" the liver is meant; of "no tumor" there is only the tumor to offer."""
    before, _, after = f" {prompt} ".partition(f" {negation} ")
    named = longest_part(before.split(), vocabulary) or longest_part(
        (after or prompt).replace("-", " ").split(), vocabulary
    )
    if not named:
        return Advice(
            message(
                "The model finds what is named and does not understand '{negation}' in '{prompt}'; name only what is "
                "to be found.",
                negation=negation,
                prompt=prompt,
            )
        )
    sentence = message(
        "The model finds what is named and does not understand '{negation}' in '{prompt}'; name only what is to be "
        "found, such as '{named}'.",
        negation=negation,
        prompt=prompt,
        named=named,
    )
    return Advice(sentence, (named,))


def _unknown(prompt: str, suggestions: tuple[str, ...]) -> Message:
    if not suggestions:
        return message("'{prompt}' is not in the vocabulary; it is looked for all the same.", prompt=prompt)
    if len(suggestions) == 1:
        return message(
            "'{prompt}' is not in the vocabulary and is looked for all the same; did you mean '{suggestion}'?",
            prompt=prompt,
            suggestion=suggestions[0],
        )
    return message(
        "'{prompt}' is not in the vocabulary and is looked for all the same; did you mean {suggestions} or '{last}'?",
        prompt=prompt,
        suggestions=", ".join(f"'{suggestion}'" for suggestion in suggestions[:-1]),
        last=suggestions[-1],
    )


def describe_cut(prompt: str, last_word: str, limit: int) -> Message:
    """What is lost of a phrase that is longer than the model reads.

    Args:
        last_word: that is read whole; empty where that is none.
        limit: how many tokens the model reads.
    """
    shown = prompt if len(prompt) <= _SHOWN else f"{prompt[:_SHOWN].rstrip()}..."
    if not last_word:
        return message(
            "'{prompt}' is longer than the {limit} tokens that the model reads, and is cut off in its first word.",
            prompt=shown,
            limit=limit,
        )
    return message(
        "'{prompt}' is longer than the {limit} tokens that the model reads; what comes after '{word}' is cut off.",
        prompt=shown,
        limit=limit,
        word=last_word,
    )
