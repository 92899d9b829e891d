"""The effect in a Segment Editor: actions, phrases, refusals, and that nothing of it is left where it should not be."""

from __future__ import annotations

import re

import numpy as np
import pytest

from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.segments.phrases import phrase_of
from MedSAM3SegmentLib.prompts.prompts import BoxReading
from support.effect import (
    LIVER,
    SPLEEN,
    HeldSegmenter,
    finish,
    is_running,
    lines_in,
    marks_of,
    open_effect,
    options,
    pixel_of,
    segment_of,
)
from support.effect_actions import held
from support.nodes import add_volume, add_warp, snapshot
from support.paths import ROOT
from support.scene import quiet
from support.slicer_modules import load_module


@pytest.fixture
def opened(bench):
    return open_effect(bench)


def test_one_undo_takes_an_action_back_bit_for_bit_and_its_marks_with_it(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    before, marks = snapshot(opened.segmentation), marks_of(opened)

    opened.editor.press("Red", "Return")
    finish(opened)
    opened.editor.click("Red", pixel_of(opened, "Red", (20, 20, 6)))
    after, later = snapshot(opened.segmentation), marks_of(opened)
    opened.editor.undo()

    assert after != before
    assert (held(opened.segmentation, "spleen", opened.volume) == SPLEEN).all()
    assert snapshot(opened.segmentation) == before
    assert marks_of(opened) == marks
    assert options(opened).promptList.count == 1
    opened.editor.redo()
    assert snapshot(opened.segmentation) == after
    assert marks_of(opened) == later


def test_this_slice_then_propagate_fills_the_segment_and_keeps_the_slice(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    opened.editor.press("Red", "Return")
    finish(opened)
    only = LIVER.copy()
    only[[0, 1, 2, 4, 5, 6, 7]] = False
    assert (held(opened.segmentation, "liver", opened.volume) == only).all()

    opened.editor.press("Red", "Return", shift=True)
    finish(opened)

    assert (held(opened.segmentation, "liver", opened.volume) == LIVER).all()
    (mark,) = opened.segmenter.requests[-1].prompts["liver"].masks
    assert mark.slices == (3,)


def test_whole_volume_honours_masking_and_overwriting_of_the_editor(opened):
    opened.editor.widget.setCurrentSegmentID("spleen")
    opened.editor.node.SetOverwriteMode(opened.editor.node.OverwriteAllSegments)
    opened.editor.widget.setCurrentSegmentID("liver")
    array = opened.bench.slicer.util.arrayFromVolume(opened.volume)
    array[3, 28:36, 28:36] = 1
    options(opened).volumeButton.click()
    finish(opened)

    expected = SPLEEN.copy()
    expected[3, 28:36, 28:36] = False
    assert (held(opened.segmentation, "spleen", opened.volume) == expected).all()
    opened.editor.undo()
    opened.editor.node.SetMaskMode(opened.bench.slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    options(opened).volumeButton.click()
    finish(opened)
    assert (held(opened.segmentation, "spleen", opened.volume) == SPLEEN).all()
    assert (held(opened.segmentation, "liver", opened.volume) == LIVER).all()


@pytest.mark.parametrize(
    ("leave", "why"),
    [
        (lambda o: o.editor.widget.setCurrentSegmentID("spleen"), "Another segment or volume was selected"),
        (
            lambda o: o.editor.widget.setSourceVolumeNode(add_volume(LIVER.astype(np.int16))),
            "Another segment or volume",
        ),
        (lambda o: o.segmentation.GetSegmentation().RemoveSegment("liver"), "removed"),
        (lambda o: o.bench.slicer.mrmlScene.RemoveNode(o.volume), "removed|Another segment or volume|effect was left"),
        (
            lambda o: o.bench.slicer.mrmlScene.RemoveNode(o.segmentation),
            "removed|Another segment or volume|effect was left",
        ),
        (lambda o: o.editor.leave(), "The effect was left"),
        (lambda o: options(o).cancelButton.click(), "cancelled"),
    ],
    ids=["segment", "volume", "segment removed", "volume removed", "segmentation removed", "deactivated", "cancel"],
)
def test_an_action_ends_with_what_it_was_begun_for_and_writes_nothing(opened, leave, why):
    segmenter = HeldSegmenter({"liver": 1})
    opened.effect.engine = lambda: LocalEngine(segmenter)
    before = snapshot(opened.segmentation)
    options(opened).volumeButton.click()
    opened.bench.wait(segmenter.asked.is_set)

    leave(opened)
    opened.bench.wait(lambda: not is_running(opened))
    segmenter.may.set()
    opened.bench.spin(0.1)

    if opened.segmentation.GetScene() is not None and segment_of(opened) is not None:
        assert snapshot(opened.segmentation) == before
        with quiet():
            opened.editor.undo()
        assert snapshot(opened.segmentation) == before, "no undo state was saved"
    assert re.search(why, options(opened).messageLabel.text)
    assert not options(opened).cancelButton.enabled


def test_a_closed_scene_in_mid_action_is_harmless(opened):
    segmenter = HeldSegmenter({"liver": 1})
    opened.effect.engine = lambda: LocalEngine(segmenter)
    options(opened).volumeButton.click()
    opened.bench.wait(segmenter.asked.is_set)

    opened.bench.slicer.mrmlScene.Clear(False)
    segmenter.may.set()
    opened.bench.spin(0.1)

    assert not is_running(opened)
    assert opened.bench.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_second_action_is_not_begun_before_the_first_one_ends(opened):
    segmenter = HeldSegmenter({"liver": 1})
    opened.effect.engine = lambda: LocalEngine(segmenter)
    options(opened).volumeButton.click()
    for button in (options(opened).sliceButton, options(opened).propagateButton, options(opened).volumeButton):
        assert not button.enabled
        assert "on its way" in button.toolTip
    opened.editor.press("Red", "Return")
    assert "on its way already" in options(opened).messageLabel.text
    segmenter.may.set()
    finish(opened)

    assert len(segmenter.requests) == 1
    assert (held(opened.segmentation, "liver", opened.volume) == LIVER).all()
    assert options(opened).volumeButton.enabled


def test_leaving_the_effect_leaves_nothing_in_the_views(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    assert lines_in(opened, "Red")[0] > 0

    opened.editor.leave()

    assert lines_in(opened, "Red") == (0, 0)
    assert len(marks_of(opened)) == 1
    opened.editor.widget.setCurrentSegmentID("spleen")
    assert options(opened).promptList.count == 1, "what is closed hears nothing"
    opened.editor.widget.setCurrentSegmentID("liver")
    opened.editor.choose("MedSAM3")
    assert lines_in(opened, "Red")[0] > 0


def test_each_segment_has_its_own_phrase_and_marks(opened):
    assert options(opened).phraseEdit.text == "liver"
    options(opened).phraseEdit.text = "right liver lobe"
    options(opened).phraseEdit.editingFinished.emit()
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))

    opened.editor.widget.setCurrentSegmentID("spleen")
    assert options(opened).phraseEdit.text == "spleen"
    assert options(opened).promptList.count == 0
    assert lines_in(opened, "Red") == (0, 0)
    opened.editor.widget.setCurrentSegmentID("liver")
    assert options(opened).phraseEdit.text == "right liver lobe"
    assert options(opened).promptList.count == 1


def test_typing_is_not_disturbed_by_what_happens_to_the_segment(opened):
    options(opened).phraseEdit.text = "right liv"
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))

    assert options(opened).phraseEdit.text == "right liv"


def test_the_closed_editor_hears_nothing_of_its_widgets_any_more(opened):
    widgets = options(opened)
    effect = opened.effect
    opened.editor.leave()
    effect.cleanup()

    widgets.volumeButton.click()
    widgets.phraseEdit.text = "pancreas"
    widgets.phraseEdit.editingFinished.emit()

    assert effect.options is None
    assert opened.segmenter.requests == []
    assert phrase_of(segment_of(opened)) == "liver"


@pytest.mark.parametrize(
    ("name", "entry", "phrase"),
    [
        ("kidney tumor", "", "kidney tumor"),
        ("Segment_1", "", ""),
        (
            "Segment_2",
            "Segmentation category and type~SCT^1^Organ~SCT^2^Kidney~SCT^3^Left~Anatomic~^^~^^",
            "left kidney",
        ),
        ("Segment_3", "Segmentation category and type~SCT^1^Tissue~SCT^2^Tissue~^^~Anatomic~^^~^^", ""),
        ("Segment", "no entry", ""),
    ],
)
def test_a_segment_is_asked_for_by_its_name_or_its_terminology(scene, name, entry, phrase):
    import slicer

    del scene
    segment = slicer.vtkSegment()
    segment.SetName(name)
    if entry:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)

    assert phrase_of(segment) == phrase


def test_the_reading_of_boxes_reaches_the_engine_and_stays_in_the_scene(opened):
    opened.editor.drag("Red", pixel_of(opened, "Red", (11, 9, 6)), pixel_of(opened, "Red", (25, 23, 6)))
    options(opened).readingSelector.setCurrentIndex(1)
    options(opened).volumeButton.click()
    finish(opened)

    assert opened.segmenter.requests[-1].prompts["liver"].reading is BoxReading.THINGS_LIKE_THIS
    assert opened.editor.node.GetAttribute("MedSAM3.Reading") == "things like this"


def test_a_warped_segmentation_is_refused_in_words_and_draws_nothing(opened):
    opened.segmentation.SetAndObserveTransformNodeID(add_warp().GetID())

    opened.editor.click("Red", (100, 100))
    assert "non-linear transform" in options(opened).messageLabel.text
    options(opened).volumeButton.click()
    assert "non-linear transform" in options(opened).messageLabel.text
    assert not is_running(opened)
    assert marks_of(opened) == ()


def test_a_warped_volume_is_refused_in_words_and_shown_without_fail(opened):
    opened.volume.SetAndObserveTransformNodeID(add_warp().GetID())

    opened.editor.click("Red", (100, 100))
    options(opened).volumeButton.click()

    assert "'ct' is under the non-linear transform 'warp'" in options(opened).messageLabel.text
    assert len(marks_of(opened)) == 1


def test_without_a_segment_actions_say_why_they_cannot_be_clicked(opened):
    opened.editor.widget.setCurrentSegmentID("")

    for button in (options(opened).sliceButton, options(opened).propagateButton, options(opened).volumeButton):
        assert not button.enabled
        assert "segment" in button.toolTip
    assert not opened.editor.click("Red", (100, 100))


def test_an_engine_that_cannot_start_is_told_in_words(opened):
    from MedSAM3SegmentLib.errors import ModelError

    def no_engine():
        raise ModelError("PyTorch is not installed; install it in the panel.")

    opened.effect.engine = no_engine
    options(opened).volumeButton.click()

    assert options(opened).messageLabel.text == "PyTorch is not installed; install it in the panel."
    assert options(opened).volumeButton.enabled


def test_a_model_without_a_tracker_is_refused_in_the_effects_own_words(opened, tiny_model_folder):
    from MedSAM3SegmentLib.segmenter import Segmenter

    opened.effect.engine = lambda: LocalEngine(Segmenter.load(str(tiny_model_folder), "cpu"))
    before = snapshot(opened.segmentation)
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))

    for button in (options(opened).sliceButton, options(opened).propagateButton, options(opened).volumeButton):
        button.click()
        finish(opened)
        said = options(opened).messageLabel.text
        assert "cannot follow what was drawn" in said
        assert '"Things like this"' in said
        assert f'"{options(opened).sliceButton.text}" or "{options(opened).volumeButton.text}"' in said
        assert not re.search(r"\bmodes?\b", said)
    assert snapshot(opened.segmentation) == before

    options(opened).removeAllButton.click()
    options(opened).sliceButton.click()
    finish(opened)
    assert "cannot follow" not in options(opened).messageLabel.text, "what is advised can be done"


def test_the_cursor_is_a_cross_and_the_icon_is_there(opened):
    import qt

    assert opened.effect.createCursor(None).shape() == qt.Qt.CrossCursor
    assert not opened.effect.icon().isNull()


def test_no_key_of_the_effect_is_a_key_of_slicer():
    """Keys as VTK names them: Slicer's Segment Editor, slice views and markups, and peers that take window keys."""
    import ast

    source = ROOT / "MedSAM3Segment" / "SegmentEditorMedSAM3Lib" / "shortcuts.py"
    (commands,) = [
        node.value
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_COMMANDS"
    ]
    keys = [key.elts[0].value for key in commands.keys]
    editor = {*"0123456789", "Escape", "space", *"zyqwi", "slash", "asterisk", "comma", "period", "less", "greater"}
    views = {*"fbgtvVr", "Left", "Right", "Up", "Down", "bracketleft", "bracketright", "braceleft", "braceright"}
    others = {"Delete", "BackSpace", *"pbsltervPBSLTERV"}

    assert len(keys) == 4
    assert not set(keys) & (editor | views | others)


def test_registering_twice_offers_the_effect_once(bench):
    from SegmentEditorMedSAM3Lib.registration import register_effect

    factory = bench.slicer.qSlicerSegmentEditorEffectFactory.instance()

    register_effect()
    register_effect()

    assert [effect.name for effect in factory.registeredEffects()].count("MedSAM3") == 1


def test_the_self_test_of_the_effect_passes(bench):
    load_module("MedSAM3Segment").MedSAM3SegmentTest().test_effect()
    assert not bench.slot_errors


def test_slicers_start_loads_nothing_heavy_for_the_effect():
    import ast

    library = ROOT / "MedSAM3Segment" / "SegmentEditorMedSAM3Lib"
    for name in ("__init__", "registration", "SegmentEditorEffect"):
        for node in ast.parse((library / f"{name}.py").read_text()).body:
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= {"os", "qt", "slicer"}
            elif isinstance(node, ast.ImportFrom):
                light = {"__future__", "pathlib", "SegmentEditorEffects", "slicer.i18n"}
                assert node.level == 1 or node.module in light
