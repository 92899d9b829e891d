"""Slicer's Reload of the module: what was changed in any of its files is used, and nothing of before is left over."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from MedSAM3SceneLib.editing.preview_node import PREVIEW_ATTRIBUTE
from MedSAM3SceneLib.engine import connection
from MedSAM3SceneLib.mrml.sample_data import add_volume
from MedSAM3SegmentLib.engine.process.discovery import find_running_engines
from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom
from support.effect import finish, open_effect, options, pixel_of, segment_of
from support.nodes import segment_in_world
from support.panel import VALUES, begin, held_after, open_panel, phantom, run

PACKAGES = (
    "MedSAM3Segment",
    "MedSAM3PanelLib",
    "MedSAM3WidgetsLib",
    "MedSAM3SceneLib",
    "MedSAM3SegmentLib",
    "SegmentEditorMedSAM3Lib",
    "MedSAM3AgentLib",
    "MedSAM3AgentSceneLib",
    "MedSAM3AgentWidgetsLib",
)


def loaded():
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES}


@pytest.fixture(autouse=True)
def others_find_what_they_have_imported(bench):
    """Tests that come later."""
    del bench
    before = loaded()
    yield
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def stops(monkeypatch):
    """How often the engine was ended."""
    ended = []
    monkeypatch.setattr(connection, "stop", lambda: ended.append(True))
    return ended


def now(name):
    """A module as it is loaded now."""
    return importlib.import_module(name)


def reload(bench, widget):
    """Press the button, and return the new widget."""
    widget.onReload()
    bench.spin(0.02)
    return bench.slicer.modules.MedSAM3SegmentWidget


def test_all_packages_are_loaded_again_and_the_new_panel_works(bench, stops):
    node, _ = phantom()
    widget = open_panel(bench)
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.largestOnlyCheckBox.click()
    before = loaded()

    new = reload(bench, widget)

    after = loaded()
    assert {"MedSAM3PanelLib.panel", "MedSAM3SceneLib.engine.connection", "MedSAM3SegmentLib.errors"} <= set(after)
    assert [name for name in after if before.get(name) is after[name]] == []
    assert type(new) is now("MedSAM3Segment").MedSAM3SegmentWidget
    assert type(new.panel) is now("MedSAM3PanelLib.panel").Panel
    assert stops == [True]
    assert bench.slot_errors == []
    assert new.ui.largestOnlyCheckBox.checked, "choices are in the scene"
    assert new.panel.form.parameters.volume is node
    new.logic.segmenter = now("MedSAM3SceneLib.testing.fake_segmenter").FakeSegmenter(VALUES)
    run(bench, new)
    assert bench.dialogs.texts("error") == []
    assert new.ui.resultsTable.rowCount == 2
    assert len(segment_in_world(new.logic.written.segmentation_node, new.logic.written.concepts[0].segment_id)) > 0


def test_a_reload_ends_the_engine_and_the_next_run_starts_a_new_one(bench):
    """The engine itself, with the demo model."""
    made = make_phantom(24, contrast=Contrast.CT, absence=0.0)
    add_volume(made.volume, "phantom")
    connection._local.cache_clear()
    widget = bench.open_panel("MedSAM3Segment")

    def apply(widget):
        widget.ui.conceptsEdit.plainText = "liver"
        widget.ui.modeSelector.setCurrentIndex(1)
        widget.ui.rangeCheckBox.checked = True
        widget.ui.firstSliceBox.value = widget.ui.lastSliceBox.value = 30
        widget.ui.applyButton.click()
        bench.wait(lambda: not widget.panel.is_busy)
        assert bench.dialogs.texts("error") == []
        assert widget.ui.resultsTable.item(0, 1).text() == "found"
        (engine,) = find_running_engines()
        return engine

    first = apply(widget)
    try:
        new = reload(bench, widget)
        assert not first.process.is_alive
        assert find_running_engines() == []
        second = apply(new)
        assert second.pid != first.pid
    finally:
        now("MedSAM3SceneLib.engine.connection").stop()
        connection._local.cache_clear()
    assert not second.process.is_alive


def test_what_was_changed_in_a_package_is_in_the_new_panel(bench, monkeypatch, tmp_path):
    """A developer changes a file far below the panel and presses Reload."""
    widget = open_panel(bench)
    source = sys.modules["MedSAM3SegmentLib.units"].__file__
    changed = Path(source).read_text() + "\ndef format_bytes(size):\n    return 'changed'\n"
    (tmp_path / "units.py").write_text(changed)
    real = importlib.machinery.SourceFileLoader.get_data
    monkeypatch.setattr(
        importlib.machinery.SourceFileLoader,
        "get_data",
        lambda loader, path: real(loader, str(tmp_path / "units.py") if path == source else path),
    )
    monkeypatch.setattr(importlib.machinery.SourceFileLoader, "path_stats", _no_cache)

    reload(bench, widget)

    assert now("MedSAM3PanelLib.setup.import_sentences").format_bytes(7) == "changed"


def _no_cache(_loader, _path):
    raise OSError("nothing is compiled beforehand")


def test_a_run_that_is_on_its_way_is_dropped(bench, stops):
    phantom()
    segmenter = held_after(3)
    widget = begin(bench, segmenter)
    bench.wait(segmenter.asked.is_set)

    reload(bench, widget)
    segmenter.may.set()
    bench.spin(0.1)

    assert stops == [True]
    assert bench.dialogs.texts("error") == []
    assert bench.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_reload_can_be_pressed_again_and_again(bench, monkeypatch):
    phantom()
    widget = open_panel(bench)
    for _press in range(3):
        monkeypatch.setattr(now("MedSAM3SceneLib.engine.connection"), "stop", lambda: None)
        widget = reload(bench, widget)
    widget.logic.segmenter = now("MedSAM3SceneLib.testing.fake_segmenter").FakeSegmenter(VALUES)
    run(bench, widget)

    assert widget.ui.resultsTable.rowCount == 2
    assert bench.slot_errors == []


def test_after_a_mistake_in_the_module_file_the_panel_goes_on_as_it_was(bench, monkeypatch, tmp_path, stops):
    phantom()
    widget = open_panel(bench)
    before = loaded()
    # Slicer puts the folder of the file there, and leaves it.
    monkeypatch.setattr(sys, "path", list(sys.path))
    wrong = tmp_path / "MedSAM3Segment.py"
    wrong.write_text("def half(:\n")
    monkeypatch.setattr(bench.slicer.util, "modulePath", lambda _name: str(wrong))

    with pytest.raises(SyntaxError):
        widget.onReload()

    assert before.items() <= loaded().items()
    assert stops == []
    run(bench, widget)
    assert widget.ui.resultsTable.rowCount == 2


def test_an_effect_that_is_active_goes_on_with_what_was_loaded(bench):
    opened = open_effect(bench)
    opened.editor.drag("Red", pixel_of(opened, "Red", (11, 9, 6)), pixel_of(opened, "Red", (25, 23, 6)))
    widget = open_panel(bench)
    earlier = opened.effect

    reload(bench, widget)

    assert earlier.session is None
    opened.effect = opened.editor.widget.activeEffect().self()
    assert type(opened.effect) is now("SegmentEditorMedSAM3Lib").SegmentEditorEffect
    assert type(opened.effect.session) is now("SegmentEditorMedSAM3Lib.session").EffectSession
    assert options(opened).promptList.count == 1, "what was drawn is in the scene"
    fake = now("MedSAM3SceneLib.testing.fake_segmenter").FakeSegmenter({"liver": 1})
    opened.effect.engine = lambda: now("MedSAM3SceneLib.engine.local_engine").LocalEngine(fake)
    options(opened).volumeButton.click()
    finish(opened)
    assert len(segment_in_world(opened.segmentation, "liver")) > 0
    assert segment_of(opened) is not None
    assert options(opened).messageLabel.text
    assert bench.dialogs.texts("error") == []
    opened.editor.undo()
    assert len(segment_in_world(opened.segmentation, "liver")) == 0
    previews = bench.slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert [node for node in previews if node.GetAttribute(PREVIEW_ATTRIBUTE)] == []


def test_an_effect_chosen_after_a_reload_is_new_and_shows_its_options_once(bench):
    opened = open_effect(bench)
    opened.editor.leave()
    rows = opened.effect.scriptedEffect.optionsLayout().rowCount()
    widget = open_panel(bench)

    reload(bench, widget)
    opened.effect = opened.editor.choose("MedSAM3")

    assert type(opened.effect) is now("SegmentEditorMedSAM3Lib").SegmentEditorEffect
    assert opened.effect.scriptedEffect.optionsLayout().rowCount() == rows
    fake = now("MedSAM3SceneLib.testing.fake_segmenter").FakeSegmenter({"liver": 1})
    opened.effect.engine = lambda: now("MedSAM3SceneLib.engine.local_engine").LocalEngine(fake)
    options(opened).volumeButton.click()
    finish(opened)
    assert len(segment_in_world(opened.segmentation, "liver")) > 0


def test_a_segment_editor_that_is_opened_later_has_the_new_effect(bench):
    from fake_slicer.effect_host import EffectFactory

    volume, _ = phantom()
    now("SegmentEditorMedSAM3Lib.registration").register_effect()
    widget = open_panel(bench)

    reload(bench, widget)
    now("SegmentEditorMedSAM3Lib.registration").register_effect()

    assert [effect.name for effect in EffectFactory.instance().registeredEffects()] == ["MedSAM3"]
    node = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.GetSegmentation().AddEmptySegment("liver", "liver")
    editor = bench.segment_editor(volume, node)
    editor.widget.updateEffectList()
    effect = editor.choose("MedSAM3")
    assert type(effect) is now("SegmentEditorMedSAM3Lib").SegmentEditorEffect
    assert effect.session is not None
