"""Running again into a segmentation: which segments are updated, which are new, and which are left alone."""

import numpy as np
import pytest

from MedSAM3SceneLib.editing.written_concept import Outcome
from support.nodes import TURNED, add_segmentation, add_transform, add_volume, misplaced, segment_in_world, snapshot
from support.segment_writing import boxes, labels, write

pytestmark = pytest.mark.usefixtures("scene")


def test_running_again_updates_what_the_first_run_made():
    first, second = boxes(((1, 1, 1), (4, 4, 4)), ((3, 3, 3), (6, 6, 6)))
    volume = add_volume(labels(liver=first))
    segmentation = write(volume, concepts=["liver"]).segmentation_node
    segment_id = segmentation.GetSegmentation().GetNthSegmentID(0)
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    segment.SetName("liver, checked")
    segment.SetColor(0.1, 0.2, 0.3)
    import slicer

    slicer.util.updateVolumeFromArray(volume, labels(liver=second))
    written = write(volume, segmentation, ["The Liver"])

    assert [(c.outcome, c.segment_id) for c in written.concepts] == [(Outcome.UPDATED, segment_id)]
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert segment.GetName() == "liver, checked"
    assert segment.GetColor() == (0.1, 0.2, 0.3)
    assert misplaced(segmentation, segment_id, volume, second) == 0


def test_the_same_phrase_in_another_volume_is_another_segment():
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    segmentation = write(add_volume(labels(liver=mask), name="ct"), concepts=["liver"]).segmentation_node

    written = write(add_volume(labels(liver=mask), name="mr"), segmentation, ["liver"])

    assert written.concepts[0].outcome is Outcome.CREATED
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2


def test_a_segment_of_the_users_own_is_not_taken_over():
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    volume = add_volume(labels(liver=mask))
    segmentation = add_segmentation(volume, {"liver": ~mask})
    before = snapshot(segmentation)

    write(volume, segmentation, ["liver"])

    assert snapshot(segmentation)[0] == before[0]
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2


@pytest.mark.parametrize(
    "provenance",
    [
        "5",
        "{",
        '{"prompt": 5, "input": 3}',
        '{"prompt": "liver", "input": ["ct"]}',
        '{"prompt": "liver", "input": {"name": ["ct"]}}',
    ],
)
def test_a_segment_whose_origin_cannot_be_read_is_not_taken_over(provenance):
    """As in a file that another program wrote."""
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    volume = add_volume(labels(liver=mask))
    segmentation = add_segmentation(volume, {"liver": ~mask})
    segmentation.GetSegmentation().GetSegment("liver").SetTag("MedSAM3.Provenance", provenance)
    before = snapshot(segmentation)

    written = write(volume, segmentation, ["liver"])

    assert written.concepts[0].outcome is Outcome.CREATED
    assert snapshot(segmentation)[:1] == before
    assert misplaced(segmentation, written.concepts[0].segment_id, volume, mask) == 0


def test_a_segment_is_updated_after_the_volume_was_moved():
    first, second = boxes(((1, 1, 1), (4, 4, 4)), ((3, 3, 3), (6, 6, 6)))
    volume = add_volume(labels(liver=first))
    segmentation = write(volume, concepts=["liver"]).segmentation_node
    import slicer

    slicer.util.updateVolumeFromArray(volume, labels(liver=second))
    volume.SetAndObserveTransformNodeID(add_transform(TURNED).GetID())

    written = write(volume, segmentation, ["liver"])

    assert written.concepts[0].outcome is Outcome.UPDATED
    assert misplaced(segmentation, written.concepts[0].segment_id, volume, second) == 0


@pytest.mark.parametrize("moved", [False, True])
def test_surfaces_shown_in_3d_follow(moved):
    first, second = boxes(((1, 1, 1), (5, 5, 5)), ((3, 3, 3), (7, 7, 8)))
    volume = add_volume(labels(liver=first))
    segmentation = write(volume, concepts=["liver"]).segmentation_node
    segmentation.CreateClosedSurfaceRepresentation()
    import slicer

    slicer.util.updateVolumeFromArray(volume, labels(liver=second, spleen=first & ~second))
    if moved:
        volume.SetAndObserveTransformNodeID(add_transform(TURNED).GetID())
    written = write(volume, segmentation)

    for concept in written.concepts:
        segment = segmentation.GetSegmentation().GetSegment(concept.segment_id)
        bounds = np.reshape(segment.GetRepresentation("Closed surface").GetBounds(), (3, 2))
        voxels = segment_in_world(segmentation, concept.segment_id)
        np.testing.assert_allclose(bounds, np.stack([voxels.min(axis=0), voxels.max(axis=0)], axis=1), atol=1)


def test_a_concept_not_found_makes_no_segment_and_leaves_an_earlier_one():
    (mask,) = boxes(((1, 1, 1), (4, 4, 4)))
    volume = add_volume(labels(liver=mask))

    written = write(volume)
    segmentation = written.segmentation_node
    assert [c.outcome for c in written.concepts] == [Outcome.CREATED, Outcome.NOT_FOUND]
    assert written.concepts[1].segment_id is None
    assert "not found" in written.concepts[1].message
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1

    before = snapshot(segmentation)
    volume.GetImageData().GetPointData().GetScalars().Fill(0)
    written = write(volume, segmentation)
    assert snapshot(segmentation) == before
    assert "The segment 'liver' of an earlier run was left as it was." in written.concepts[0].message
