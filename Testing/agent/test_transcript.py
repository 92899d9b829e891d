"""Transcripts: a chain of hashes that shows changes, and the same session again, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.backends.protocol import Backend, BackendError
from MedSAM3AgentLib.backends.replay import ReplayBackend
from MedSAM3AgentLib.session import AgentRequest, AgentResult
from MedSAM3AgentLib.transcript import Transcript, mask_hash, question_fields, read_transcript
from MedSAM3SegmentLib.errors import InputError
from support.scripted_segmenter import REJECT, ScriptedBackend, ScriptedSegmenter, abdomen

VOLUME, MASKS = abdomen()
ANSWERS = {"gadget": MASKS["spleen"] | MASKS["liver"], "widget": MASKS["spleen"]}
REPLIES = [
    REJECT,
    {"action": "segment", "phrases": ["widget"]},
    {"verdict": "unsure"},
    {"action": "choose", "numbers": [1]},
]


def record(backend: Backend, answers: dict[str, np.ndarray] = ANSWERS) -> tuple[Transcript, AgentResult]:
    transcript, request = Transcript(), AgentRequest("gadget")
    transcript.begin(request, VOLUME, backend)
    agent = Agent(ScriptedSegmenter(answers), backend)
    result = agent.ask(VOLUME, request, on_round=transcript.add_round, recorder=transcript.add_question)
    transcript.end(result)
    return transcript, result


def replayed(path: Path, answers: dict[str, np.ndarray] = ANSWERS) -> tuple[Transcript, AgentResult]:
    return record(ReplayBackend(read_transcript(path), question_fields), answers)


def without_times(transcript: Transcript) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in transcript.lines]
    return [{key: value for key, value in line.items() if key not in ("time", "previous")} for line in lines]


@pytest.mark.parametrize("sees_pictures", [True, False])
@pytest.mark.parametrize("end", [[], [BackendError("gone")]])
def test_a_replay_is_the_same_session_bit_for_bit(tmp_path: Path, sees_pictures: bool, end: list[object]) -> None:
    transcript, result = record(ScriptedBackend([*REPLIES, *end], sees_pictures=sees_pictures))
    path = tmp_path / "ask.jsonl"
    path.write_text(transcript.text(), encoding="utf-8")

    again, result_again = replayed(path)

    assert without_times(again) == without_times(transcript)
    assert again.pictures == transcript.pictures
    assert bool(transcript.pictures) == sees_pictures
    for one, other in zip(result.rounds, result_again.rounds, strict=True):
        assert {n: mask_hash(p.mask) for n, p in one.kept.items()} == {
            n: mask_hash(p.mask) for n, p in other.kept.items()
        }
        assert one.page == other.page


def test_a_transcript_that_does_not_fit_names_the_field(tmp_path: Path) -> None:
    transcript, _ = record(ScriptedBackend(REPLIES, sees_pictures=True))
    path = tmp_path / "ask.jsonl"
    path.write_text(transcript.text(), encoding="utf-8")
    with pytest.raises(InputError, match="'picture'"):
        replayed(path, {**ANSWERS, "gadget": MASKS["liver"]})


def test_every_changed_line_is_noticed(tmp_path: Path) -> None:
    transcript, _ = record(ScriptedBackend(REPLIES))
    path = tmp_path / "ask.jsonl"
    for number in range(len(transcript.lines) - 1):
        lines = list(transcript.lines)
        lines[number] = lines[number].replace('"kind"', '"kind" ')
        path.write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(InputError, match="changed"):
            read_transcript(path)
    path.write_text("\n".join(transcript.lines[1:]), encoding="utf-8")
    with pytest.raises(InputError, match="changed"):
        read_transcript(path)


@pytest.mark.parametrize("text", ["", "{}", "not json", "[1]", '{"previous": "' + "0" * 64 + '"}', "\ud7ff\n"])
def test_what_is_no_transcript_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ask.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"ask\.jsonl"):
        read_transcript(path)
    with pytest.raises(InputError, match=r"none\.jsonl"):
        read_transcript(tmp_path / "none.jsonl")
