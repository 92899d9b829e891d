"""Slicer's log holds no phrase, no name of a segment or node, and nothing of the HTTP library."""

from __future__ import annotations

import logging

import pytest

from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.runs.edit_actions import EditAction
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.effect import finish, open_effect, segment_of
from support.panel import VALUES, open_panel, phantom, run, segmentations

NAMES = ("DOE", "liver", "kidney", "spleen")


@pytest.fixture
def log(caplog):
    """All that goes into the log, as in Slicer, whose root logger is at DEBUG."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    said = "\n".join(logging.Formatter().format(record) for record in caplog.get_records("call"))
    assert [name for name in NAMES if name in said] == []


class Broken(FakeSegmenter):
    def segment(self, volume, request, *_):
        raise KeyError(f"{volume.name}: {request.concepts}")


@pytest.mark.usefixtures("log")
def test_a_run_of_the_panel(bench):
    widget = open_panel(bench)
    phantom("DOE^JANE")
    widget.panel.connect_scene()
    run(bench, widget, "liver; left kidney; spleen")
    assert len(segmentations(bench.slicer.mrmlScene)) == 1


@pytest.mark.usefixtures("log")
def test_a_run_that_fails_without_a_sentence(bench):
    widget = open_panel(bench, Broken(VALUES))
    phantom("DOE^JANE")
    widget.panel.connect_scene()
    run(bench, widget, "liver")
    assert "DOE" in bench.dialogs.texts("error")[0], "the user may know"


@pytest.mark.usefixtures("log")
def test_an_action_of_the_effect(bench):
    opened = open_effect(bench)
    segment_of(opened).SetName("DOE liver")
    opened.effect.session.act(EditAction.WHOLE_VOLUME)
    finish(opened)
    opened.effect.engine = lambda: LocalEngine(Broken({}))
    opened.effect.session.act(EditAction.WHOLE_VOLUME)
    finish(opened)
    assert "DOE" in opened.effect.options.messageLabel.text


def test_a_defect_is_logged_by_type_and_place(caplog):
    try:
        raise KeyError("DOE")
    except KeyError as error:
        log_failure("something failed.", error)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "something failed. (KeyError)" in caplog.text
    assert "test_log_privacy.py:" in caplog.text
    assert "DOE" not in caplog.text
