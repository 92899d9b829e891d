"""Cases of a cohort in the scene: voxels in place, a correction beside the original, and what is kept of a review."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SceneLib.cohort.case_nodes import (
    add_case,
    find_images,
    read_case,
    remove_case,
    segments_now,
    write_corrected,
)
from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SegmentLib.cohort.review import ReviewStatus, read_cohort, write_review
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.cohort_output import CASES, write_cohort
from support.nodes import misplaced, segments


def table(output: Path) -> list[dict[str, str]]:
    with (output / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_cases_come_by_doubt_and_failed_ones_last(tmp_path: Path) -> None:
    output, _ = write_cohort(tmp_path)
    cases = read_cohort(output)
    assert len(cases) == CASES + 1
    doubts = [case.doubt.value for case in cases[:-1]]
    assert doubts == sorted(doubts, reverse=True)
    assert cases[-1].record.failure
    for folder, says in ((tmp_path, "holds no results of 'medsam3 cohort'"), (tmp_path / "gone", "holds no results")):
        with pytest.raises(InputError, match=says):
            read_cohort(folder)


def test_voxels_of_a_case_are_where_its_files_have_them(bench, tmp_path: Path) -> None:
    output, images = write_cohort(tmp_path)
    cases = read_cohort(output)
    found = find_images(images, [case.record.case for case in cases], output)
    assert set(found) == {case.record.case for case in cases}
    for case in cases[:-1]:
        opened = add_case(read_case(output, case, found[case.record.case]))
        original, grid = read_segmentation(output / next(iter(case.record.files)))
        assert grid.same_as(opened.files.volume.grid)
        for segment in original:
            name = segments(opened.segmentation_node)[segment.name]
            assert misplaced(opened.segmentation_node, name, opened.volume_node, segment.mask) == 0
        assert not opened.is_edited
        remove_case(opened)
        assert not opened.is_in_scene
    assert bench.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_a_correction_is_written_beside_the_original_and_opened_again(bench, tmp_path: Path) -> None:
    output, images = write_cohort(tmp_path)
    case = read_cohort(output)[0]
    original = output / next(iter(case.record.files))
    before = original.read_bytes()
    image = find_images(images, [case.record.case], output)[case.record.case]
    opened = add_case(read_case(output, case, image))
    mask = np.zeros(opened.files.grid.shape, bool)
    mask[1:3, 2:6, 3:9] = True
    writer = SegmentWriter()
    writer.begin(opened.segmentation_node, opened.volume_node)
    liver = segments(opened.segmentation_node)["liver"]
    run_steps_to_end(writer.write(liver, mask, opened.files.grid.ijk_to_ras))
    assert opened.is_edited
    file = write_corrected(output, opened, segments_now(opened))
    write_review(output, case.record, ReviewStatus.CORRECTED, file=file)
    assert original.read_bytes() == before
    assert file == f"segmentations/{case.record.case}.corrected.seg.nrrd"
    stored = {segment.name: segment for segment in read_segmentation(output / file)[0]}
    untouched = {segment.name: segment for segment in read_segmentation(original)[0]}
    assert np.array_equal(stored["liver"].mask, mask)
    assert np.array_equal(stored["spleen"].mask, untouched["spleen"].mask)
    assert stored["spleen"].tags == untouched["spleen"].tags
    remove_case(opened)
    again = read_cohort(output)[0]
    assert again.review is not None
    assert again.review.status is ReviewStatus.CORRECTED
    reopened = add_case(read_case(output, again, image))
    name = segments(reopened.segmentation_node)["liver"]
    assert misplaced(reopened.segmentation_node, name, reopened.volume_node, mask) == 0
    assert bench.slicer.mrmlScene is not None


def test_without_the_image_the_segmentation_alone_is_shown_and_can_be_saved(bench, tmp_path: Path) -> None:
    output, _ = write_cohort(tmp_path)
    case = read_cohort(output)[0]
    opened = add_case(read_case(output, case, None))
    assert opened.volume_node is None
    file = write_corrected(output, opened, segments_now(opened))
    for new, old in zip(read_segmentation(output / file)[0], opened.files.segments, strict=True):
        assert (new.name, new.mask.tolist()) == (old.name, old.mask.tolist())
    (output / next(iter(case.record.files))).unlink()
    with pytest.raises(InputError, match=r"is not in .* any more"):
        read_case(output, case, None)
    assert bench.slicer.mrmlScene is not None


def test_the_table_repeats_reviews_and_a_new_result_is_looked_at_anew(tmp_path: Path) -> None:
    from dataclasses import replace

    from MedSAM3SegmentLib.cohort.records import write_record

    output, _ = write_cohort(tmp_path)
    first, second, *_ = read_cohort(output)
    write_review(output, first.record, ReviewStatus.FLAGGED, "motion,\n left lobe")
    write_review(output, second.record, ReviewStatus.ACCEPTED)
    rows = {row["case"]: row for row in table(output)}
    assert (rows[first.record.case]["review"], rows[first.record.case]["review_remark"]) == (
        "flagged",
        "motion, left lobe",
    )
    assert rows[second.record.case]["review"] == "accepted"
    assert sum(bool(row["review"]) for row in rows.values()) == 2
    write_record(output, replace(first.record, asked="another"))
    assert next(case.review for case in read_cohort(output)) is None
    (output / "reviews" / f"{second.record.case}.json").write_text('{"case": ')
    assert all(case.review is None for case in read_cohort(output))
