"""Examples and templates that are chosen in the panel: they reach the segmenter as from the console."""

from __future__ import annotations

import numpy as np

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.localization.place import Standing
from support.nodes import add_segmentation, add_volume, segments
from support.panel import LATTICE, VALUES, open_panel, phantom, run


def scan(name: str, shift: int = 0):
    """A volume of the kind that templates are made for, with a bright organ, and where that is."""
    rng = np.random.default_rng(len(name))
    array = rng.normal(40, 5, (24, 40, 44)).astype(np.int16)
    array[:, :3], array[:, -3:], array[:, :, :3], array[:, :, -3:] = 0, 0, 0, 0
    organ = np.zeros(array.shape, bool)
    organ[8 + shift : 15 + shift, 10:20, 12:24] = True
    array[organ] = 200
    matrix = LATTICE * np.array([2.0, 2.0, 1.5, 1.0])
    return add_volume(array, ijk_to_ras=matrix, name=name), organ


def test_the_section_is_collapsed_and_nothing_is_chosen(bench):
    phantom()
    widget = open_panel(bench)
    assert widget.ui.examplesSection.collapsed
    for name in ("exampleVolume", "exampleSegmentation", "templateVolume", "templateSegmentation"):
        assert getattr(widget.ui, f"{name}Selector").currentNode() is None


def test_an_example_takes_the_place_of_words(bench):
    volume, _ = phantom()
    old, old_array = phantom("old")
    drawn = add_segmentation(old, {"liver": old_array == 1, "left kidney": old_array == 2})
    segmenter = FakeSegmenter({})
    widget = open_panel(bench, segmenter)
    widget.panel.form.parameters.volume = volume
    ui = widget.ui
    ui.exampleVolumeSelector.setCurrentNode(old)
    assert not ui.applyButton.enabled
    assert "both" in ui.applyButton.toolTip
    ui.exampleSegmentationSelector.setCurrentNode(drawn)

    run(bench, widget, "")

    (shown,) = segmenter.examples
    assert list(shown) == ["liver", "left kidney"], "nothing was typed, so all that it shows is meant"
    np.testing.assert_array_equal(shown["liver"][0].mask, old_array == 1)
    assert {"liver", "left kidney"} <= set(segments(widget.panel.form.parameters.segmentation))


def test_examples_do_not_go_with_what_is_drawn(bench):
    volume, array = phantom()
    widget = open_panel(bench)
    parameters = widget.panel.form.parameters
    parameters.example_volume, parameters.example_segmentation = volume, add_segmentation(volume, {"liver": array == 1})
    parameters.segmentation = parameters.example_segmentation
    widget.ui.conceptsEdit.plainText = "liver"
    assert widget.ui.applyButton.enabled
    assert not widget.ui.previewButton.enabled
    widget.ui.modeSelector.setCurrentIndex(3)
    assert not widget.ui.applyButton.enabled
    assert "drawn" in widget.ui.applyButton.toolTip


def test_a_template_says_where_to_look(bench):
    volume, organ = scan("new", shift=3)
    old, old_organ = scan("template")
    labels = add_segmentation(old, {"liver": old_organ})
    segmenter = FakeSegmenter(VALUES)
    widget = open_panel(bench, segmenter)
    widget.panel.form.parameters.volume = volume
    ui = widget.ui
    ui.templateVolumeSelector.setCurrentNode(old)
    ui.templateSegmentationSelector.setCurrentNode(labels)

    run(bench, widget, "liver; left kidney")

    (request,) = segmenter.requests
    place = request.places["liver"]
    assert place.standing is Standing.FOUND
    found = np.flatnonzero(organ.any(axis=(1, 2)))
    assert abs(place.tight[0][0] - found[0]) <= 1
    assert abs(place.tight[0][1] - 1 - found[-1]) <= 1
    assert request.places["left kidney"].standing is Standing.NOT_SHOWN
