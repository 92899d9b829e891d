"""Slices that are known show while an action of the effect runs, beside the segment and never in it."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.editing.preview_node import PREVIEW_ATTRIBUTE
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import ModelError
from support.effect import LIVER, HeldSegmenter, finish, is_running, open_effect, options, segment_of
from support.effect_actions import held
from support.nodes import add_transform, add_volume, misplaced, rigid, snapshot

#: Slices that are done when a test looks.
DONE = 4


class FailingSegmenter(FakeSegmenter):
    """Fails after it has shown some slices."""

    def segment(self, volume, request, *told):
        super().segment(volume, request, *told)
        raise ModelError("The model broke; add it again.")


@pytest.fixture
def opened(bench):
    return open_effect(bench)


def previews(opened):
    nodes = opened.bench.slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute(PREVIEW_ATTRIBUTE)]


def run_to_the_middle(opened):
    """Begin an action that waits after ``DONE`` slices, and let these arrive; what lets it go on is returned."""
    segmenter = HeldSegmenter({"liver": 1}, after=DONE)
    opened.effect.engine = lambda: LocalEngine(segmenter)
    options(opened).volumeButton.click()
    opened.bench.wait(segmenter.asked.is_set)
    opened.bench.wait(lambda: len(previews(opened)) > 0 and shown(opened)[DONE - 1].any())
    return segmenter


def shown(opened):
    """What the preview holds on the volume's voxels, bool ``[k, j, i]``."""
    (preview,) = previews(opened)
    (segment_id,) = preview.GetSegmentation().GetSegmentIDs()
    return held(preview, segment_id, opened.volume)


def test_partial_slices_show_in_place_and_color_and_the_segment_stays(opened):
    for node in (opened.volume, opened.segmentation):
        node.SetAndObserveTransformNodeID(add_transform(rigid((40, 0, 15), (100, -50, 0))).GetID())
    segment_of(opened).SetColor(0.2, 0.4, 0.6)
    before = snapshot(opened.segmentation)

    run_to_the_middle(opened)

    (preview,) = previews(opened)
    known = LIVER.copy()
    known[DONE:] = False
    segment_id = preview.GetSegmentation().GetNthSegmentID(0)
    assert known.any()
    assert misplaced(preview, segment_id, opened.volume, known) == 0
    assert preview.GetSegmentation().GetSegment(segment_id).GetColor() == pytest.approx((0.2, 0.4, 0.6))
    assert snapshot(opened.segmentation) == before
    assert opened.editor.node.GetSegmentationNode() is opened.segmentation
    assert preview.GetHideFromEditors()
    assert not preview.GetSaveWithScene()


def test_after_the_action_the_segment_has_it_and_one_undo_takes_it_back(opened):
    before = snapshot(opened.segmentation)
    segmenter = run_to_the_middle(opened)
    assert shown(opened).any()
    segmenter.may.set()
    finish(opened)

    assert previews(opened) == []
    assert (held(opened.segmentation, "liver", opened.volume) == LIVER).all()
    opened.editor.undo()
    assert snapshot(opened.segmentation) == before


def test_an_oblique_slice_shows_too_and_is_gone_with_the_answer(opened):
    node = opened.bench.app.layoutManager().sliceWidget("Green").mrmlSliceNode()
    turned = rigid((35, 20, 0), (18, 16, 7))
    for row in range(4):
        for column in range(4):
            node.GetSliceToRAS().SetElement(row, column, float(turned[row, column]))
    node.UpdateMatrices()
    seen = []
    scene = opened.bench.slicer.mrmlScene
    tag = scene.AddObserver(scene.NodeAddedEvent, lambda *_: seen.append(len(previews(opened))))
    opened.editor.press("Green", "Return")
    finish(opened)
    scene.RemoveObserver(tag)

    assert 1 in seen
    assert previews(opened) == []
    assert held(opened.segmentation, "liver", opened.volume).any()


@pytest.mark.parametrize(
    "leave",
    [
        lambda o: options(o).cancelButton.click(),
        lambda o: o.editor.leave(),
        lambda o: o.effect.cleanup(),
        lambda o: o.editor.widget.setCurrentSegmentID("spleen"),
        lambda o: o.editor.widget.setSourceVolumeNode(add_volume(LIVER.astype(np.int16))),
        lambda o: o.bench.slicer.mrmlScene.RemoveNode(o.volume),
        lambda o: o.segmentation.GetSegmentation().RemoveSegment("liver"),
        lambda o: o.bench.slicer.mrmlScene.Clear(False),
    ],
    ids=["cancel", "left", "closed", "segment", "volume", "volume removed", "segment removed", "scene closed"],
)
def test_whatever_ends_the_action_takes_what_was_shown_away(opened, leave):
    segmenter = run_to_the_middle(opened)
    assert len(previews(opened)) == 1

    leave(opened)
    opened.bench.wait(lambda: not is_running(opened))
    segmenter.may.set()
    opened.bench.spin(0.1)

    assert previews(opened) == []


def test_a_failure_takes_what_was_shown_away(opened):
    before = snapshot(opened.segmentation)
    opened.effect.engine = lambda: LocalEngine(FailingSegmenter({"liver": 1}))
    options(opened).volumeButton.click()
    finish(opened)

    assert previews(opened) == []
    assert options(opened).messageLabel.text == "The model broke; add it again."
    assert snapshot(opened.segmentation) == before


def test_what_the_panel_shows_is_left_to_the_panel(opened):
    widget = opened.bench.open_panel("MedSAM3Segment")
    widget.logic.segmenter = FakeSegmenter({"liver": 1})
    widget.ui.conceptsEdit.plainText = "liver"
    widget.panel.form.parameters.volume = opened.volume
    widget.ui.previewButton.click()
    opened.bench.wait(lambda: not widget.panel.is_busy)
    assert len(previews(opened)) == 1

    opened.editor.leave()

    assert len(previews(opened)) == 1
