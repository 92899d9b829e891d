"""The effect and a segment that is marked as completed: it asks once, and a no leaves the segment as it is."""

from __future__ import annotations

import pytest

from MedSAM3SceneLib.segments.completed import COMPLETED, STATUS_TAG
from support.effect import finish, is_running, open_effect, options, segment_of
from support.effect_actions import held
from support.nodes import snapshot


@pytest.fixture
def completed(bench):
    opened = open_effect(bench)
    options(opened).phraseEdit.text = "liver"
    options(opened).phraseEdit.editingFinished.emit()
    segment_of(opened).SetTag(STATUS_TAG, COMPLETED)
    return opened


@pytest.mark.parametrize("button", ["sliceButton", "volumeButton"])
def test_a_no_leaves_the_segment_and_says_so(bench, completed, button):
    before = snapshot(completed.segmentation)
    bench.dialogs.confirm = False
    getattr(options(completed), button).click()
    assert not is_running(completed)
    (question,) = bench.dialogs.texts("question")
    assert "liver" in question
    assert "completed" in question
    assert snapshot(completed.segmentation) == before
    assert completed.segmenter.requests == []


def test_a_yes_holds_until_the_status_changes(bench, completed):
    bench.dialogs.confirm = True
    options(completed).sliceButton.click()
    finish(completed)
    options(completed).volumeButton.click()
    finish(completed)
    assert len(bench.dialogs.texts("question")) == 1
    assert held(completed.segmentation, "liver", completed.volume).any()
    segment_of(completed).SetTag(STATUS_TAG, "inprogress")
    options(completed).volumeButton.click()
    finish(completed)
    assert len(bench.dialogs.texts("question")) == 1
    segment_of(completed).SetTag(STATUS_TAG, COMPLETED)
    options(completed).volumeButton.click()
    finish(completed)
    assert len(bench.dialogs.texts("question")) == 2
