"""Features are encoded once: later rounds, other phrases and example boxes run no encoder again."""

from __future__ import annotations

from pathlib import Path

from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.session import AgentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom
from support.cli_runs import GRID
from support.scripted_segmenter import REJECT, ScriptedBackend
from support.tiny_model import TINY_SCORE, EncoderCount


def test_no_round_after_the_first_runs_the_encoder(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
    encoded = EncoderCount(segmenter)
    counts: list[int] = []
    replies = [
        REJECT,
        {"action": "segment", "phrases": ["widget", "gizmo"]},
        REJECT,
        {"action": "example_box", "tile": 1, "first": "C3", "last": "E5"},
        REJECT,
    ]
    agent = Agent(segmenter, ScriptedBackend(replies), draws_pages=False)
    request = AgentRequest("gadget", threshold=TINY_SCORE)
    result = agent.ask(make_phantom(31, GRID).volume, request, on_round=lambda _: counts.append(encoded.slices))

    assert [type(one.proposals["gadget"].action).__name__ for one in result.rounds] == [
        "SegmentPhrases", "SegmentPhrases", "ExampleBox",
    ]  # fmt: skip
    assert counts[0] == GRID.shape[0]
    assert counts == [counts[0]] * 3
