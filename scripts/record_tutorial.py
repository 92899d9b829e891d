"""Write the recorded session of the README's tutorial: ``python scripts/record_tutorial.py``.

No language model wrote it. A script of ours answers in place of one, and the agent's own recorder writes down what was
asked and replied, so that the tutorial shows without any language model what one is asked for. Run it again where the
questions of the agent have changed.
"""

from __future__ import annotations

import json
from pathlib import Path

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.backends.protocol import Question, QuestionKind, Reply
from MedSAM3AgentLib.session import AgentRequest, AgentResult
from MedSAM3AgentLib.transcript import Transcript
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from support.scene import boot

RECORD = Path(__file__).resolve().parents[1] / "MedSAM3Agent/Resources/Tutorial/organ-that-makes-bile.jsonl"

#: Rules do not understand it; whoever knows anatomy does.
REQUEST = "the organ that makes bile"

#: What is replied to the question which structures are meant.
PLAN = {"targets": [{"phrase": "liver"}], "rationale": "Bile is made by the liver; the gallbladder only stores it."}


class ScriptedReplies:
    """Answers which structures are meant; it judges no rounds, so that nothing in the record depends on a picture."""

    name = "replies from a script, no language model"
    votes = 0
    sees_pictures = False
    answers = True
    sends_to = ""

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        del cancel
        if question.kind is not QuestionKind.PLAN:
            raise RuntimeError(f"The recorded session asks a {question.kind} question; make the demo model accept it.")
        return Reply(json.dumps(PLAN), "script")


def record() -> tuple[str, AgentResult]:
    """The transcript's text and what came of the session."""
    volume = sample()
    transcript, replies, request = Transcript(), ScriptedReplies(), AgentRequest(REQUEST)
    transcript.begin(request, volume, replies)
    agent = Agent(Segmenter.load("demo", "cpu"), replies, draws_pages=False)
    result = agent.ask(volume, request, on_round=transcript.add_round, recorder=transcript.add_question)
    transcript.end(result)
    return transcript.text(), result


def sample() -> Volume:
    """The sample of the tutorial as the scene gives it, which rounds the last digit of its directions."""
    boot()
    from MedSAM3SceneLib.coroutines import run_steps_to_end
    from MedSAM3SceneLib.mrml.sample_data import add_synthetic_abdomen
    from MedSAM3SceneLib.mrml.volumes import read_in_steps

    return run_steps_to_end(read_in_steps(add_synthetic_abdomen("MedSAM3SyntheticCT"))).volume


def main() -> None:
    text, result = record()
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(text, encoding="utf-8", newline="\n")
    print(f"{RECORD.name}: {result.why} {len(text)} bytes")


if __name__ == "__main__":
    main()
