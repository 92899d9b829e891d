"""What nobody looked at teaches nothing: slices that are not known are not asked about, ignored pixels cost nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.detector import PADDING_LABEL, DetectorOutput
from MedSAM3SegmentLib.models.network.stage_types import DenseMasks
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.training.batches import BatchMaker, BatchPlan
from MedSAM3SegmentLib.training.dataset import LabelledStack, known_runs
from MedSAM3SegmentLib.training.losses import GroundTruth, LossWeights, detection_loss
from MedSAM3SegmentLib.training.mask_objects import target_of

SIDE = 48


def stack(slices: int = 12) -> LabelledStack:
    """The brightness of a slice is its number; a square on all of them, and another on the last."""
    codes = np.zeros((slices, SIDE, SIDE), np.uint32)
    codes[:, 4:20, 4:20] = 1
    codes[-1, 26:44, 26:44] = 2
    pixels = np.broadcast_to(np.arange(slices, dtype=np.float32)[:, None, None], codes.shape).copy()
    return LabelledStack(pixels, Window(0.0, slices - 1.0), False, codes, ("liver", "spleen"))


def plan(**changes: object) -> BatchPlan:
    return replace(BatchPlan(empty_probability=0, others=["lung"]), **changes)  # type: ignore[arg-type]


def test_slices_that_nobody_looked_at_are_not_asked_about() -> None:
    known = np.zeros(12, bool)
    known[[2, 11]] = True
    partly = replace(stack(), known=known, window=Window(0.0, 11.0))
    batches = BatchMaker([partly], plan(focus=("spleen", "liver")), 56, 16, 3)
    assert sorted(set(batches._places)) == [(0, 2), (0, 11)]
    assert [sorted(set(places)) for places in batches._focus_places] == [[(0, 11)], [(0, 2), (0, 11)]]
    with pytest.raises(InputError, match="Nobody looked at a slice"):
        BatchMaker([replace(partly, known=np.zeros(12, bool))], plan(), 56, 16, 3)


def test_a_concept_that_may_be_under_ignored_pixels_is_not_called_absent() -> None:
    ignored = np.zeros((12, SIDE, SIDE), bool)
    ignored[:, 26:44, 26:44] = True
    partly = replace(stack(), ignored=ignored, codes=stack().codes & 1)
    batches = BatchMaker([partly], plan(box_probability=1.0), 56, 16, 3)
    drawn = [batches.draw() for _ in range(6)]
    phrases = [phrase for batch in drawn for phrase in batch.phrases]
    assert not any("spleen" in phrase for phrase in phrases)
    assert any("liver" in phrase for phrase in phrases)
    # Nor is a box drawn around what may go on there.
    assert all((batch.box_labels == PADDING_LABEL).all() for batch in drawn)
    sure = BatchMaker([replace(partly, ignored=None)], plan(), 56, 16, 3)
    assert any("spleen" in phrase for _ in range(6) for phrase in sure.draw().phrases)


def test_ignored_pixels_move_with_the_picture() -> None:
    ignored = np.broadcast_to(stack().codes == 1, (12, SIDE, SIDE)).copy()
    partly = replace(stack(), ignored=ignored, codes=np.where(ignored, 0, 1).astype(np.uint32))
    seen = 0
    for seed in range(4):
        batch = BatchMaker([partly], plan(), 56, 16, seed).draw()
        for target in batch.targets:
            if not len(target.boxes):
                continue
            seen += 1
            assert target.ignored is not None
            # The mask is what is not ignored; between both an edge is a pixel wide.
            inner = torch.from_numpy(ndimage.binary_erosion(target.ignored.numpy(), np.ones((3, 3))))
            assert inner.any()
            assert float(target.masks.amax(0)[inner].max()) == 0
            assert float(target.masks.amax(0)[~target.ignored].mean()) > 0.8
    assert seen > 10


def answer(mask: torch.Tensor, box: torch.Tensor, sure: float = 9.0) -> DetectorOutput:
    """One query that says ``mask``, and one that says nothing."""
    masks = torch.stack([torch.where(mask > 0.5, 9.0, -9.0), torch.full_like(mask, -9.0)])[None]
    boxes = torch.stack([box, torch.tensor([0.0, 0.0, 0.1, 0.1])])[None]
    return DetectorOutput(torch.tensor([[sure, -9.0]]), torch.tensor([sure]), boxes, DenseMasks(masks), masks.amax(1))


def total(raw: DetectorOutput, target: GroundTruth) -> float:
    return float(sum(detection_loss(raw, [target], LossWeights()).values()))


def test_what_is_said_under_ignored_pixels_costs_nothing_and_beside_them_all() -> None:
    mask, ignored = torch.zeros(16, 16), torch.zeros(16, 16, dtype=torch.bool)
    mask[2:6, 2:6] = 1
    ignored[2:6, 6:12] = True
    target = target_of(mask, ignored)
    assert target.is_whole is not None
    assert target.is_whole.tolist() == [False]
    larger = mask.clone()
    larger[2:6, 6:12] = 1
    wide = torch.tensor([2 / 16, 2 / 16, 12 / 16, 6 / 16])
    assert total(answer(larger, wide), target) == pytest.approx(total(answer(mask, target.boxes[0]), target), abs=1e-4)
    assert total(answer(larger, wide), target) < 0.05
    wrong = mask.clone()
    wrong[8:12, 2:12] = 1
    assert total(answer(wrong, wide), target) > 1
    assert total(answer(larger, wide), target_of(mask)) > 1


def test_gradients_under_ignored_pixels_are_zero() -> None:
    mask, ignored = torch.zeros(16, 16), torch.zeros(16, 16, dtype=torch.bool)
    mask[2:6, 2:6] = 1
    ignored[8:, :] = True
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(1, 2, 16, 16, generator=generator, requires_grad=True)
    semantic = torch.randn(1, 16, 16, generator=generator, requires_grad=True)
    boxes = torch.tensor([[[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9]]])
    raw = DetectorOutput(torch.zeros(1, 2), torch.zeros(1), boxes, DenseMasks(masks), semantic)
    sum(detection_loss(raw, [target_of(mask, ignored)], LossWeights()).values()).backward()  # type: ignore[union-attr]
    assert masks.grad is not None
    assert semantic.grad is not None
    assert float(masks.grad[..., ignored].abs().max()) == 0
    assert float(semantic.grad[..., ignored].abs().max()) == 0
    assert float(semantic.grad[..., ~ignored].abs().min()) > 0


def test_a_query_under_ignored_pixels_is_neither_right_nor_wrong() -> None:
    ignored = torch.zeros(16, 16, dtype=torch.bool)
    ignored[8:12, 2:12] = True
    mask = torch.zeros(16, 16)
    mask[2:6, 2:6] = 1
    target = target_of(mask, ignored)

    def loss(second: float) -> float:
        hidden = torch.where(ignored, 9.0, -9.0)
        masks = torch.stack([torch.where(mask > 0.5, 9.0, -9.0), hidden])[None]
        boxes = torch.stack([target.boxes[0], torch.tensor([0.1, 0.5, 0.8, 0.8])])[None]
        raw = DetectorOutput(
            torch.tensor([[9.0, second]]), torch.tensor([9.0]), boxes, DenseMasks(masks), masks.amax(1)
        )
        return float(detection_loss(raw, [target], LossWeights())["classification"])

    assert loss(9.0) == pytest.approx(loss(-9.0))
    unknown = target_of(mask)
    target = unknown
    assert loss(9.0) > loss(-9.0) + 1


def test_tracks_are_learnt_on_runs_of_which_all_is_known() -> None:
    known = np.ones(12, bool)
    known[4] = False
    ignored = np.zeros((12, SIDE, SIDE), bool)
    ignored[9, 0, 0] = True
    whole = stack()
    runs = list(known_runs(replace(whole, known=known, ignored=ignored)))
    assert [run.slices[:, 0, 0].astype(int).tolist() for run in runs] == [[0, 1, 2, 3], [5, 6, 7, 8], [10, 11]]
    assert all(run.known is None and run.ignored is None for run in runs)
    assert list(known_runs(whole)) == [whole]
