"""Typed commands on segments of a scene: the same voxels as in the shell, one undo, masks and overwriting as set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3AgentSceneLib.editing.command_run import CommandRun, CommandTask
from MedSAM3AgentSceneLib.editing.run_command import keep_history, run_command
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.runs.run import RunState, run_to_end
from MedSAM3SceneLib.segments.completed import COMPLETED, STATUS_TAG
from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from MedSAM3SegmentLib.volume import Volume
from support.nodes import (
    add_segmentation,
    add_transform,
    add_volume,
    add_warp,
    misplaced,
    rigid,
    segment_in_world,
    segments,
    snapshot,
    vtk_matrix,
)
from support.scene import save_node
from support.segment_writing import boxes, edit_settings

pytestmark = pytest.mark.usefixtures("scene")

SHAPE = (14, 16, 18)
OBLIQUE = rigid((7, -12, 31), (30.5, -12.25, 8.0)) @ np.diag([0.9, 0.9, 2.5, 1.0])
LIVER, SPLEEN, TUMOR = boxes(((2, 2, 2), (11, 11, 9)), ((4, 4, 9), (9, 10, 16)), ((5, 5, 4), (8, 8, 8)), shape=SHAPE)


def image(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 100, SHAPE).astype(np.int16)


def organs(matrix: np.ndarray = OBLIQUE, **masks: np.ndarray):
    """A volume and a segmentation on it; without masks of liver, spleen and a tumor in the liver."""
    volume = add_volume(image(), matrix)
    return volume, add_segmentation(volume, masks or {"liver": LIVER, "spleen": SPLEEN, "tumor": TUMOR})


def speckled(seed: int) -> np.ndarray:
    """A mask of several pieces with holes, some at the image's edge."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.2)
    return noise > np.quantile(noise, 0.8)


def history() -> SegmentWriter:
    writer = SegmentWriter.shared_if_held()
    assert writer is not None
    return writer


def check_undo(segmentation, before) -> None:
    """What was done is one action, which comes back and goes again bit for bit."""
    after = snapshot(segmentation)
    assert history().undo()
    assert snapshot(segmentation) == before
    assert history().redo()
    assert snapshot(segmentation) == after


TEXTS = (
    "grow 3 mm", "shrink 1 mm", "keep the largest", "keep the 2 largest; grow 2 mm", "remove pieces below 20 voxels",
    "smooth 3 mm", "gaussian 1 mm", "remove spikes", "close gaps", "fill holes", "fill holes on each slice",
    "make a shell 3 mm", "invert", "clear", "keep the left part", "remove the lower half", "nothing above slice 6",
    "only slices 3 to 9", "remove slices 3 to 7", "only above 20", "only between -50 and 120 HU", "without spleen",
    "only inside liver", "add spleen", "copy spleen", "nothing below the spleen", "keep piece 2", "remove piece 1",
    "keep the largest; shrink 1 mm; smooth 3 mm; fill holes",
    "grow the liver 2 mm; without spleen; shrink the spleen 1 mm",
    "rename to lesion; shrink 1 mm", "split", "split into pieces; grow 1 mm", "split; remove what lies in lesion 2",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_commands_give_the_voxels_that_the_shell_gives(text: str, tmp_path: Path) -> None:
    text = text.replace("lesion 2", "speckles 2")
    volume, segmentation = organs(liver=LIVER, spleen=SPLEEN, speckles=speckled(5))
    grid = VoxelGrid(SHAPE, OBLIQUE)
    masks = {"liver": LIVER, "spleen": SPLEEN, "speckles": speckled(5)}
    write_segmentation(
        tmp_path / "in.seg.nrrd", [Segment(name, mask, (1.0, 0.0, 0.0)) for name, mask in masks.items()], grid, {}
    )
    save_node(volume, tmp_path / "ct.nrrd")
    before = snapshot(segmentation)

    out = str(tmp_path / "out.seg.nrrd")
    options = ["--output", out, "--segment", "speckles", "--image", str(tmp_path / "ct.nrrd")]
    assert main(["edit", str(tmp_path / "in.seg.nrrd"), text, *options]) == 0
    outcome = run_command(segmentation, text, "speckles")

    wanted, _ = read_segmentation(tmp_path / "out.seg.nrrd")
    assert [one.name for one in wanted] == list(segments(segmentation))
    for one in wanted:
        assert misplaced(segmentation, segments(segmentation)[one.name], volume, one.mask) == 0, one.name
    assert outcome.understood
    if outcome.changed or "rename" in text:
        check_undo(segmentation, before)
    else:
        assert snapshot(segmentation) == before


def test_changed_counts_voxels_and_messages_say_what_was_done() -> None:
    _volume, segmentation = organs()
    outcome = run_command(segmentation, "grow the tumor 1 mm; how big is it")
    wanted = apply_commands(TUMOR, VoxelGrid(SHAPE, OBLIQUE), "grow 1 mm").mask

    assert outcome.understood == ["tumor: grow by 1 mm.", "tumor: measure."]
    assert outcome.changed == {"tumor": int((wanted ^ TUMOR).sum())}
    assert len(outcome.messages) == 2
    assert f"({wanted.sum()} voxels)" in outcome.messages[0]
    assert "mL" in outcome.messages[1]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("shrnk 2 mm", r"'shrnk 2 mm' is not understood; the nearest command is 'shrink 2 mm'"),
        ("shrink the liver 2 mm; flibber it", "flibber"),
        ("grow the liver 9000 mm", "9000 mm cannot be used"),
        ("", "No command"),
        ("shrink 2 mm", "several segments.*'liver', 'spleen', 'tumor'"),
        ("grow the liver 1 mm; without kidney", r"no segment 'kidney'.*'spleen', 'tumor'"),
        ("grow the liver 1 mm; keep piece 9", "no piece 9"),
        ("grow the liver 1 mm; only slices 40 to 50", "no slice 40"),
        ("grow the liver 1 mm; threshold 0.4", "move the threshold"),
        ("make the liver a shell 0.1 mm", "thinner than a voxel"),
    ],
)
def test_what_cannot_be_done_changes_nothing(text: str, match: str) -> None:
    _, segmentation = organs()
    before = snapshot(segmentation)
    could_undo = keep_history().can_undo
    with pytest.raises(InputError, match=match):
        run_command(segmentation, text)
    assert snapshot(segmentation) == before
    assert history().can_undo == could_undo


def test_the_selected_segment_is_meant_and_given_ones_outrank_it() -> None:
    volume, segmentation = organs()
    edit_settings(segmentation, volume).SetSelectedSegmentID("spleen")
    assert list(run_command(segmentation, "shrink 1 mm").changed) == ["spleen"]
    assert list(run_command(segmentation, "shrink 1 mm", ["liver", "tumor"]).changed) == ["liver", "tumor"]
    assert list(run_command(segmentation, "shrink the liver 1 mm", "spleen").changed) == ["liver"]
    with pytest.raises(InputError, match=r"no single segment 'heart'.*'liver'"):
        run_command(segmentation, "shrink 1 mm", "heart")


def test_a_name_that_two_segments_have_is_refused_unless_one_of_them_is_given() -> None:
    _, segmentation = organs()
    segmentation.GetSegmentation().GetSegment("tumor").SetName("Liver")
    # As they are written, they differ.
    assert list(run_command(segmentation, "shrink the liver 1 mm").changed) == ["liver"]
    segmentation.GetSegmentation().GetSegment("tumor").SetName("liver")
    with pytest.raises(InputError, match="Several"):
        run_command(segmentation, "shrink the liver 1 mm")
    assert list(run_command(segmentation, "shrink the liver 1 mm", "tumor").changed) == ["tumor"]


def test_a_new_name_is_as_typed_and_undone() -> None:
    _, segmentation = organs()
    before = snapshot(segmentation)
    outcome = run_command(segmentation, "rename the tumor to Lesion  IVb")
    assert list(segments(segmentation)) == ["liver", "spleen", "Lesion IVb"]
    assert outcome.changed == {}
    check_undo(segmentation, before)


def test_pieces_become_segments_behind_the_largest() -> None:
    one, two, three = boxes(((1, 1, 1), (6, 6, 6)), ((8, 8, 8), (11, 11, 11)), ((12, 1, 1), (13, 2, 2)), shape=SHAPE)
    volume, segmentation = organs(mets=one | two | three, liver=LIVER)
    before = snapshot(segmentation)
    outcome = run_command(segmentation, "split", "mets")
    names = segments(segmentation)
    assert list(names) == ["mets 1", "mets 2", "mets 3", "liver"]
    for name, mask in zip(names, (one, two, three, LIVER), strict=True):
        assert misplaced(segmentation, names[name], volume, mask) == 0
    assert outcome.changed == {
        "mets": int((two | three).sum()), names["mets 2"]: int(two.sum()), names["mets 3"]: int(three.sum())
    }  # fmt: skip
    check_undo(segmentation, before)


def test_more_pieces_than_lists_can_show_are_refused() -> None:
    dust = np.zeros(SHAPE, bool)
    dust[::2, ::2, ::2] = True
    _, segmentation = organs(dust=dust)
    before = snapshot(segmentation)
    with pytest.raises(InputError, match="504 pieces"):
        run_command(segmentation, "split")
    assert snapshot(segmentation) == before


@pytest.mark.parametrize("mode", ["OverwriteNone", "OverwriteVisibleSegments", "OverwriteAllSegments"])
def test_neighbors_lose_what_the_overwrite_mode_gives(mode: str) -> None:
    volume, segmentation = organs()
    segmentation.GetDisplayNode().SetSegmentVisibility("tumor", False)
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(getattr(editor, mode))
    before = snapshot(segmentation)
    grown = apply_commands(LIVER, VoxelGrid(SHAPE, OBLIQUE), "grow 3 mm").mask

    outcome = run_command(segmentation, "grow the liver 3 mm")

    assert misplaced(segmentation, "liver", volume, grown) == 0
    spleen = SPLEEN if mode == "OverwriteNone" else SPLEEN & ~grown
    assert misplaced(segmentation, "spleen", volume, spleen) == 0
    # It lay in the liver before and loses nothing to what the liver has gained.
    assert misplaced(segmentation, "tumor", volume, TUMOR) == 0
    lost = int((SPLEEN ^ spleen).sum())
    assert outcome.changed == {"liver": int((grown ^ LIVER).sum())} | ({"spleen": lost} if lost else {})
    assert any("'spleen' lost" in said for said in outcome.messages) == bool(lost)
    check_undo(segmentation, before)


def test_segments_of_one_text_overwrite_each_other_in_its_order() -> None:
    volume, segmentation = organs()
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    before = snapshot(segmentation)
    grid = VoxelGrid(SHAPE, OBLIQUE)
    liver = apply_commands(LIVER, grid, "grow 3 mm").mask
    rest = SPLEEN & ~(liver & ~LIVER)
    spleen = apply_commands(rest, grid, "grow 2 mm").mask
    liver_left = liver & ~(spleen & ~rest)
    tumor = TUMOR & ~(spleen & ~rest)

    run_command(segmentation, "grow the liver 3 mm; grow the spleen 2 mm")

    for name, mask in (("liver", liver_left), ("spleen", spleen), ("tumor", tumor)):
        assert misplaced(segmentation, name, volume, mask) == 0, name
    check_undo(segmentation, before)


def test_a_completed_neighbor_loses_nothing() -> None:
    volume, segmentation = organs()
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    segmentation.GetSegmentation().GetSegment("spleen").SetTag(STATUS_TAG, COMPLETED)
    run_command(segmentation, "grow the liver 3 mm")
    assert misplaced(segmentation, "spleen", volume, SPLEEN) == 0


def test_a_completed_segment_changes_only_after_a_yes() -> None:
    _, segmentation = organs()
    segmentation.GetSegmentation().GetSegment("liver").SetTag(STATUS_TAG, COMPLETED)
    before = snapshot(segmentation)
    with pytest.raises(InputError, match="'liver' is marked as completed"):
        run_command(segmentation, "grow the spleen 1 mm; shrink the liver 1 mm")
    assert snapshot(segmentation) == before
    assert run_command(segmentation, "how big is the liver").messages

    asked = []
    for answer in (False, True):
        task = CommandTask(
            segmentation,
            "shrink the liver 1 mm; smooth",
            may_change=lambda names, answer=answer: asked.append(names) or answer,
        )
        run = CommandRun(task, keep_history())
        if answer:
            run_to_end(run, lambda: None)
            assert run.outcome.changed
        else:
            with pytest.raises(Cancelled, match="completed"):
                run_to_end(run, lambda: None)
            assert snapshot(segmentation) == before
    assert asked == [("liver",)] * 2


MASKS = {
    "EditAllowedInsideSingleSegment": SPLEEN,
    "EditAllowedInsideAllSegments": LIVER | SPLEEN | TUMOR,
    "EditAllowedOutsideAllSegments": ~(SPLEEN | TUMOR),
    "EditAllowedOutsideVisibleSegments": ~SPLEEN,
}


@pytest.mark.parametrize("text", ["grow 3 mm", "shrink 1 mm", "clear", "invert; shrink 2 mm"])
@pytest.mark.parametrize("mode", MASKS)
def test_voxels_that_may_not_be_edited_stay(mode: str, text: str) -> None:
    import slicer

    volume, segmentation = organs()
    segmentation.GetDisplayNode().SetSegmentVisibility("tumor", False)
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(editor.OverwriteNone)
    editor.SetMaskMode(getattr(slicer.vtkMRMLSegmentationNode, mode))
    editor.SetMaskSegmentID("spleen")
    before = snapshot(segmentation)
    grid, allowed, wanted = VoxelGrid(SHAPE, OBLIQUE), MASKS[mode], LIVER
    for clause in text.split(";"):
        wanted = np.where(allowed, apply_commands(wanted, grid, clause).mask, wanted)

    outcome = run_command(segmentation, text, "liver")

    assert misplaced(segmentation, "liver", volume, wanted) == 0
    assert snapshot(segmentation)[1:] == before[1:]
    assert outcome.changed.get("liver", 0) == int((wanted ^ LIVER).sum())
    if outcome.changed:
        check_undo(segmentation, before)


@pytest.mark.parametrize("overwrite", ["OverwriteNone", "OverwriteAllSegments"])
def test_the_editable_intensity_range_holds(overwrite: str) -> None:
    volume, segmentation = organs()
    editor = edit_settings(segmentation, volume)
    editor.SetOverwriteMode(getattr(editor, overwrite))
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(-60, 90)
    allowed = (image() >= -60) & (image() <= 90)
    before = snapshot(segmentation)
    grown = apply_commands(LIVER, VoxelGrid(SHAPE, OBLIQUE), "grow 3 mm").mask
    wanted = np.where(allowed, grown, LIVER)

    outcome = run_command(segmentation, "grow 3 mm", "liver")

    assert misplaced(segmentation, "liver", volume, wanted) == 0
    spleen = SPLEEN if overwrite == "OverwriteNone" else SPLEEN & ~(wanted & ~LIVER)
    assert misplaced(segmentation, "spleen", volume, spleen) == 0
    assert any("Masking kept" in said for said in outcome.messages)
    check_undo(segmentation, before)


def test_masking_holds_for_pieces() -> None:
    import slicer

    one, two, wall = boxes(((1, 1, 1), (6, 6, 6)), ((8, 8, 8), (12, 12, 12)), ((0, 0, 10), (14, 16, 18)), shape=SHAPE)
    volume, segmentation = organs(mets=one | two, wall=wall)
    editor = edit_settings(segmentation, volume)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    run_command(segmentation, "split", "mets")
    names = segments(segmentation)
    assert misplaced(segmentation, names["mets 1"], volume, one | two & wall) == 0
    assert misplaced(segmentation, names["mets 2"], volume, two & ~wall) == 0


@pytest.mark.parametrize("kind", ["rigid", "mirrored", "scaled"])
def test_sides_and_lengths_are_those_of_the_patient_as_shown(kind: str) -> None:
    """Turned about half, what was right is left."""
    matrix = {
        "rigid": rigid((0, 0, 180), (5, 6, 7)),
        "mirrored": np.diag([-1.0, 1, 1, 1]),
        "scaled": np.diag([2.0, 2, 2, 1]),
    }[kind]
    volume = add_volume(image(), np.diag([1.0, 1.0, 2.0, 1.0]), add_transform(matrix))
    low, high = boxes(((2, 2, 1), (9, 9, 5)), ((2, 2, 12), (9, 9, 16)), shape=SHAPE)
    segmentation = add_segmentation(volume, {"kidneys": low | high})
    outcome = run_command(segmentation, "keep the right part")
    assert misplaced(segmentation, "kidneys", volume, high if kind == "scaled" else low) == 0
    outcome = run_command(segmentation, "grow 1 mm")
    wanted = apply_commands(high if kind == "scaled" else low, VoxelGrid(SHAPE, np.diag([1.0, 1, 2, 1])), "grow 1 mm")
    assert misplaced(segmentation, "kidneys", volume, wanted.mask) == 0
    assert any("scales or shears" in said for said in outcome.messages) == (kind == "scaled")


def test_a_non_linear_transform_is_refused() -> None:
    _volume, segmentation = organs()
    segmentation.SetAndObserveTransformNodeID(add_warp().GetID())
    with pytest.raises(InputError, match="non-linear"):
        run_command(segmentation, "shrink the liver 1 mm")


def test_segments_each_on_a_lattice_of_their_own_are_edited_on_it() -> None:
    """The other one's nearest voxels are taken, and both keep their lattices."""
    _volume, segmentation = organs(liver=LIVER)
    other = add_volume(image(), rigid((3, 4, 5), (30.5, -12.25, 8.0)) @ np.diag([1.1, 1.1, 2.0, 1.0]), name="mr")
    source = add_segmentation(other, {"spleen": SPLEEN}).GetSegmentation()
    segmentation.GetSegmentation().CopySegmentFromSegmentation(source, "spleen")
    before = snapshot(segmentation)
    shrunk = apply_commands(SPLEEN, VoxelGrid(SHAPE, np.eye(4) @ np.diag([1.1, 1.1, 2.0, 1.0])), "shrink 1.2 mm").mask

    run_command(segmentation, "shrink the spleen 1.2 mm")
    assert misplaced(segmentation, "spleen", other, shrunk) == 0
    assert snapshot(segmentation)[0] == before[0]
    check_undo(segmentation, before)

    outcome = run_command(segmentation, "without spleen", "liver")
    assert any("other voxels" in said for said in outcome.messages)
    left, taken = segment_in_world(segmentation, "liver"), segment_in_world(segmentation, "spleen")
    assert 0 < len(left) < LIVER.sum()
    distance = np.array([np.abs(taken - place).max(axis=1).min() for place in left])
    assert distance.min() > 0.2


def test_a_geometry_larger_or_smaller_than_the_segment_is_no_wall_for_it() -> None:
    """Slices are counted on the geometry, and what lies beyond it is not lost."""
    volume, segmentation = organs(np.diag([1.0, 1.0, 2.0, 1.0]), liver=LIVER)
    small = add_volume(
        np.zeros((6, 16, 18), np.int16), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 8], [0, 0, 0, 1]])
    )
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(small)
    before = snapshot(segmentation)
    outcome = run_command(segmentation, "only slices 1 to 3", volume_node=volume)
    wanted = np.zeros_like(LIVER)
    wanted[5:8] = LIVER[5:8]
    assert misplaced(segmentation, "liver", volume, wanted) == 0
    assert any("not that of 'ct'" in said for said in outcome.messages)
    check_undo(segmentation, before)
    history().undo()
    with pytest.raises(InputError, match="slices 0 to 6"):
        run_command(segmentation, "only slices 7 to 8")
    run_command(segmentation, "shrink 1 mm")
    wanted = apply_commands(LIVER, VoxelGrid(SHAPE, np.diag([1.0, 1, 2, 1])), "shrink 1 mm").mask
    assert misplaced(segmentation, "liver", volume, wanted) == 0


def test_an_empty_segment_takes_what_it_is_given_and_loses_nothing() -> None:
    volume, segmentation = organs()
    segmentation.GetSegmentation().AddEmptySegment("new", "new")
    before = snapshot(segmentation)
    for text in (
        "shrink 1 mm",
        "grow 2 mm",
        "keep the largest",
        "split",
        "smooth",
        "only above 3",
        "nothing above slice 3",
    ):
        assert run_command(segmentation, text, "new").changed == {}
        assert snapshot(segmentation) == before
    assert run_command(segmentation, "copy liver; shrink 1 mm", "new").changed
    assert (
        misplaced(segmentation, "new", volume, apply_commands(LIVER, VoxelGrid(SHAPE, OBLIQUE), "shrink 1 mm").mask)
        == 0
    )
    check_undo(segmentation, before)
    run_command(segmentation, "clear; invert", "new")
    assert misplaced(segmentation, "new", volume, np.ones(SHAPE, bool)) == 0


def test_a_segmentation_without_geometry_takes_that_of_a_volume_or_says_so() -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "bare")
    with pytest.raises(InputError, match="no segment"):
        run_command(node, "invert", volume_node=add_volume(image(), OBLIQUE))
    node.GetSegmentation().AddEmptySegment("new", "new")
    with pytest.raises(InputError, match="stands on no volume"):
        run_command(node, "invert")
    volume = add_volume(image(), OBLIQUE)
    run_command(node, "invert", volume_node=volume)
    assert misplaced(node, "new", volume, np.ones(SHAPE, bool)) == 0


def test_intensities_of_a_volume_on_other_voxels_are_interpolated_and_that_is_said() -> None:
    _, segmentation = organs(np.diag([1.0, 1.0, 2.0, 1.0]), liver=LIVER)
    ramp = np.broadcast_to(np.arange(SHAPE[2]) * 10.0, SHAPE).astype(np.float32)
    shifted = np.diag([1.0, 1.0, 2.0, 1.0])
    shifted[0, 3] = 0.5
    other = add_volume(np.ascontiguousarray(ramp), shifted, name="mr")
    outcome = run_command(segmentation, "only above 50", volume_node=other)
    # Voxel i of the segment lies between voxels i - 1 and i of the image.
    volume = add_volume(image(), np.diag([1.0, 1.0, 2.0, 1.0]))
    values = np.broadcast_to(np.arange(SHAPE[2]) * 10.0 - 5, SHAPE)
    assert misplaced(segmentation, "liver", volume, LIVER & (values >= 50)) == 0
    assert any("interpolated" in said for said in outcome.messages)


def test_intensities_without_an_image_are_refused() -> None:
    volume, segmentation = organs()
    import slicer

    slicer.mrmlScene.RemoveNode(volume)
    with pytest.raises(InputError, match="need an image"):
        run_command(segmentation, "only above 50", "liver")


def test_a_part_of_a_volume_has_intensities_only_there() -> None:
    _, segmentation = organs(np.diag([1.0, 1.0, 2.0, 1.0]), liver=LIVER)
    part = add_volume(np.ones((4, 16, 18), np.int16), np.diag([1.0, 1.0, 2.0, 1.0]), name="part")
    outcome = run_command(segmentation, "only above 0", volume_node=part)
    assert any("outside of the image" in said for said in outcome.messages)
    kept = LIVER.copy()
    kept[4:] = False
    assert misplaced(segmentation, "liver", part, kept[:4]) == 0


def test_what_is_no_segmentation_or_no_labelmap_is_refused() -> None:
    volume, segmentation = organs(liver=LIVER)
    for node in (None, "liver", volume):
        with pytest.raises(InputError):
            run_command(node, "shrink 1 mm")
    segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")
    with pytest.raises(InputError, match="Closed surface"):
        run_command(segmentation, "shrink 1 mm")


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_cancelled_command_leaves_all_as_it_was(when: int) -> None:
    _, segmentation = organs()
    before = snapshot(segmentation)
    run = CommandRun(CommandTask(segmentation, "grow the liver 2 mm; smooth the spleen"), keep_history())
    for _ in range(when):
        run.advance(0.0)
    if run.state is RunState.DONE:
        pytest.fail("it had ended already")
    run.cancel()
    with pytest.raises(Cancelled, match="nothing was changed"):
        run_to_end(run, lambda: None)
    assert snapshot(segmentation) == before


@pytest.mark.parametrize("what", ["segment", "segmentation", "scene"])
def test_what_is_removed_meanwhile_ends_the_command(what: str, scene) -> None:
    _, segmentation = organs()
    run = CommandRun(CommandTask(segmentation, "grow the liver 2 mm; smooth the spleen"), keep_history())
    run.advance(0.0)
    if what == "segment":
        segmentation.GetSegmentation().RemoveSegment("liver")
    elif what == "segmentation":
        scene.RemoveNode(segmentation)
    else:
        scene.Clear(False)
    with pytest.raises((Cancelled, InputError)):
        run_to_end(run, lambda: None)
    assert not run.outcome.changed


def test_voxels_that_change_meanwhile_are_worked_with_anew() -> None:
    volume, segmentation = organs(liver=LIVER)
    run_command(segmentation, "grow 2 mm")
    run = CommandRun(CommandTask(segmentation, "shrink 1 mm"), keep_history())
    run.advance(0.0)
    assert history().undo()
    run_to_end(run, lambda: None)
    assert (
        misplaced(segmentation, "liver", volume, apply_commands(LIVER, VoxelGrid(SHAPE, OBLIQUE), "shrink 1 mm").mask)
        == 0
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    text=st.lists(st.sampled_from(TEXTS[:22]), min_size=1, max_size=3).map("; ".join),
    degrees=st.tuples(*[st.sampled_from([0.0, 90.0, 180.0, 17.0])] * 3),
    flip=st.booleans(),
)
def test_any_commands_on_any_grid_are_those_of_the_shell(scene, seed, text, degrees, flip) -> None:
    scene.Clear(False)
    matrix = rigid(degrees, (11.0, -40.0, 3.0)) @ np.diag([-1.0 if flip else 1.0, 0.8, 2.2, 1.0])
    volume = add_volume(image(), matrix)
    mask = speckled(seed)
    segmentation = add_segmentation(
        volume, {"speckles": mask, "spleen": SPLEEN & ~mask, "liver": LIVER & ~mask & ~SPLEEN}
    )
    before = snapshot(segmentation)
    others = {"spleen": SPLEEN & ~mask, "liver": LIVER & ~mask & ~SPLEEN}
    grid = VoxelGrid(SHAPE, matrix)
    try:
        wanted = apply_commands(mask, grid, text, volume=Volume(image(), grid), others=others).mask
    except InputError:
        with pytest.raises(InputError):
            run_command(segmentation, text, "speckles")
        assert snapshot(segmentation) == before
        return
    outcome = run_command(segmentation, text, "speckles")
    assert misplaced(segmentation, "speckles", volume, wanted) == 0
    assert outcome.changed == ({"speckles": int((wanted ^ mask).sum())} if (wanted ^ mask).any() else {})
    if outcome.changed:
        check_undo(segmentation, before)


def test_a_volume_that_was_moved_since_counts_where_it_is_now() -> None:
    volume, segmentation = organs(np.diag([1.0, 1.0, 2.0, 1.0]), liver=LIVER)
    moved = np.diag([1.0, 1.0, 2.0, 1.0])
    moved[:3, 3] = (1.0, 0.0, 2.0)
    volume.SetIJKToRASMatrix(vtk_matrix(moved))
    run_command(segmentation, "only above 20", volume_node=volume)
    values = np.full(SHAPE, -9999, np.int16)
    values[1:, :, 1:] = image()[:-1, :, :-1]
    there = add_volume(image(), np.diag([1.0, 1.0, 2.0, 1.0]))
    assert misplaced(segmentation, "liver", there, LIVER & (values >= 20)) == 0
