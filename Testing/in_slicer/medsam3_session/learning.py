"""*Learn from my segments*: chosen in the panel, cancelled, and to its end while the window stays alive."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qt
import slicer

from .abdomen import Abdomen, add_abdomen, add_segment, add_segmentation
from .session import Session, Stopwatch
from .steps import Steps, Until, pause
from .window_gaps import Meter

#: What is learnt: organs of the sample, by names that the demo model does not know.
_NAMES = {"large gland": "liver", "small gland": "spleen"}

_ADAPTER, _STEPS = "learnt-in-a-check", 80

#: Milliseconds that cancelling may take.
_CANCELLED = 3000


def check_learning(session: Session) -> Steps:
    """On the sample: first cancelled, then to its end."""
    if not session.is_demo:
        session.checks.note("learning", "needs the demo model and the packages that it runs with")
        return
    with _own_store() as store:
        abdomen = _segmented(session)
        yield pause(1.0)
        ui = session.ui
        ui.learnSection.collapsed = False
        yield pause(0.5)
        yield from _choose(session)
        meter = Meter(session, "sample 48x128x128")
        try:
            yield from _cancel(session, meter, store)
            yield from _learn(session, meter, abdomen)
        finally:
            meter.close()
        _check_result(session)
        with_it = ui.modelSelector.findData(_ADAPTER)
        session.checks.check("the adapter is offered in Model", with_it >= 0, ui.modelSelector.currentText)
        session.press(ui.learnUseButton)
        session.checks.equal("Use this model chooses it", session.panel.form.parameters.model, _ADAPTER)
        session.press(ui.learnCloseButton)
        yield pause(0.5)
        session.checks.equal("Close deletes figures and pictures", _job_folders(), [])
        session.panel.form.parameters.model = "demo"
        session.close_scene()
        yield pause(0.5)


def _segmented(session: Session) -> Abdomen:
    """The sample with segments that were drawn on it."""
    session.close_scene()
    session.open_panel()
    abdomen = add_abdomen()
    node = add_segmentation(abdomen, "drawn")
    for name, organ in _NAMES.items():
        add_segment(abdomen, node, name, abdomen.mask(organ))
    return abdomen


def _choose(session: Session) -> Steps:
    """Tick the segments, name the adapter."""
    ui = session.ui
    rows = {ui.learnTable.item(row, 0).text(): row for row in range(ui.learnTable.rowCount)}
    session.checks.equal("the segments are offered", sorted(rows), sorted(_NAMES))
    for row in rows.values():
        ui.learnTable.item(row, 0).setCheckState(qt.Qt.Checked)
    ui.learnNameEdit.text = _ADAPTER
    ui.learnStepsSpinBox.value = _STEPS
    yield pause(0.5)
    session.checks.check("Learn can be pressed", ui.learnButton.enabled, ui.learnButton.toolTip)


def _begin(session: Session) -> Steps:
    """Press Learn, until there is a job or a sentence that says why there is none."""
    learning = session.panel.learning
    session.press(session.ui.learnButton)
    yield Until(lambda: learning.job is not None or not learning.is_busy, "an end of reading the segments", 120)
    if learning.job is None:
        raise RuntimeError(f"nothing is learnt: {session.ui.learnLabel.text}")


def _cancel(session: Session, meter: Meter, store: Path) -> Steps:
    """Begin, and cancel in the middle of the training."""
    learning = session.panel.learning
    with meter.measured("Learn, up to the first steps"):
        yield from _begin(session)
        yield Until(lambda: len(learning.job.curve) > 0, "the first steps", 600)
    watch = Stopwatch()
    with meter.measured("Cancel"):
        session.press(session.ui.cancelLearningButton)
        yield Until(lambda: learning.job is None, "an end of the job", 60)
        took = watch.milliseconds
        yield pause(0.5)
    session.checks.at_most("it is cancelled", took, _CANCELLED, "ms")
    session.checks.equal("cancelling leaves no job", _job_folders(), [])
    left = [path.name for path in store.rglob("*") if path.is_file()]
    session.checks.equal("cancelling leaves nothing in the store", left, [])


def _learn(session: Session, meter: Meter, abdomen: Abdomen) -> Steps:
    """To the end; meanwhile the scene is used."""
    ui = session.ui
    ui.learnNameEdit.text = _ADAPTER
    watch = Stopwatch()
    with meter.measured(f"{_STEPS} steps"):
        yield from _begin(session)
        yield Until(lambda: ui.learnCurveLabel.visible, "a learning curve", 600)
        session.checks.check("the stage is shown", ui.learnStageLabel.visible, ui.learnStageLabel.text)
        _save_window("learning")
        yield Until(lambda: ui.learnCloseButton.visible, "an end of learning", 900)
        yield pause(0.5)
    session.checks.note(f"from Learn to the end of {_STEPS} steps", f"{watch.milliseconds / 1000:.0f} s")
    array = slicer.util.arrayFromVolume(abdomen.node)
    session.checks.equal("the scene is as it was", array.shape, abdomen.labels.shape)


def _check_result(session: Session) -> None:
    """Figures and pictures, before and after."""
    checks, ui = session.checks, session.ui
    checks.check("the adapter is installed", ui.learnUseButton.visible, ui.learnLabel.text)
    before, _, after = ui.learnResultTable.item(0, 2).text().partition(" \u2192 ")
    checks.check("Dice on held-out slices rises", after and float(after) > float(before), f"{before} to {after}")
    width = _picture_width(ui.learnPicture1Label)
    checks.check("held-out slices are shown before and after", width > 0, f"{width} pixels")
    _save_window("learnt")


def _save_window(name: str) -> None:
    """A picture of the window, for people."""
    slicer.util.mainWindow().grab().save(f"{slicer.app.temporaryPath}/medsam3-{name}.png")


def _picture_width(label: Any) -> int:
    pixmap = label.pixmap
    return int(pixmap.width()) if pixmap is not None and label.visible else 0


def _job_folders() -> list[str]:
    from MedSAM3SegmentLib.engine.process.discovery import run_folder

    return [path.name for path in run_folder().glob("learning-*")]


@contextmanager
def _own_store() -> Iterator[Path]:
    """Within the block adapters are installed into a folder that goes with it."""
    from MedSAM3SegmentLib.model_store.store import STORE_VARIABLE

    before = os.environ.get(STORE_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[STORE_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(STORE_VARIABLE)
            if before is not None:
                os.environ[STORE_VARIABLE] = before
