"""Segmenting without words: like what was segmented elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.errors import Cancelled, InputError, MissingTrackerError, ModelError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.progress import Progress, RunCallbacks, Stage
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import AssemblyOptions, Mode, SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.tracking.correction import correction_request
from MedSAM3SegmentLib.volume import Volume
from MedSAM3SegmentLib.without_model import ShapeSegmenter
from support.grids import stored_as
from support.scripted_tracker import CopyingTracker
from support.untrained_tracker import make_tracker

SHAPE = (12, 24, 24)


@pytest.fixture
def segmenter(tiny_model_folder: Path) -> Segmenter:
    segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
    segmenter.model.tracker = make_tracker().network, None  # type: ignore[assignment]
    return segmenter


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("MedSAM3SegmentLib.models.tracker.Tracker", CopyingTracker)


@pytest.fixture
def labelled() -> tuple[Volume, np.ndarray]:
    """A volume whose slices all look different, with a structure of another shape on each of some."""
    rng = np.random.default_rng(0)
    array = rng.integers(-200, 300, SHAPE).astype(np.int16)
    mask = np.zeros(SHAPE, bool)
    for n in range(2, 10):
        mask[n, 4 : 6 + n, 20 - n : 22] = True
    return Volume(array, VoxelGrid(SHAPE, np.diag([-1.0, -1.0, 4.0, 1.0])), "MR", "example"), mask


@pytest.fixture
def repeated(labelled: tuple[Volume, np.ndarray]) -> Volume:
    """The labeled volume, whose slice 6 looks as slice 5 does."""
    array = labelled[0].array.copy()
    array[6] = array[5]
    return Volume(array, labelled[0].grid, "MR", "example")


@pytest.mark.usefixtures("copying")
def test_each_slice_is_segmented_like_the_one_it_resembles_in_any_storage(
    segmenter: Segmenter, labelled: tuple[Volume, np.ndarray]
) -> None:
    """The new volume has the example's slices, without the first and the last, stored in another order of axes."""
    volume, mask = labelled
    part = slice(1, 11)
    array, grid = stored_as(
        volume.array[part], VoxelGrid((10, *SHAPE[1:]), volume.grid.ijk_to_ras), ((2, 0, 1), (True, False, True))
    )
    new = Volume(np.ascontiguousarray(array), grid, "MR", "new")
    expected, _ = stored_as(
        mask[part], VoxelGrid((10, *SHAPE[1:]), volume.grid.ijk_to_ras), ((2, 0, 1), (True, False, True))
    )
    result = segmenter.segment(new, SegmentRequest(("it",), examples={"it": [Example(volume, mask)]}))
    assert np.array_equal(result.concepts[0].mask, expected)
    assert result.provenance.prompts == {"it": "1 example (example)"}
    assert len(segmenter.cache) == 12 + 10, "one vision pass per slice"


@pytest.mark.usefixtures("copying")
def test_several_examples_add_up(segmenter: Segmenter, labelled: tuple[Volume, np.ndarray]) -> None:
    volume, mask = labelled
    lower, upper = mask.copy(), mask.copy()
    lower[6:] = upper[:6] = False
    examples = [Example(volume, lower, tuple(range(6))), Example(volume, upper, tuple(range(6, 12)))]
    new = Volume(volume.array[1:11].copy(), VoxelGrid((10, *SHAPE[1:]), volume.grid.ijk_to_ras), "MR", "new")
    result = segmenter.segment(new, SegmentRequest(("it",), examples={"it": examples}))
    assert np.array_equal(result.concepts[0].mask, mask[1:11])


@pytest.mark.usefixtures("copying")
def test_labelled_slices_of_the_volume_itself_come_back_bit_for_bit(segmenter: Segmenter, repeated: Volume) -> None:
    drawn = np.zeros(SHAPE, bool)
    drawn[5] = np.random.default_rng(1).random(SHAPE[1:]) > 0.5
    example = Example(repeated, drawn, (5, 8))
    for options in (AssemblyOptions(), AssemblyOptions(largest_only=True, link=False)):
        result = segmenter.segment(repeated, SegmentRequest(("it",), assembly=options, examples={"it": [example]}))
        mask = result.concepts[0].mask
        assert np.array_equal(mask[5], drawn[5])
        assert not mask[8].any(), "labelled as empty"
        assert mask[6].any(), "and found on the slice that looks the same"
        assert np.array_equal(with_threshold(result, 0.9).concepts[0].mask[5], drawn[5])


@pytest.mark.usefixtures("copying")
def test_empty_slices_beside_drawn_ones_of_the_volume_count_as_unknown(
    segmenter: Segmenter, repeated: Volume, labelled: tuple[Volume, np.ndarray]
) -> None:
    """The shell and the console name no slices: those that are empty were not drawn yet."""
    drawn = np.zeros(SHAPE, bool)
    drawn[5] = labelled[1][5]
    request = SegmentRequest(("it",), threshold=0.9)
    mask = segmenter.segment(repeated, replace(request, examples={"it": [Example(repeated, drawn)]})).concepts[0].mask
    assert np.array_equal(mask[5], drawn[5])
    assert np.array_equal(mask[6], drawn[5]), "it looks the same there"


@pytest.mark.usefixtures("copying")
def test_what_was_found_by_examples_can_be_corrected(segmenter: Segmenter, repeated: Volume) -> None:
    """The corrected slices show the object then, and examples do not go with what is drawn."""
    drawn = np.zeros(SHAPE, bool)
    drawn[5] = np.random.default_rng(1).random(SHAPE[1:]) > 0.5
    request = SegmentRequest(("it",), examples={"it": [Example(repeated, drawn, (5,))]})
    result = segmenter.segment(repeated, request)
    corrected = drawn.copy()
    corrected[5, :4] = False

    again = correction_request(request, result, "it", corrected, [5])

    assert again.examples == {}
    (shown,) = again.prompts["it"].masks
    assert np.array_equal(shown.mask, corrected)


@pytest.mark.usefixtures("copying")
def test_what_was_shown_may_lie_inside_of_something_that_was_shown_too(
    segmenter: Segmenter, labelled: tuple[Volume, np.ndarray]
) -> None:
    volume, outer = labelled
    inner = outer & (np.arange(24) > 15)
    beyond = inner.copy()
    beyond[:, :6] |= np.arange(24) < 4
    new = Volume(volume.array[1:11].copy(), VoxelGrid((10, *SHAPE[1:]), volume.grid.ijk_to_ras), "MR", "new")
    examples = {"tumor": [Example(volume, beyond)], "liver": [Example(volume, outer)]}
    reports: list[Progress] = []
    request = SegmentRequest(("tumor", "liver"), inside="liver")
    tumor, liver = segmenter.segment(
        new, replace(request, examples=examples), RunCallbacks(progress=reports.append)
    ).concepts
    assert np.array_equal(liver.mask, outer[1:11])
    assert np.array_equal(tumor.mask, inner[1:11])
    looking = [report for report in reports if report.stage is Stage.SEGMENTING]
    # Until the liver is known, the tumor may be on any of the 10 slices; the liver is on 8 of them.
    assert {report.total for report in looking} == {2 * (12 + 2 * 10), 12 + 2 * 10 + 12 + 2 * 8}
    assert [report.done for report in looking] == sorted(report.done for report in looking)
    assert looking[-1].done == looking[-1].total
    with pytest.raises(InputError, match="say nothing of 'heart'"):
        segmenter.segment(new, SegmentRequest(("tumor",), inside="heart", examples=examples))


def test_real_networks_run_and_are_deterministic(tiny_model_folder: Path, labelled: tuple[Volume, np.ndarray]) -> None:
    from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks

    volume, mask = labelled
    new = Volume(volume.array[::-1].copy(), volume.grid, "MR", "new")
    tracker = make_tracker()
    masks, scores = [], []
    for _ in range(2):
        segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
        segmenter.model.tracker = TrackerNetworks(tracker.network, tracker._neck)
        for mode in (Mode.SLICES, Mode.PROPAGATE):
            request = SegmentRequest(("it",), threshold=0.3, mode=mode)
            result = segmenter.segment(new, replace(request, examples={"it": [Example(volume, mask)]}))
            masks.append(result.concepts[0].mask)
            scores.append(result.concepts[0].score_by_slice)
    assert scores[0] == scores[2]
    assert len(scores[0]) == 12
    assert np.array_equal(masks[0], masks[2])
    assert np.array_equal(masks[1], masks[3])


@pytest.mark.usefixtures("copying")
def test_what_cannot_be_done_is_said_in_words(segmenter: Segmenter, labelled: tuple[Volume, np.ndarray]) -> None:
    volume, mask = labelled
    example = Example(volume, mask)
    with pytest.raises(InputError, match="empty"):
        Example(volume, np.zeros(SHAPE, bool))
    with pytest.raises(InputError, match="own voxels"):
        Example(volume, mask[1:])
    with pytest.raises(InputError, match="'that'"):
        segmenter.segment(volume, SegmentRequest(("it", "that"), examples={"it": [example]}))
    with pytest.raises(InputError, match="none of the labelled"):
        segmenter.segment(volume, SegmentRequest(("it",), examples={"it": [Example(volume, mask, (0, 1))]}))
    with pytest.raises(InputError, match="12 slices"):
        segmenter.segment(volume, SegmentRequest(("it",), examples={"it": [Example(volume, mask, (5, 12))]}))
    with pytest.raises(Cancelled):
        segmenter.segment(
            volume, SegmentRequest(("it",), examples={"it": [example]}), RunCallbacks(cancel=lambda: True)
        )
    segmenter.model.tracker = None
    new = Volume(volume.array[1:11].copy(), VoxelGrid((10, *SHAPE[1:]), volume.grid.ijk_to_ras), "MR", "new")
    with pytest.raises(ModelError, match="tracker"):
        segmenter.segment(new, SegmentRequest(("it",), examples={"it": [example]}))


def without_tracker(folder: Path) -> Segmenter:
    return Segmenter.load(str(folder), "cpu")


def as_masks(example: Example) -> SegmentRequest:
    prompts = {"it": TargetPrompts(masks=(MaskPromptRAS(example.mask, example.slices),), is_phrase=False)}
    return SegmentRequest(("it",), mode=Mode.FROM_PROMPTS, prompts=prompts)


@pytest.mark.parametrize("named", [True, False], ids=["slices named", "slices not named"])
@pytest.mark.parametrize("mode", [Mode.SLICES, Mode.PROPAGATE])
def test_without_a_tracker_slices_of_the_same_volume_are_filled_between_as_drawn_ones(
    tiny_model_folder: Path, labelled: tuple[Volume, np.ndarray], named: bool, mode: Mode
) -> None:
    volume, mask = labelled
    drawn = np.zeros(SHAPE, bool)
    drawn[[2, 5, 9]] = mask[[2, 5, 9]]
    example = Example(volume, drawn, (2, 5, 9) if named else None)
    segmenter = without_tracker(tiny_model_folder)
    shown = segmenter.segment(volume, SegmentRequest(("it",), mode=mode, examples={"it": [example]}))
    as_drawn = segmenter.segment(volume, as_masks(example))
    without = ShapeSegmenter().segment(volume, SegmentRequest(("it",), examples={"it": [example]}))
    found = shown.concepts[0].mask
    assert np.array_equal(found[[2, 5, 9]], drawn[[2, 5, 9]])
    assert found[2:10].any(axis=(1, 2)).all()
    assert not found[:2].any()
    assert not found[10:].any()
    for other in (as_drawn, without):
        assert np.array_equal(found, other.concepts[0].mask)
        assert shown.concepts[0].sources == other.concepts[0].sources
    assert any("no tracker" in said and "only filled between" in said for said in shown.messages)
    assert len(segmenter.cache) == 0, "nothing is encoded"


def test_examples_of_one_volume_in_several_parts_are_drawn_together(
    tiny_model_folder: Path, labelled: tuple[Volume, np.ndarray]
) -> None:
    volume, mask = labelled
    parts = []
    for index in (3, 8):
        drawn = np.zeros(SHAPE, bool)
        drawn[index] = mask[index]
        parts.append(Example(volume, drawn))
    result = without_tracker(tiny_model_folder).segment(volume, SegmentRequest(("it",), examples={"it": parts}))
    assert np.flatnonzero(result.concepts[0].mask.any(axis=(1, 2))).tolist() == [3, 4, 5, 6, 7, 8]


def test_without_a_tracker_one_slice_or_another_volume_is_refused_in_words(
    tiny_model_folder: Path, labelled: tuple[Volume, np.ndarray]
) -> None:
    volume, mask = labelled
    one, several = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    one[5], several[[3, 8]] = mask[5], mask[[3, 8]]
    other = Volume(volume.array + np.int16(1), volume.grid, "MR", "other")
    segmenter = without_tracker(tiny_model_folder)
    for examples in (
        [Example(volume, one)],
        [Example(other, several)],
        [Example(volume, several), Example(other, one)],
    ):
        with pytest.raises(MissingTrackerError, match="no tracker"):
            segmenter.segment(volume, SegmentRequest(("it",), examples={"it": examples}))
