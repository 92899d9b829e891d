"""Why the agent stopped, and why a language model is not asked any more, in a sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from MedSAM3AgentLib.session import Round, Stop
from MedSAM3SegmentLib.messages.message import Message, as_message, message


def describe_end(name: str, why: str, stop: Stop) -> Message:
    """Why the language model ``name`` is not asked any more."""
    if stop is Stop.LANGUAGE_MODEL:
        return message("The language model '{name}' failed: {why} The best round was kept.", name=name, why=why)
    return message("The language model '{name}' was not asked: {why} The best round was kept.", name=name, why=why)


def describe_stop(stop: Stop, rounds: Sequence[Round]) -> Message:
    """Why the agent stopped after these rounds."""
    count = len(rounds)
    last = rounds[-1].number
    match stop:
        case Stop.ACCEPTED:
            return message("Accepted in round {number}.", number=last)
        case Stop.ABSENT:
            return message("Nothing of what was asked for is there.")
        case Stop.NOTHING_NEW:
            return message("There was nothing new to try; the best of {count} rounds was kept.", count=count)
        case Stop.ROUNDS:
            return message("All {count} rounds were used; the best was kept.", count=count)
        case Stop.CALLS:
            return message(
                "All calls of the language model were used; the best of {count} rounds was kept.", count=count
            )
        case Stop.LANGUAGE_MODEL:
            return message("The language model failed; the best of {count} rounds was kept.", count=count)
        case Stop.PICTURES:
            return message("All pictures of the session were used; the best of {count} rounds was kept.", count=count)
        case Stop.SECONDS:
            return message("All seconds of the session were used; the best of {count} rounds was kept.", count=count)
        case Stop.MONEY:
            return message(
                "What may be spent on the language model was used; the best of {count} rounds was kept.", count=count
            )
        case Stop.NOT_AGREED:
            return message(
                "Sending was not agreed to and nothing left this computer; the best of {count} rounds was kept.",
                count=count,
            )
        case Stop.USER:
            return message("Stopped; the best of {count} rounds was kept.", count=count)
    return as_message(stop.value)
