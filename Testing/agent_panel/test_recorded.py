"""The recorded session that comes with the module: the README's second tutorial, without a language model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from MedSAM3AgentLib.transcript import read_transcript
from MedSAM3SceneLib.mrml.sample_data import add_synthetic_abdomen
from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom
from record_tutorial import PLAN, RECORD, REQUEST, ScriptedReplies
from support.scripted_segmenter import ScriptedSegmenter

RECORDED = 3


@pytest.fixture
def opened(bench):
    """The panel with the sample of the tutorial, over a segmenter that knows where the liver is."""
    liver = make_phantom(24, contrast=Contrast.CT, absence=0.0).masks["liver"]
    names = ("liver", "hepatic tissue", "liver tissue", "hepatic parenchyma")
    widget = bench.open_panel("MedSAM3Agent")
    widget.logic.segmenter = ScriptedSegmenter(dict.fromkeys(names, liver))
    add_synthetic_abdomen("MedSAM3SyntheticCT")
    return widget


def test_test_puts_the_recorded_request_in_and_ask_gives_the_recorded_session(bench, opened):
    ui = opened.ui
    ui.languageSelector.setCurrentIndex(RECORDED)
    assert ui.recordEdit.currentPath == str(RECORD)
    assert "replies of an earlier session" in ui.leavesLabel.text
    ui.testButton.click()
    bench.wait(lambda: ui.testButton.enabled)
    assert "A record of 1 questions to 'replies from a script, no language model'" in ui.testLabel.text
    assert ui.requestEdit.plainText == REQUEST

    ui.askButton.click()
    bench.wait(lambda: not opened.panel.is_busy)

    assert bench.dialogs.said == []
    assert [card.section.text for card in opened.panel.rounds.cards] == ["Round 1: liver \u2713"]
    assert ui.answerLabel.text == f"The language model wrote (not a finding): {PLAN['rationale']}"
    assert "Accepted in round 1." in ui.whyLabel.text


def test_another_request_is_refused_in_one_sentence(bench, opened):
    ui = opened.ui
    ui.languageSelector.setCurrentIndex(RECORDED)
    ui.requestEdit.plainText = "the organ that stores bile"
    ui.askButton.click()
    bench.wait(lambda: not opened.panel.is_busy)
    (words,) = bench.dialogs.texts("error")
    assert "is of another request" in words


def test_a_file_that_is_no_transcript_is_said_by_the_test(bench, opened, tmp_path):
    ui = opened.ui
    ui.languageSelector.setCurrentIndex(RECORDED)
    for content, words in ((b"", "no transcript"), (b"\xff\xfe", "cannot be read"), (b"[1]\n", "is not JSON")):
        path = tmp_path / "other.jsonl"
        path.write_bytes(content)
        ui.recordEdit.currentPath = ""
        ui.recordEdit.currentPath = str(path)
        ui.testButton.click()
        bench.wait(lambda: ui.testButton.enabled)
        assert words in ui.testLabel.text


def test_the_record_says_that_no_language_model_wrote_it_and_names_no_file() -> None:
    lines = read_transcript(RECORD)
    assert lines[0]["backend"] == ScriptedReplies.name == "replies from a script, no language model"
    assert [line["kind"] for line in lines] == ["session", "question", "round", "end"]
    assert json.loads(lines[1]["reply"]) == PLAN
    assert lines[1]["picture"] == "", "nothing in it depends on how a picture is drawn"
    assert str(Path.home()) not in RECORD.read_text(encoding="utf-8")
