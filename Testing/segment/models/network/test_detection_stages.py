"""What is computed once for all phrases on a slice gives what transformers' own forward pass gives for each."""

from __future__ import annotations

import pytest
import torch

from MedSAM3SegmentLib.models.detector import BoxPrompts, DetectorOutput, Sam3Detector, TextFeatures, VisionFeatures
from MedSAM3SegmentLib.models.network.detection_stages import detect_whole, doubling_kernel
from MedSAM3SegmentLib.models.network.query_decoder import box_bias
from support.random_detector import make_random_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Sam3Detector:
    return make_random_detector(tmp_path_factory.mktemp("tokenizer"), torch.float64)


def _inputs(slices: int) -> tuple[VisionFeatures, TextFeatures]:
    generator = torch.Generator().manual_seed(9)
    vision = VisionFeatures(torch.randn(slices, 16, 32, generator=generator, dtype=torch.float64))
    # Of different length, so that one of them is padded.
    text = TextFeatures(
        torch.randn(2, 6, 32, generator=generator, dtype=torch.float64),
        torch.tensor([[True] * 6, [True] * 3 + [False] * 3]),
    )
    return vision, text


def _whole(model: Sam3Detector, vision: VisionFeatures, text: TextFeatures, boxes: BoxPrompts) -> DetectorOutput:
    return DetectorOutput.of(detect_whole(model.network, model.build_pyramid(vision), text, model._placed(boxes)))


def _check_equal(one: DetectorOutput, other: DetectorOutput) -> None:
    for name in ("pred_logits", "presence_logits", "pred_boxes", "pred_masks", "semantic_seg"):
        torch.testing.assert_close(
            getattr(one, name).double(),
            getattr(other, name).double(),
            atol=2e-5,
            rtol=1e-6,
            msg=lambda m, n=name: n + m,
        )


@torch.inference_mode()
def test_every_phrase_on_shared_stages_is_the_whole_network(model: Sam3Detector) -> None:
    vision, text = _inputs(slices=2)
    shared = model.share_stages(model.build_pyramid(vision))
    for number in range(2):
        words = text[number : number + 1].repeat(2)
        _check_equal(model.detect(shared, words), _whole(model, vision, words, BoxPrompts.none(2)))


@torch.inference_mode()
def test_the_bias_of_boxes_is_that_of_transformers_bit_by_bit(model: Sam3Detector) -> None:
    decoder = model.network.detr_decoder
    boxes = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    shape = torch.tensor(3), torch.tensor(4)
    assert torch.equal(box_bias(decoder, boxes, shape), type(decoder)._get_rpb_matrix(decoder, boxes, shape))


@torch.inference_mode()
def test_boxes_go_through_the_shared_stages_too(model: Sam3Detector) -> None:
    """Drawn on one of two slices, positive and negative, the other one padded."""
    vision, text = _inputs(slices=2)
    boxes = BoxPrompts(
        torch.tensor([[[0.4, 0.5, 0.3, 0.2], [0.7, 0.2, 0.1, 0.3]], [[0.0] * 4] * 2]),
        torch.tensor([[1, 0], [-10, -10]]),
    )
    shared = model.share_stages(model.build_pyramid(vision))
    drawn = model.detect(shared, text, boxes)
    _check_equal(drawn, _whole(model, vision, text, boxes))
    without = model.detect(shared, text)
    assert (drawn.pred_masks[0] - without.pred_masks[0]).abs().max() > 1e-3
    torch.testing.assert_close(drawn.pred_masks[1], without.pred_masks[1])


@torch.inference_mode()
def test_phrases_in_one_batch_are_phrases_one_by_one(model: Sam3Detector) -> None:
    vision, text = _inputs(slices=2)
    shared = model.share_stages(model.build_pyramid(vision))
    together = model.detect(shared.repeat_each(2), text.repeat(2))
    for number in range(2):
        alone = model.detect(shared, text[number : number + 1].repeat(2))
        for slice_ in range(2):
            torch.testing.assert_close(together.pred_masks[2 * slice_ + number], alone.pred_masks[slice_])
    boxes = BoxPrompts(torch.tensor([[[0.4, 0.5, 0.3, 0.2]]] * 4), torch.ones(4, 1, dtype=torch.int64))
    repeated = VisionFeatures(vision.tokens.repeat_interleave(2, 0))
    drawn = model.detect(shared.repeat_each(2), text.repeat(2), boxes)
    _check_equal(drawn, _whole(model, repeated, text.repeat(2), boxes))


def test_gradients_reach_the_weights_and_are_those_of_the_whole_network(model: Sam3Detector) -> None:
    """Training goes through the whole network, or through the shared stages, several phrases on each slice."""
    vision, text = _inputs(slices=2)

    def gradients(output: DetectorOutput) -> dict[str, torch.Tensor]:
        parts = (output.pred_masks, output.semantic_seg, output.pred_boxes, output.pred_logits, output.presence_logits)
        sum(part.square().mean() for part in parts).backward()  # type: ignore[union-attr]
        found = {name: p.grad.clone() for name, p in model.network.named_parameters() if p.grad is not None}
        model.network.zero_grad()
        return found

    pyramid = model.build_pyramid(vision)
    whole = gradients(model.detect(pyramid.repeat_each(2), text.repeat(2)))
    assert whole["mask_decoder.pixel_decoder.conv_layers.0.weight"].abs().sum() > 0
    shared = model.share_stages(model.build_pyramid(vision)).repeat_each(2)
    parts = gradients(model.detect(shared, text.repeat(2)))
    assert parts.keys() == whole.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: n + m)


def test_a_transposed_convolution_doubles_and_convolves() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(7, 5, 3, 3, generator=generator, dtype=torch.float64)
    features = torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64)
    doubled = torch.nn.functional.interpolate(features, scale_factor=2, mode="nearest")
    expected = torch.nn.functional.conv2d(doubled, weight, padding=1)
    found = torch.nn.functional.conv_transpose2d(features, doubling_kernel(weight), stride=2, padding=1)
    torch.testing.assert_close(found, expected)


@torch.inference_mode()
def test_masks_that_are_asked_for_are_those_of_all(model: Sam3Detector) -> None:
    vision, text = _inputs(slices=2)
    output = model.detect(model.build_pyramid(vision), text)
    assert output.pred_masks.shape == (2, 5, 16, 16)
    for pair, queries in ((0, [3]), (1, [4, 0, 2]), (1, [])):
        torch.testing.assert_close(output.masks.of(pair, queries), output.pred_masks[pair, queries])
