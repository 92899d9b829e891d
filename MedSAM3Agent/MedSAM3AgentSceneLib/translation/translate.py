"""Where sentences of the agent get the user's language; they are English everywhere else."""

from __future__ import annotations

from MedSAM3SceneLib.translation.translate import translated_template as translated_below
from MedSAM3SegmentLib.messages.message import Message

from .agent_sentences import SENTENCES

#: Under what Slicer's translations have them.
CONTEXT = "MedSAM3AgentSceneLib.translation"


def translated(text: str) -> str:
    """A sentence of the agent, or of what it stands on, as Slicer's translations have it, with its facts.

    Text that is no ``Message`` stays as it is.
    """
    return text.in_language(_translated_template) if isinstance(text, Message) else text


def _translated_template(english: str) -> str:
    if english not in SENTENCES:
        return translated_below(english)
    from slicer.i18n import translate  # the application's alone: this library also runs without it

    return str(translate(CONTEXT, english))
