"""What the slice views draw of previews without being asked for it, and that nothing of ours hides what others show."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.editing.preview_node import PreviewNode
from MedSAM3SceneLib.mrml.segmentation_nodes import new_segmentation, remove_segmentation
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from support.nodes import add_segmentation, segments
from support.panel import draw, held_after, open_panel, phantom, run, segmentations, show_slice

VIEWS = ("Red", "Green", "Yellow")


@pytest.fixture
def watched(bench):
    """The volume in all views, which are drawn once as they are, at a place where both organs are cut."""
    volume, array = phantom()
    widget = open_panel(bench)
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    for name in VIEWS:
        bench.app.layoutManager().sliceWidget(name).mrmlSliceNode().JumpSliceByOffsetting(-14.0, -14.0, 12.0)
    return widget, volume, array, {name: bench.render(name) for name in VIEWS}


def drawn_pixels(bench, empty):
    """How many pixels of each view are not what they were."""
    return {name: int((bench.render(name) != empty[name]).any(axis=2).sum()) for name in VIEWS}


def test_slices_of_a_run_are_drawn_in_all_views_as_they_come_to_the_last(bench, watched):
    widget, _, _, empty = watched
    widget.logic.segmenter = held_after(7)
    widget.logic.segmenter.seconds_a_slice = 0.1
    widget.ui.conceptsEdit.plainText = "liver; left kidney"
    widget.ui.applyButton.click()
    bench.wait(widget.logic.segmenter.asked.is_set)
    bench.wait(lambda: min(drawn_pixels(bench, empty).values()) > 0, 5)
    bench.spin(0.6)

    seen = drawn_pixels(bench, empty)
    for name in VIEWS:
        bench.app.layoutManager().sliceWidget(name).sliceView().forceRender()
    assert drawn_pixels(bench, empty) == seen, "all that has come by now is drawn already"
    widget.ui.cancelButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    assert drawn_pixels(bench, empty) == dict.fromkeys(VIEWS, 0)


def test_a_previewed_slice_is_drawn_as_soon_as_it_is_known(bench, watched):
    widget, volume, _, _ = watched
    show_slice(bench, volume, 4)
    empty = {name: bench.render(name) for name in VIEWS}
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    assert drawn_pixels(bench, empty)["Red"] > 500
    widget.ui.clearPreviewButton.click()
    assert drawn_pixels(bench, empty)["Red"] == 0


def test_a_dragged_threshold_is_drawn_before_it_is_let_go(bench, watched):
    widget, _, _, _ = watched
    run(bench, widget, "liver")
    written = {name: bench.render(name) for name in VIEWS}
    widget.ui.thresholdSlider.bench_drag_to(0.3)
    bench.wait(lambda: widget.panel.previews.is_shown)
    bench.spin(0.3)

    assert min(drawn_pixels(bench, written).values()) > 0


def test_repaints_leave_the_window_free_however_fast_slices_come(bench, watched, monkeypatch):
    widget, _, _, _ = watched
    painted = []
    monkeypatch.setattr(PreviewNode, "repaint", lambda _self: painted.append(1))
    widget.logic.segmenter.seconds_a_slice = 0.05
    run(bench, widget, "liver; left kidney")

    # 24 partial slices in 0.6 seconds at least; intervals are no shorter than 250 ms.
    assert 1 <= len(painted) <= 12


def visibilities(node):
    display = node.GetDisplayNode()
    return {name: bool(display.GetSegmentVisibility(one)) for name, one in segments(node).items()}


def test_all_that_is_found_is_visible_after_another_scene_was_closed(bench):
    widget = open_panel(bench)
    for _ in range(2):
        phantom()
        widget.panel.connect_scene()
        run(bench, widget)
        (node,) = segmentations(bench.slicer.mrmlScene)
        assert visibilities(node) == {"liver": True, "left kidney": True}
        bench.slicer.mrmlScene.Clear(False)


def test_a_scene_that_is_loaded_shows_its_segments_when_a_preview_goes(bench):
    widget = open_panel(bench)
    phantom()
    widget.panel.connect_scene()
    run(bench, widget)
    bench.slicer.mrmlScene.Clear(False)
    volume, array = phantom()
    widget.panel.connect_scene()
    show_slice(bench, volume, 4)
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    mine = add_segmentation(volume, {"mine": array == 1, "other": array == 2, "hidden": array == 0})
    mine.GetDisplayNode().SetSegmentVisibility("hidden", False)

    widget.ui.clearPreviewButton.click()

    assert visibilities(mine) == {"mine": True, "other": True, "hidden": False}


def test_what_is_hidden_stays_hidden_when_nodes_of_ours_come_and_go(bench):
    open_panel(bench)
    volume, array = phantom()
    theirs = add_segmentation(volume, {"a": array == 1, "b": array == 2})
    theirs.GetDisplayNode().SetVisibility(False)
    theirs.GetDisplayNode().SetSegmentVisibility("b", False)
    preview = PreviewNode(volume, read_volume_node(volume), ("liver",), lambda _: (1.0, 0.0, 0.0))
    made = new_segmentation(volume)
    preview.remove()
    remove_segmentation(made)

    assert not theirs.GetDisplayNode().GetVisibility()
    assert visibilities(theirs) == {"a": True, "b": False}


def test_a_preview_is_not_saved_and_its_name_does_not_count_up(bench, tmp_path):
    volume, _ = phantom()
    for _ in range(3):
        preview = PreviewNode(volume, read_volume_node(volume), ("liver",), lambda _: (1.0, 0.0, 0.0))
    assert preview.node.GetName() == "MedSAM3 preview"
    scene = bench.slicer.mrmlScene
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Commit()
    assert "MedSAM3 preview" not in (tmp_path / "scene.mrml").read_text("utf-8")
    preview.remove()


def test_emptying_a_preview_takes_no_voxels_of_segments_with_it(bench):
    volume, array = phantom()
    mine = add_segmentation(volume, {"mine": array == 1})
    preview = PreviewNode(volume, read_volume_node(volume), ("liver",), lambda _: (1.0, 0.0, 0.0))
    preview.show_labels(np.ascontiguousarray((array == 1).astype(np.uint16)))
    preview.remove()
    (left,) = segmentations(bench.slicer.mrmlScene)
    assert left is mine
    draw(mine, volume, "mine", array == 2)
