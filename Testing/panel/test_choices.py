"""What is chosen in the panel: that it reaches the segmenter, is kept in the scene, and is offered while typing."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.request import Adapt, AssemblyOptions, Grouping, Mode
from MedSAM3SegmentLib.slice_saving import NO_SAVING, SliceSaving
from support.nodes import add_segmentation
from support.panel import open_panel, phantom, run


def test_what_is_chosen_reaches_the_segmenter(bench):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
    drawn = add_segmentation(volume, {"liver": array == 1})
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetSize(10, 10, 10)
    ui = widget.ui
    ui.planeSelector.setCurrentIndex(2)
    ui.rangeCheckBox.checked = True
    ui.firstSliceBox.value, ui.lastSliceBox.value = 3, 6
    ui.roiSelector.setCurrentNode(roi)
    ui.insideSelector.setCurrentNode(drawn)
    ui.insideSelector.setCurrentSegmentID("liver")
    ui.groupingSelector.setCurrentIndex(1)
    ui.morePlanesCheckBox.checked = True
    ui.modeSelector.setCurrentIndex(2)

    run(bench, widget, "liver")

    (request,) = segmenter.requests
    assert request.plane.value == "coronal"
    assert request.slices == (3, 7)
    assert request.mode is Mode.PROPAGATE
    assert request.grouping is Grouping.INSTANCE
    assert len(request.region.corners) == 8
    assert (request.inside == (array == 1)).all()
    assert [plane.value for plane in request.more_planes] == ["axial", "sagittal"]


def test_slices_are_left_out_where_the_panel_says_so_and_in_no_other_mode(bench):
    phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
    ui = widget.ui
    ui.skimBox.value, ui.sliceDistanceBox.value = 4, 3.0
    run(bench, widget, "liver")
    assert segmenter.requests[-1].saving == SliceSaving(4, 3.0)

    ui.modeSelector.setCurrentIndex(2)
    assert not ui.skimBox.enabled
    assert not ui.sliceDistanceBox.enabled
    run(bench, widget, "liver")
    assert segmenter.requests[-1].saving == NO_SAVING


def test_a_draft_is_asked_for_where_the_panel_says_so_in_every_mode(bench):
    phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
    run(bench, widget, "liver")
    assert not segmenter.requests[-1].draft
    assert widget.panel.form.preview_options()["draft"] is False

    widget.ui.draftCheckBox.checked = True
    for mode in (1, 2):
        widget.ui.modeSelector.setCurrentIndex(mode)
        run(bench, widget, "liver")
        assert segmenter.requests[-1].draft
    assert widget.panel.form.preview_options()["draft"] is True


def test_what_everything_must_lie_in_is_anywhere_until_a_segment_is_chosen(bench):
    from PySide6.QtWidgets import QComboBox, QLabel

    volume, array = phantom()
    widget = open_panel(bench)
    ui = widget.ui
    ui.conceptsEdit.plainText = "liver"
    ui.advancedSection.collapsed = False
    bench.spin(0.05)

    def words():
        labels = [label.text for label in ui.advancedSection.findChildren(QLabel) if label.visible]
        return labels + [box.currentText for box in ui.advancedSection.findChildren(QComboBox) if box.visible]

    assert "Anywhere" in words()
    assert not any("selected" in text or text == "None" for text in words())
    assert ui.applyButton.enabled

    drawn = add_segmentation(volume, {"organ": array == 1})
    ui.insideSegmentationSelector.setCurrentNode(drawn)
    assert ui.insideSelector.visible
    assert not ui.applyButton.enabled
    assert "Select the segment that everything must lie in" in ui.applyButton.toolTip
    ui.insideSelector.setCurrentSegmentID("organ")
    assert ui.applyButton.enabled
    assert "organ" in words()
    (inside, name) = widget.panel.form.preview_options()["inside"]
    assert (inside, name) == (drawn, "organ")

    ui.insideSegmentationSelector.setCurrentNode(None)
    assert widget.panel.form.preview_options()["inside"] is None
    assert not ui.insideSelector.visible
    ui.insideSegmentationSelector.setCurrentNode(drawn)
    bench.slicer.mrmlScene.RemoveNode(drawn)
    assert widget.panel.form.preview_options()["inside"] is None
    assert "Anywhere" in words()


def test_learning_from_drawn_slices_is_offered_where_they_are_followed(bench):
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
    widget.ui.conceptsEdit.plainText = "liver"
    assert not widget.ui.adaptCheckBox.visible
    widget.ui.modeSelector.setCurrentIndex(3)
    assert widget.ui.adaptCheckBox.visible
    assert not widget.ui.adaptNameEdit.visible
    widget.ui.adaptCheckBox.click()
    assert widget.ui.adaptNameEdit.visible
    widget.ui.adaptNameEdit.text = " my-liver "
    widget.ui.segmentationSelector.setCurrentNode(add_segmentation(volume, {"liver": array == 1}))
    run(bench, widget, "liver")
    assert segmenter.requests[-1].adapt is Adapt.SLICES
    assert segmenter.requests[-1].adapt_name == "my-liver"
    widget.ui.modeSelector.setCurrentIndex(1)
    run(bench, widget, "liver")
    assert segmenter.requests[-1].adapt is None
    assert not segmenter.requests[-1].adapt_name


def test_drawn_slices_are_asked_for_by_the_names_of_their_segments(bench):
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
    only = np.zeros(array.shape, bool)
    only[5] = array[5] == 1
    node = add_segmentation(volume, {"liver": only})
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.modeSelector.setCurrentIndex(3)
    assert "drew" in widget.ui.applyButton.toolTip

    widget.ui.segmentationSelector.setCurrentNode(node)
    run(bench, widget, "liver")

    (request,) = segmenter.requests
    assert request.mode is Mode.FROM_PROMPTS
    (mark,) = request.prompts["liver"].masks
    # Nobody remembers which slices were drawn on, so all with something on them count.
    assert mark.slices is None
    assert (mark.mask == only).all()


def test_all_choices_are_shown_again_when_their_scene_is_loaded(bench, tmp_path):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    widget = open_panel(bench)
    ui = widget.ui
    nodes = {
        ui.volumeSelector: phantom("other")[0],
        ui.segmentationSelector: add_segmentation(volume, {"mine": array == 1}),
        ui.roiSelector: scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box"),
        ui.insideSelector: scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs"),
    }
    for selector, node in nodes.items():
        selector.setCurrentNode(node)
    for selector, row in ((ui.deviceSelector, 3), (ui.viewSelector, 2), (ui.modeSelector, 2), (ui.planeSelector, 3)):
        selector.setCurrentIndex(row)
    ui.rangeCheckBox.click()
    ui.firstSliceBox.value = 2
    widget.panel.form.parameters.model = "someone/model"
    names = {selector.objectName: node.GetName() for selector, node in nodes.items()}

    def shown():
        chosen = {name: getattr(ui, name).currentNode() for name in names}
        return (
            {name: node.GetName() if node is not None else None for name, node in chosen.items()},
            (ui.deviceSelector.currentData, ui.modelSelector.currentData, ui.viewSelector.currentText),
            (ui.modeSelector.currentIndex, ui.planeSelector.currentIndex),
            (ui.rangeCheckBox.checked, ui.firstSliceBox.value, ui.lastSliceBox.value),
        )

    expected = (names, ("cpu", "someone/model", "Yellow"), (2, 3), (True, 2, 21))
    assert shown() == expected
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(False)
    assert ui.modelSelector.currentData == "demo"
    assert ui.deviceSelector.currentData == "auto"

    scene.Import()
    bench.app.processEvents()

    assert shown() == expected


def test_each_of_two_parameter_nodes_keeps_its_own_choices(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = open_panel(bench)
    ui, panel = widget.ui, widget.panel
    nodes = widget.logic.getParameterNode(), scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "second")
    for node, concept, row in zip(nodes, ("liver", "aorta"), (1, 2), strict=True):
        panel.form.connect(node)
        ui.conceptsEdit.plainText = concept
        ui.planeSelector.setCurrentIndex(row)
        ui.largestOnlyCheckBox.checked = concept == "liver"

    for node, concept, row in zip(nodes, ("liver", "aorta"), (1, 2), strict=True):
        panel.form.connect(node)
        assert ui.conceptsEdit.plainText == concept
        assert ui.planeSelector.currentIndex == row
        assert ui.largestOnlyCheckBox.checked == (concept == "liver")
        run(bench, widget, ui.conceptsEdit.plainText)
        assert widget.logic.segmenter.requests[-1].concepts == (concept,)


def test_choices_are_kept_in_the_scene_and_nothing_secret_is(bench, tmp_path):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = open_panel(bench)
    widget.ui.conceptsEdit.plainText = "liver\nspleen"
    widget.ui.modeSelector.setCurrentIndex(2)
    widget.ui.remoteAddressEdit.text = "https://gpu.example.org:8765"
    widget.ui.remoteTokenEdit.text = "a-very-secret-token"
    widget.panel.setup.engine.keep_remote()
    assert bench.settings.value("MedSAM3/RemoteToken") == "a-very-secret-token"

    path = tmp_path / "scene.mrml"
    scene.SetURL(str(path))
    assert scene.Commit()
    written = path.read_text()
    assert "spleen" in written
    assert "secret" not in written
    assert "gpu.example.org" not in written
    scene.Clear(False)
    bench.wait(lambda: widget.ui.conceptsEdit.plainText == "")
    scene.Import()
    bench.enter(widget)

    assert widget.ui.conceptsEdit.plainText == "liver\nspleen"
    assert widget.ui.modeSelector.currentIndex == 2


#: The check boxes of the clean-up steps.
STEP_BOXES = {
    "link": "linkCheckBox",
    "hysteresis": "hysteresisCheckBox",
    "fill_gaps": "fillGapsCheckBox",
    "drop_isolated": "dropIsolatedCheckBox",
    "largest_only": "largestOnlyCheckBox",
}


def steps_shown(widget):
    return AssemblyOptions(**{step: getattr(widget.ui, box).checked for step, box in STEP_BOXES.items()})


def test_every_clean_up_step_has_a_box_that_reaches_the_request(bench):
    phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
    usual = AssemblyOptions()
    assert steps_shown(widget) == usual
    run(bench, widget, "liver")

    for box in STEP_BOXES.values():
        getattr(widget.ui, box).click()
        run(bench, widget, "liver")
        getattr(widget.ui, box).click()

    assert list(STEP_BOXES) == [step.name for step in fields(AssemblyOptions)]
    expected = [usual, *(replace(usual, **{step: not getattr(usual, step)}) for step in STEP_BOXES)]
    assert [request.assembly for request in segmenter.requests] == expected


def test_clean_up_steps_are_kept_in_the_scene_and_default_without_one(bench, tmp_path):
    scene = bench.slicer.mrmlScene
    phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.fillGapsCheckBox.click()
    widget.ui.largestOnlyCheckBox.click()
    path = tmp_path / "scene.mrml"
    scene.SetURL(str(path))
    assert scene.Commit()
    scene.Clear(False)
    bench.wait(lambda: steps_shown(widget) == AssemblyOptions())

    scene.Import()
    bench.enter(widget)
    assert steps_shown(widget) == AssemblyOptions(fill_gaps=False, largest_only=True)
    widget.panel.form.parameters.volume = phantom("again")[0]
    run(bench, widget, "liver")
    assert segmenter.requests[-1].assembly == AssemblyOptions(fill_gaps=False, largest_only=True)

    bench.leave(widget)
    node = widget.logic.getParameterNode()
    for step in STEP_BOXES:
        node.UnsetParameter(step)
    assert not any(node.HasParameter(step) for step in STEP_BOXES)
    assert scene.Commit()
    scene.Clear(False)
    scene.Import()
    bench.enter(widget)
    assert widget.ui.conceptsEdit.plainText == "liver"
    assert steps_shown(widget) == AssemblyOptions()


def test_typing_offers_the_vocabulary_and_what_was_asked_before(bench):
    phantom()
    widget = open_panel(bench)
    run(bench, widget, "liver; liver with a spot")
    completion = widget.panel.completion

    offered = completion.completions("liv")
    assert offered[:2] == ("liver", "liver with a spot")
    assert "spleen" in completion.completions("sple")
    widget.ui.conceptsEdit.plainText = "aorta; splee"
    cursor = widget.ui.conceptsEdit.textCursor()
    cursor.setPosition(len("aorta; splee"))
    widget.ui.conceptsEdit.setTextCursor(cursor)
    completion.insert("spleen")
    assert widget.ui.conceptsEdit.plainText == "aorta; spleen"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["Key_Down", "Key_Return"], "aorta;spleen"),
        (["Key_Down", "Key_Enter"], "aorta;spleen"),
        (["Key_Down", "Key_Tab"], "aorta;spleen"),
        (["Key_Return"], "aorta;spl\n"),
        (["Key_Escape"], "aorta;spl"),
    ],
)
def test_keys_take_the_completion_that_is_marked(bench, keys, text):
    from PySide6 import QtCore, QtWidgets
    from PySide6.QtTest import QTest

    phantom()
    edit = open_panel(bench).ui.conceptsEdit
    edit.window().activateWindow()
    edit.setFocus()
    bench.app.processEvents()
    for letter in "aorta;spl":
        QTest.keyClick(edit, letter)
    popup = edit.findChild(QtWidgets.QCompleter).popup()
    assert popup.visible
    for key in keys:
        # A popup has the keyboard while it is open.
        QTest.keyClick(popup, getattr(QtCore.Qt, key))

    assert edit.plainText == text
    assert not popup.visible


def test_what_is_misspelt_or_foreign_is_offered_for_a_click(bench):
    widget = open_panel(bench)
    ui, advice = widget.ui, widget.panel.advice
    ui.conceptsEdit.plainText = "lver; linke Niere\nspleen"
    advice.show()
    assert ui.adviceLabel.visible or ui.adviceLabel.text
    assert "'lver' is not in the vocabulary" in ui.adviceLabel.text.replace("&#x27;", "'")
    assert ">left kidney</a>" in ui.adviceLabel.text
    ui.adviceLabel.linkActivated.emit("0")
    assert ui.conceptsEdit.plainText == "liver\nlinke Niere\nspleen"
    ui.adviceLabel.linkActivated.emit("0")
    assert ui.conceptsEdit.plainText == "liver\nleft kidney\nspleen"
    assert ui.adviceLabel.text == ""


def test_what_is_typed_is_shown_as_text_and_not_as_markup(bench):
    widget = open_panel(bench)
    widget.ui.conceptsEdit.plainText = "<b>lver</b> & <a href='x'>y</a>"
    widget.panel.advice.show()
    assert "<b>" not in widget.ui.adviceLabel.text
    assert "<a href='x'" not in widget.ui.adviceLabel.text


def test_a_ct_that_is_not_in_hu_is_told_before_and_after_the_run(bench):
    volume, _ = phantom()
    said = []
    widget = open_panel(bench, FakeSegmenter({"liver": 1}))
    say = widget.panel._say
    widget.panel._say = lambda words: (said.append(words), say(words))
    constants = bench.slicer.vtkMRMLSubjectHierarchyConstants
    volume.SetAttribute(constants.GetDICOMSeriesModalityAttributeName(), "CT")
    run(bench, widget, "liver")
    assert any("do not look like Hounsfield units" in words for words in said)
