"""How Slicer ends: the engine is told first, and nothing of ours logs once Slicer's error log is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest

from MedSAM3SceneLib.application_quit import end_all
from MedSAM3SceneLib.runs.run import RunState
from MedSAM3SegmentLib.engine.process.discovery import FOLDER_VARIABLE
from MedSAM3SegmentLib.engine.process_id import ProcessId
from support.panel import held_after, open_panel, phantom
from support.paths import ROOT, TESTING

#: Slicer's root logger is at DEBUG, and its handler ends in a destroyed object when Python ends.
_SESSION = dedent("""
    import logging, os, sys
    from support.scene import boot
    slicer = boot()

    class ErrorLog(logging.Handler):
        is_gone = False
        def emit(self, record):
            if ErrorLog.is_gone:
                os._exit(139)
            print("LOG", record.name, record.levelname)

    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger().addHandler(ErrorLog())

    from MedSAM3SceneLib.engine import connection
    engine = connection.engine_in_use()
    engine.connect()
    assert engine.status() is not None
    from MedSAM3SegmentLib.engine.process.discovery import find_running_engines
    print("PID", find_running_engines()[0].pid)
    {end}
    ErrorLog.is_gone = True
""")

_ABOUT_TO_QUIT = "from MedSAM3SceneLib.application_quit import end_all; end_all()"


@pytest.mark.parametrize("end", [_ABOUT_TO_QUIT, "pass"], ids=["aboutToQuit", "Python ends"])
def test_after_a_run_slicer_ends_without_a_crash_and_without_an_engine(tmp_path, monkeypatch, end):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "run"))
    paths = [str(TESTING), str(ROOT / "MedSAM3Segment")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    program = _SESSION.format(end=end)

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=120)

    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    (pid,) = [int(line.split()[1]) for line in lines if line.startswith("PID")]
    assert not ProcessId(pid).is_alive
    assert [line for line in lines if line.startswith("LOG urllib3")] == []
    assert [line for line in lines if line.startswith("LOG filelock")] == []


def test_a_run_that_is_on_its_way_ends_when_slicer_quits(bench):
    segmenter = held_after(3)
    widget = open_panel(bench, segmenter)
    phantom()
    widget.panel.connect_scene()
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.applyButton.click()
    bench.wait(segmenter.asked.is_set)
    run = widget.panel._job.run

    bench.app.aboutToQuit.emit()

    assert run.state is RunState.CANCELLED
    assert "Slicer was closed" in str(run.error)
    segmenter.may.set()


def test_learning_that_ends_with_slicer_is_ended(monkeypatch):
    from MedSAM3SegmentLib.engine.learning import learning_process

    ended = []
    monkeypatch.setattr(learning_process, "end_own_jobs", lambda: ended.append(True))
    end_all()
    assert ended


def test_quitting_a_slicer_that_has_used_nothing_imports_nothing(monkeypatch):
    for name in ("runs.run", "engine.connection"):
        monkeypatch.delitem(sys.modules, f"MedSAM3SceneLib.{name}", raising=False)
    end_all()
    assert "MedSAM3SceneLib.engine.connection" not in sys.modules
