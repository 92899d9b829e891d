"""Where sentences of the engine and of the scene library get the user's language; they are English everywhere else."""

from __future__ import annotations

from MedSAM3SegmentLib.messages.message import Message

from . import engine_sentences, reading_sentences, scene_sentences, segmenter_sentences

#: Under what Slicer's translations have them.
CONTEXT = "MedSAM3SceneLib.translation"

SENTENCES = frozenset().union(
    *(one.SENTENCES for one in (engine_sentences, reading_sentences, scene_sentences, segmenter_sentences))
)


def translated(text: str) -> str:
    """A sentence as Slicer's translations have it, with its facts; text that is no ``Message`` stays as it is."""
    return text.in_language(translated_template) if isinstance(text, Message) else text


def translated_template(english: str) -> str:
    """A template as Slicer's translations have it; one that is not of these libraries stays as it is."""
    # Templates come over the wire too; only sentences of ours have translations.
    if english not in SENTENCES:
        return english
    from slicer.i18n import translate  # the application's alone: the scene library also runs without it

    return str(translate(CONTEXT, english))
