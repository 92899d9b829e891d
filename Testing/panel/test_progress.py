"""What the panel shows while a run goes on: bar, words and the slices that are done."""

from __future__ import annotations

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.progress import Progress, Stage
from support.nodes import add_segmentation, segments, snapshot
from support.panel import begin, held_after, open_panel, phantom, run, segmentations, shown_voxels


def test_progress_and_partial_slices_show_while_it_runs_and_are_gone_after(bench):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    mine = add_segmentation(volume, {"mine": array == 2})
    before = snapshot(mine)
    segmenter = held_after(8)
    widget = begin(bench, segmenter, mine)
    bench.wait(lambda: "of 12" in widget.ui.progressLabel.text and shown_voxels(scene, "liver"))

    assert 0 < shown_voxels(scene, "liver") <= (array == 1).sum()
    assert snapshot(mine) == before
    assert widget.ui.progressBar.visible
    assert 0 < widget.ui.progressBar.value < widget.ui.progressBar.maximum
    assert not widget.ui.applyButton.enabled
    assert widget.ui.cancelButton.enabled
    assert widget.ui.segmentationSelector.nodeCount() == 1, "a preview is not offered"

    segmenter.may.set()
    bench.wait(lambda: not widget.panel.is_busy)
    assert not widget.panel.previews.is_shown
    bench.wait(lambda: segmentations(scene, previews=True) == [])
    assert list(segments(mine)) == ["mine", "liver"]


def test_partial_slices_are_drawn_over_the_volume_and_taken_away(bench):
    volume, array = phantom()
    widget = open_panel(bench, held_after(10))
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(12.0)
    empty = bench.render("Red")
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.applyButton.click()
    bench.wait(lambda: "Slice 10" in widget.ui.progressLabel.text)

    drawn = bench.render("Red")
    widget.ui.cancelButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    share = (drawn != empty).any(axis=2).mean()
    whole = (empty > 0).any(axis=2).mean()
    assert share > 0.5 * (array[4] == 1).mean() * whole
    assert (bench.render("Red") == empty).all()


def test_the_bar_never_falls_from_the_first_slice_to_the_last_concept(bench):
    class Stages(FakeSegmenter):
        def segment(self, volume, request, callbacks):
            result = super().segment(volume, request)
            for stage, done, total in STAGES:
                callbacks.progress(Progress(stage, done, total, 100.0))
            return result

    phantom()
    widget = open_panel(bench, Stages({"liver": 1}))
    seen, show = [], widget.panel.progress.show

    def noting(progress):
        show(progress)
        seen.append((widget.ui.progressBar.value / widget.ui.progressBar.maximum, widget.ui.progressLabel.text))

    widget.panel.progress.show = noting
    run(bench, widget, "liver")

    assert [share for share, _ in seen] == [0.25, 0.75, 1.0, 1.0]
    assert [words for _, words in seen] == [
        "Slice 10 of 40, 2 min left",
        "Following objects: slice 15 of 20, 2 min left",
        "Assembling concept 0 of 2, 2 min left",
        "Assembling concept 2 of 2, 2 min left",
    ]


STAGES = (
    (Stage.SEGMENTING, 10, 40),
    (Stage.PROPAGATING, 15, 20),
    (Stage.ASSEMBLING, 0, 2),
    (Stage.ASSEMBLING, 2, 2),
)


def test_one_job_that_comes_first_is_not_called_several(bench):
    widget = open_panel(bench)
    for count, words in ((1, "Waiting for another job..."), (3, "Waiting for 3 other jobs...")):
        widget.panel.progress.show_waiting(count)
        assert widget.ui.progressLabel.text == words
