"""*Learn from my segments* in the panel: from ticked segments to an adapter in *Model*, with a real process."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from MedSAM3SceneLib.engine import connection
from MedSAM3SegmentLib.engine.learning.job_folder import JobFolder
from MedSAM3SegmentLib.engine.learning.learning_process import find_jobs
from MedSAM3SegmentLib.engine.learning.records import JobStage, LearningOrder, LearningResult, LearningStatus
from MedSAM3SegmentLib.errors import EngineError
from MedSAM3SegmentLib.messages.message import message
from support.learning_jobs import large_structure, make_hesitant_model
from support.nodes import add_segmentation, add_volume
from support.panel import open_panel


@pytest.fixture(scope="session")
def hesitant_model(tmp_path_factory):
    return make_hesitant_model(tmp_path_factory.mktemp("hesitant") / "tiny")


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSAM3_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


def open_section(bench):
    """The panel with the section open, in which liver of a segmentation can be ticked."""
    one = large_structure()
    volume = add_volume(one.volume.array, one.volume.grid.ijk_to_ras, name="Doe^Jane")
    add_segmentation(volume, dict(one.masks))
    widget = open_panel(bench)
    widget.ui.learnSection.collapsed = False
    return widget


def tick(widget, name="mine"):
    import qt

    widget.ui.learnTable.item(0, 0).setCheckState(qt.Qt.Checked)
    widget.ui.learnNameEdit.text = name


def test_ticked_segments_become_an_adapter_that_is_chosen_by_a_click(
    bench, store, hesitant_model, monkeypatch, tmp_path
):
    shutil.copytree(hesitant_model, store / "tiny")
    widget = open_section(bench)
    # What this model must learn is in the detector, which learns where PEFT is missing.
    monkeypatch.setattr("MedSAM3PanelLib.learning.target_choice.find_spec", lambda _name: None)
    ui, section = widget.ui, widget.panel.learning
    widget.panel.setup.models.choose("tiny")
    unloaded = []
    monkeypatch.setattr(
        connection, "unload_local", lambda: unloaded.append(list((tmp_path / "run").glob("*/process.json"))) or True
    )
    assert ui.learnTable.item(0, 0).text() == "liver"
    assert ui.learnIntoSelector.currentText == "A new adapter on tiny"
    assert "stays a demo" in ui.learnLabel.text
    assert "peft is not installed" in ui.learnLabel.text
    assert not ui.learnButton.enabled
    tick(widget)
    ui.learnStepsSpinBox.value = 6
    assert ui.learnButton.enabled
    ui.learnButton.click()
    assert not ui.learnButton.enabled
    assert ui.cancelLearningButton.enabled
    bench.wait(lambda: section.job is not None)
    assert section.job.order.parent is not None
    # The engine makes room before the process is there.
    assert unloaded == [[]]
    assert "lets go of its models" in ui.learnLabel.text
    # Slicer is closed and opened again while it learns.
    bench.close_panel(widget)
    bench.slicer.mrmlScene.Clear(0)
    widget = open_panel(bench)
    ui, section = widget.ui, widget.panel.learning
    assert not ui.learnSection.collapsed
    assert ui.learnProgressBar.visible
    bench.wait(lambda: ui.learnCloseButton.visible, 300)
    assert "The adapter mine is installed." in ui.learnLabel.text
    assert "demo still" in ui.learnLabel.text
    assert ui.learnResultTable.item(0, 0).text() == "this task (liver)"
    before, after = ui.learnResultTable.item(0, 2).text().split(" → ")
    assert float(before) == 0
    assert float(after) > 0.5
    assert ui.learnPicture1Label.pixmap.width() > 200
    widget.parent.resize(320, 900)
    bench.spin(0.1)
    assert widget.parent.width == 320
    assert ui.learnPicture1Label.pixmap.width() == ui.learnPicture1Label.width < 320
    assert ui.modelSelector.findData("mine") >= 0
    ui.learnUseButton.click()
    assert widget.panel.form.parameters.model == "mine"
    folder = section.job.folder.path
    ui.learnCloseButton.click()
    assert not folder.exists()
    assert not ui.learnResultTable.visible
    assert not ui.learnPicture1Label.visible
    assert ui.learnIntoSelector.currentText == "A new adapter on tiny"
    assert ui.learnIntoSelector.findData("mine") == 1


def test_cancelling_while_segments_are_read_or_learnt_leaves_nothing(bench, store, tmp_path, monkeypatch):
    def fail():
        raise EngineError("The engine does not answer.")

    monkeypatch.setattr(connection, "unload_local", fail)
    widget = open_section(bench)
    tick(widget)
    ui, section = widget.ui, widget.panel.learning
    ui.learnButton.click()
    ui.cancelLearningButton.click()
    assert "cancelled" in ui.learnLabel.text
    assert list((tmp_path / "run").glob("learning-*")) == []
    ui.learnButton.click()
    bench.wait(lambda: section.job is not None)
    assert "lets go" not in ui.learnLabel.text
    ui.cancelLearningButton.click()
    assert ui.learnStageLabel.text == "Cancelling..."
    bench.wait(lambda: section.job is None)
    assert "cancelled" in ui.learnLabel.text
    assert not ui.learnProgressBar.visible
    assert list((tmp_path / "run").glob("learning-*")) == []
    assert not store.exists() or not any(path.is_file() for path in store.rglob("*"))


def test_a_job_that_goes_on_is_shown_by_another_panel_with_its_curve_and_its_end(bench):
    folder = JobFolder.make()
    folder.write_order(LearningOrder("mine", "base", steps=40))
    folder.announce_process()
    folder.write_status(LearningStatus(JobStage.TRAINING, 20, 40, 95.0, {"mask": 1.0}))
    for step, loss in ((10, 3.0), (20, 2.0)):
        folder.add_to_curve(step, {"mask": loss, "box": 1.0})
    widget = open_panel(bench)
    ui = widget.ui
    assert ui.learnStageLabel.text == "Learning: step 20 of 40, 2 min left"
    assert ui.learnProgressBar.value * 2 == ui.learnProgressBar.maximum
    bench.wait(lambda: ui.learnCurveLabel.visible)
    assert ui.learnCurveLabel.pixmap.width() > 0
    reason = message("Nothing was installed: {why}", why="it got no better.")
    folder.write_result(LearningResult(False, reason))
    bench.wait(lambda: ui.learnCloseButton.visible)
    assert ui.learnLabel.text == reason
    assert not ui.learnUseButton.visible
    ui.learnCloseButton.click()
    assert find_jobs() == []


def test_what_stands_in_the_way_is_said_before_anything_is_read(bench, store, tmp_path):
    (store / "taken").mkdir(parents=True)
    widget = open_section(bench)
    ui = widget.ui
    assert ui.learnButton.toolTip == "Tick the segments to learn from."
    tick(widget, "")
    assert ui.learnButton.toolTip == "Type a name for the new adapter."
    for name, said in (("taken", "installed already"), ("../mine", "cannot be a folder's")):
        ui.learnNameEdit.text = name
        ui.learnButton.click()
        assert said in ui.learnLabel.text
    assert list((tmp_path / "run").glob("learning-*")) == []


def test_what_was_ticked_stays_ticked_until_the_scene_closes(bench):
    import qt

    widget = open_section(bench)
    tick(widget)
    one = large_structure()
    add_segmentation(add_volume(one.volume.array, name="other"), {"spleen": np.asarray(one.masks["liver"])})
    widget.panel.update()
    table = widget.ui.learnTable
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == ["liver", "spleen"]
    assert [table.item(row, 0).checkState() == qt.Qt.Checked for row in range(2)] == [True, False]
    bench.slicer.mrmlScene.Clear(0)
    assert table.rowCount == 0
    assert not widget.ui.learnButton.enabled
