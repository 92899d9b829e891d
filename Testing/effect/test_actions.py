"""What the effect's actions do to a segment: what they should and nothing else, at the right place, with one undo."""

import numpy as np
import pytest
from hypothesis import given, settings

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.mrml.volume_cache import VolumeCache
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.runs.edit_actions import EditAction
from MedSAM3SceneLib.segments.prompts import write_prompts
from MedSAM3SceneLib.segments.provenance import read_provenance
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.prompts.prompts import BoxReading, PointPromptRAS
from MedSAM3SegmentLib.request import Mode
from support.effect_actions import TRUTH, Setting, begin, box, check_that_removing_ends, flat_box, held
from support.nodes import (
    TURNED,
    add_transform,
    add_volume,
    lattices,
    mask_in_world,
    misplaced,
    rigid,
    rigids,
    segment_in_world,
    snapshot,
    to_world,
    unmatched,
)

pytestmark = pytest.mark.usefixtures("scene")

per_scene = settings(max_examples=12, deadline=None)


@per_scene
@given(lattice=lattices(), volume_parent=rigids, segmentation_parent=rigids)
def test_different_parents_misplace_no_voxel(lattice, volume_parent, segmentation_parent):
    setting = Setting(lattice=lattice, volume_parent=volume_parent, segmentation_parent=segmentation_parent)

    setting.act(EditAction.WHOLE_VOLUME)

    assert misplaced(setting.segmentation, "liver", setting.volume, TRUTH) == 0


@pytest.mark.parametrize("overwriting", ["OverwriteNone", "OverwriteAllSegments"])
def test_an_empty_segment_in_a_turned_shared_labelmap_gets_voxels_in_place(overwriting):
    """Slicer lets new segments share the labelmap of the first one, whose voxels need not be those of the volume."""
    neighbour = box((5, 0, 0), (8, 3, 3))
    setting = Setting(volume_parent=TURNED, spleen=neighbour)
    setting.segmentation.SetAndObserveTransformNodeID(add_transform(rigid((0, 35, -15), (0, 30, -100))).GetID())
    editor = setting.logic.editor
    editor.SetOverwriteMode(getattr(editor, overwriting))
    before = segment_in_world(setting.segmentation, "spleen")

    setting.act(EditAction.WHOLE_VOLUME)

    assert misplaced(setting.segmentation, "liver", setting.volume, TRUTH) == 0
    # They are far apart by now.
    assert unmatched(segment_in_world(setting.segmentation, "spleen"), before) == 0


def test_an_action_saves_one_undo_state_and_changes_the_segment_once():
    setting = Setting(liver=box((3, 3, 3), (4, 5, 5)), spleen=box((0, 0, 0), (2, 2, 2)))
    before = snapshot(setting.segmentation)

    setting.act(EditAction.WHOLE_VOLUME)

    assert setting.logic.calls == ["save", "add"]
    after = snapshot(setting.segmentation)
    assert after != before
    setting.logic.logic.Undo()
    assert snapshot(setting.segmentation) == before
    setting.logic.logic.Redo()
    assert snapshot(setting.segmentation) == after


def test_nothing_drawn_and_nothing_to_look_for_are_refused_in_words():
    setting = Setting()

    with pytest.raises(InputError, match="No slice of 'liver' was drawn"):
        setting.act(EditAction.PROPAGATE)
    with pytest.raises(InputError, match="nothing to look for"):
        setting.act(EditAction.WHOLE_VOLUME, phrase=" ")
    with pytest.raises(InputError, match="more than one phrase"):
        setting.act(EditAction.WHOLE_VOLUME, phrase="liver; spleen")
    with pytest.raises(InputError, match="No slice view"):
        setting.act(EditAction.THIS_SLICE)
    assert setting.logic.calls == []
    assert setting.segmenter.requests == []


def test_not_found_leaves_the_segment_alone_and_says_so():
    setting = Setting(liver=box((2, 2, 2), (3, 4, 4)))
    before = snapshot(setting.segmentation)

    run = setting.act(EditAction.WHOLE_VOLUME, phrase="pancreas")

    assert snapshot(setting.segmentation) == before
    assert setting.logic.calls == []
    assert not run.changed
    assert run.messages[-1] == "The segment 'liver' was left as it was."


def test_marks_reach_the_engine_in_the_frame_of_the_volume():
    setting = Setting(volume_parent=TURNED, segmentation_parent=rigid((0, 0, 90), (0, 30, -100)))
    in_world = to_world(setting.volume) @ setting.lattice @ np.array([5, 4, 3, 1])
    clicked = np.linalg.inv(to_world(setting.segmentation)) @ in_world
    write_prompts(setting.segmentation.GetSegmentation().GetSegment("liver"), (PointPromptRAS(tuple(clicked[:3])),))

    setting.act(EditAction.WHOLE_VOLUME)

    placed = read_volume_node(setting.volume)
    (point,) = setting.request.prompts["liver"].points
    assert np.linalg.inv(placed.volume.grid.ijk_to_ras) @ [*point.position, 1] == pytest.approx([5, 4, 3, 1], abs=1e-3)
    assert setting.request.mode is Mode.FROM_PROMPTS
    assert setting.request.prompts["liver"].is_phrase


def test_things_like_this_are_looked_for_and_only_this_one_is_followed():
    setting = Setting()
    write_prompts(setting.segmentation.GetSegmentation().GetSegment("liver"), (flat_box(setting, 3),))

    modes = []
    for reading in (BoxReading.THINGS_LIKE_THIS, BoxReading.ONLY_THIS_ONE):
        setting.act(EditAction.WHOLE_VOLUME, reading=reading)
        modes.append((setting.request.mode, setting.request.prompts["liver"].reading))

    assert modes == [
        (Mode.SLICES, BoxReading.THINGS_LIKE_THIS),
        (Mode.FROM_PROMPTS, BoxReading.ONLY_THIS_ONE),
    ]


def test_prompts_that_need_the_phrase_go_with_it_as_far_as_they_are_usable():
    setting = Setting()
    segment = setting.segmentation.GetSegmentation().GetSegment("liver")
    write_prompts(segment, (flat_box(setting, 3, positive=False), PointPromptRAS((1.0, 1.0, 1.0), positive=False)))

    run = setting.act(EditAction.WHOLE_VOLUME)

    prompts = setting.request.prompts["liver"]
    assert setting.request.mode is Mode.SLICES
    assert (len(prompts.boxes), prompts.points, prompts.reading) == (1, (), BoxReading.THINGS_LIKE_THIS)
    assert any("Negative points need a positive" in message for message in run.messages)


def test_neighbours_keep_what_overwriting_and_masking_protect():
    neighbour = box((3, 3, 3), (6, 6, 6))
    for mode, mask_mode in (("OverwriteNone", None), ("OverwriteAllSegments", None), ("OverwriteAllSegments", "out")):
        setting = Setting(liver=box((0, 0, 0), (1, 1, 1)), spleen=neighbour)
        editor = setting.logic.editor
        editor.SetOverwriteMode(getattr(editor, mode))
        if mask_mode:
            editor.SetMaskMode(setting.slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)

        setting.act(EditAction.WHOLE_VOLUME)

        spleen = held(setting.segmentation, "spleen", setting.volume)
        if mode == "OverwriteNone" or mask_mode:
            assert (spleen == neighbour).all()
        else:
            assert (spleen == neighbour & ~TRUTH).all()
        if mask_mode:
            # What is under the mask is neither written nor erased.
            assert (setting.held[~neighbour] == TRUTH[~neighbour]).all()
            assert not (setting.held & neighbour).any()
        else:
            assert (setting.held == TRUTH).all()
        setting.slicer.mrmlScene.Clear(False)


def test_the_editable_intensity_range_is_kept_to():
    setting = Setting(liver=box((0, 0, 0), (2, 2, 2)))
    array = setting.slicer.util.arrayFromVolume(setting.volume)
    array[3] += 100
    setting.segmenter.values["liver"] = 1
    editor = setting.logic.editor
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(1, 1)

    setting.act(EditAction.WHOLE_VOLUME)

    expected = TRUTH | box((0, 0, 0), (2, 2, 2))
    expected[3] = False
    assert (setting.held == expected).all()


def test_a_shown_surface_follows_segment_and_undo_but_not_the_neighbors():
    setting = Setting(spleen=box((0, 0, 0), (2, 2, 2)))
    setting.act(EditAction.WHOLE_VOLUME)
    setting.segmentation.CreateClosedSurfaceRepresentation()

    def bounds(name):
        surface = setting.segmentation.GetSegmentation().GetSegment(name).GetRepresentation("Closed surface")
        return surface.GetBounds()

    whole, neighbour = bounds("liver"), bounds("spleen")
    setting.slicer.util.arrayFromVolume(setting.volume)[4:] = 0
    setting.act(EditAction.WHOLE_VOLUME)

    assert bounds("liver")[5] == pytest.approx(whole[5] - 6, abs=1)
    assert bounds("spleen") == neighbour
    setting.logic.logic.Undo()
    assert bounds("liver") == whole


def test_the_segment_says_where_it_came_from():
    setting = Setting()

    setting.act(EditAction.WHOLE_VOLUME)

    provenance = read_provenance(setting.segmentation.GetSegmentation().GetSegment("liver"))
    assert provenance["action"] == "whole volume"
    assert provenance["concept"] == "liver"
    assert provenance["input"]["name"] == "ct"


@pytest.mark.parametrize("what", ["segment", "segmentation", "volume"])
def test_a_removed_segment_or_node_ends_the_run_without_a_change(what):
    setting = Setting(spleen=box((0, 0, 0), (2, 2, 2)))
    run = begin(setting.logic, "liver", EditAction.WHOLE_VOLUME, setting.segmenter)
    run.advance(0)

    check_that_removing_ends(run, setting, what)


def test_the_world_is_where_the_mask_says():
    """The check of the checks: the helper that reads a segment agrees with the place of the mask."""
    setting = Setting(volume_parent=TURNED)
    setting.act(EditAction.WHOLE_VOLUME)

    assert unmatched(segment_in_world(setting.segmentation, "liver"), mask_in_world(setting.volume, TRUTH)) == 0


def test_a_volume_is_read_again_only_when_something_of_it_changed():
    import slicer

    volume = add_volume(TRUTH.astype(np.int16))
    kept = VolumeCache()
    first = run_steps_to_end(kept.read(volume))
    seen = [first]
    changes = (
        lambda: None,
        lambda: (slicer.util.arrayFromVolume(volume).fill(3), slicer.util.arrayFromVolumeModified(volume)),
        lambda: volume.SetAndObserveTransformNodeID(add_transform(TURNED).GetID()),
        lambda: volume.SetSpacing(2, 2, 2),
        lambda: volume.SetName("other"),
    )

    for change in changes:
        change()
        seen.append(run_steps_to_end(kept.read(volume)))

    assert seen[1] is first
    assert len({id(placed) for placed in seen}) == len(changes)
    assert (seen[2].volume.array == 3).all()
    assert seen[-1].volume.grid.spacing == pytest.approx((2, 2, 2))
