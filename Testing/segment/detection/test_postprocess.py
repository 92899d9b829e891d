"""From raw logits to evidence: score rules, floors, duplicates, cropping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard, ScoreRule
from MedSAM3SegmentLib.detection.postprocess import MIN_SCORE, postprocess_slice
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.models.detector import DetectorOutput
from MedSAM3SegmentLib.models.network.stage_types import DenseMasks


def raw_detections(query_scores: list[float], presence: float, corners: list[tuple[int, int]]) -> DetectorOutput:
    masks = torch.full((1, len(query_scores), 16, 16), -6.0)
    for query, (row, column) in enumerate(corners):
        masks[0, query, row : row + 4, column : column + 4] = 6.0
    return DetectorOutput(
        pred_logits=torch.logit(torch.tensor([query_scores])),
        presence_logits=torch.logit(torch.tensor([presence])),
        pred_boxes=torch.tensor([[[c / 16, r / 16, (c + 4) / 16, (r + 4) / 16] for r, c in corners]]),
        masks=DenseMasks(masks),
        semantic_seg=masks.amax(1),
    )


def test_score_rule_decides_whether_presence_counts() -> None:
    raw = raw_detections([0.8], 0.5, [(2, 3)])
    with_presence = postprocess_slice(raw, 0, 7, ModelCard("a"))
    without = postprocess_slice(raw, 0, 7, ModelCard("a", score_rule=ScoreRule.WITHOUT_PRESENCE))
    assert with_presence.score == pytest.approx(0.4, abs=1e-6)
    assert without.score == pytest.approx(0.8, abs=1e-6)
    for evidence in (with_presence, without):
        assert evidence.slice_index == 7
        assert evidence.detections[0].query_score == pytest.approx(0.8, abs=1e-6)
        assert evidence.detections[0].presence == pytest.approx(0.5, abs=1e-6)
        assert evidence.detections[0].box == pytest.approx((3 / 16, 2 / 16, 7 / 16, 6 / 16))


def test_the_same_object_twice_is_kept_once_by_its_better_score() -> None:
    evidence = postprocess_slice(
        raw_detections([0.6, 0.9, 0.7], 1 - 1e-6, [(2, 3), (2, 3), (9, 9)]), 0, 0, ModelCard("a")
    )
    assert [round(d.score, 2) for d in evidence.detections] == [0.9, 0.7]


def test_a_model_may_keep_only_its_best_instance() -> None:
    raw = raw_detections([0.6, 0.9], 1 - 1e-6, [(2, 3), (9, 9)])
    evidence = postprocess_slice(raw, 0, 0, ModelCard("a", mask_rule=MaskRule.BEST_INSTANCE))
    assert [round(d.score, 2) for d in evidence.detections] == [0.9]


def test_below_the_floor_only_the_score_remains() -> None:
    evidence = postprocess_slice(raw_detections([MIN_SCORE / 2], 0.9, [(2, 3)]), 0, 0, ModelCard("a"))
    assert evidence.detections == ()
    assert evidence.semantic is None
    assert 0 < evidence.score < MIN_SCORE


def test_semantic_map_is_kept_for_models_that_draw_with_it() -> None:
    raw = raw_detections([0.9], 0.9, [(2, 3)])
    assert postprocess_slice(raw, 0, 0, ModelCard("a")).semantic is None
    semantic = postprocess_slice(raw, 0, 0, ModelCard("a", mask_rule=MaskRule.SEMANTIC)).semantic
    assert semantic is not None
    assert np.array_equal(np.argwhere(semantic.full() > 0.5).min(0), [2, 3])


@given(
    arrays.arrays(
        np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(0, 1, width=16)
    )
)
def test_cropping_loses_nothing_that_can_matter(picture: np.ndarray) -> None:
    whole = SoftMask.of(picture).full()
    assert whole.shape == picture.shape
    np.testing.assert_array_equal(whole > 0.5, picture > 0.5)
    assert np.abs(whole - picture).max(initial=0) <= 0.02
