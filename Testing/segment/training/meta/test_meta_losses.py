"""Meta's losses: which queries find what, what each term says, and that training with them teaches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from MedSAM3SegmentLib.training.architecture import Architecture, new_network, train_tokenizer
from MedSAM3SegmentLib.training.batches import Batch, BatchMaker, BatchPlan
from MedSAM3SegmentLib.training.dataset import stack_with_labels
from MedSAM3SegmentLib.training.detector_trainer import predict
from MedSAM3SegmentLib.training.losses import Counts, GroundTruth
from MedSAM3SegmentLib.training.meta.decoder_layers import (
    DecoderLayer,
    decoder_layers,
    recorded_decoder,
    without_self_attention,
)
from MedSAM3SegmentLib.training.meta.losses import MetaLossWeights, meta_loss
from MedSAM3SegmentLib.training.meta.matching import match_one_to_many, match_one_to_one

SMALL = Architecture(
    image_size=56, window_size=2, vision_width=32, vision_layers=2, vision_heads=2, vision_mlp=64, global_layers=(1,),
    width=32, heads=2, mlp=32, encoder_layers=1, decoder_layers=2, queries=6, text_width=32, text_layers=1,
    text_heads=2, text_mlp=32, context_length=16,
)  # fmt: skip


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path) -> Sam3Detector:
    """Untrained, with two layers in its decoder."""
    tokenizer = train_tokenizer(["liver", "spleen"], 10, tmp_path)
    card = load_model(str(tiny_model_folder), "cpu").card
    return Sam3Detector(new_network(SMALL, tokenizer, 0), tokenizer, card)


@pytest.fixture
def batch() -> Batch:
    phantom = make_phantom(0, tilted_grid((8, 40, 40), (9.0, 9.0, 24.0)))
    stack = stack_with_labels(phantom.volume, {name: phantom.masks[name] for name in ("liver", "spleen", "tumor")})
    return BatchMaker([stack], BatchPlan(slices=4, phrases=2, others=["lung"]), 56, 16, 3).draw()


def truth(*boxes: tuple[float, float, float, float]) -> GroundTruth:
    return GroundTruth(torch.ones(len(boxes), 8, 8), torch.tensor(boxes).reshape(-1, 4))


def test_the_last_layer_is_what_the_network_answers(model: Sam3Detector, batch: Batch) -> None:
    # With gradients, as in training.
    with recorded_decoder(model.network) as call:
        raw = predict(model, batch)
        layers = decoder_layers(model.network, call.inputs, call.output)
    assert len(layers) == 2
    torch.testing.assert_close(layers[-1].logits, raw.pred_logits)
    torch.testing.assert_close(layers[-1].corners, raw.pred_boxes, rtol=1e-4, atol=1e-4)
    assert layers[-1].presence is not None
    torch.testing.assert_close(layers[-1].presence, raw.presence_logits)
    assert not torch.equal(layers[0].logits, layers[1].logits)


def test_in_the_second_pass_queries_do_not_look_at_one_another(model: Sam3Detector, batch: Batch) -> None:
    decoder = model.network.detr_decoder
    with recorded_decoder(model.network) as call:
        predict(model, batch)
    with torch.no_grad():
        together, apart = call.output, without_self_attention(decoder)(**call.inputs)
        decoder.query_embed.weight[0] += 1.0
        moved = [decoder(**call.inputs), without_self_attention(decoder)(**call.inputs)]
    other = slice(1, None)
    assert not torch.allclose(together.intermediate_hidden_states, apart.intermediate_hidden_states, atol=1e-4)
    for before, after, is_same in ((together, moved[0], False), (apart, moved[1], True)):
        first, second = (one.intermediate_hidden_states[:, :, other] for one in (before, after))
        assert torch.allclose(first, second, atol=1e-6) == is_same


def test_each_object_has_one_query_or_several_that_agree(model: Sam3Detector) -> None:
    del model
    boxes = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.3, 0.3, 0.2, 0.22], [0.31, 0.3, 0.2, 0.2], [0.8, 0.8, 0.1, 0.1]])
    logits = torch.tensor([3.0, 0.0, 0.0, 3.0])
    layer = DecoderLayer(logits[None], boxes[None], None)
    target = truth((0.2, 0.2, 0.4, 0.4))
    ((queries, objects),) = match_one_to_one(layer, [target])
    assert (queries.tolist(), objects.tolist()) == ([0], [0])
    ((queries, objects),) = match_one_to_many(layer, [target], MetaLossWeights())
    # The far one is sure of itself, but its agreement is 0.3 times its score.
    assert (queries.tolist(), objects.tolist()) == ([0, 1, 2], [0, 0, 0])
    ((queries, _),) = match_one_to_many(layer, [target], MetaLossWeights(topk=1))
    assert queries.tolist() == [0]
    ((queries, _),) = match_one_to_many(layer, [truth()], MetaLossWeights())
    assert queries.tolist() == []


def test_the_terms_are_those_of_the_published_numbers(model: Sam3Detector, batch: Batch) -> None:
    weights = MetaLossWeights()
    with recorded_decoder(model.network) as call:
        raw = predict(model, batch)
    terms = meta_loss(model.network, raw, call, batch.targets, weights)
    assert set(terms) == {
        "presence", "classification", "box", "giou", "mask", "mask dice", "semantic", "semantic dice", "auxiliary",
        "one-to-many",
    }  # fmt: skip
    present = torch.tensor([float(len(target.boxes) > 0) for target in batch.targets])
    expected = 20 * 0.5 * binary_cross_entropy_with_logits(raw.presence_logits, present)
    torch.testing.assert_close(terms["presence"], expected)
    # An absent concept teaches presence alone.
    nowhere = [truth() for _ in batch.targets]
    absent = meta_loss(model.network, raw, call, nowhere, weights)
    assert {name for name, value in absent.items() if float(value.detach()) > 0} == {"presence", "auxiliary"}
    # Scores, as they are counted by hand for the one pair.
    pair = int(present.argmax())
    layer = decoder_layers(model.network, call.inputs, call.output)[-1]
    one = [target if number == pair else truth() for number, target in enumerate(batch.targets)]
    ((queries, objects),) = match_one_to_one(DecoderLayer(layer.logits[[pair]], layer.boxes[[pair]], None), [one[pair]])
    score = layer.logits[pair].sigmoid()
    total = 0.0
    for query in range(6):
        if query in queries:
            wanted = one[pair].boxes[objects[queries == query][0]]
            aim = max(0.01, float(score[query]) ** 0.25 * overlap(layer.corners[pair, query], wanted) ** 0.75)
            total += 10 * -float(aim * score[query].log() + (1 - aim) * (1 - score[query]).log())
        else:
            total += float(score[query] ** 2 * -(1 - score[query]).log())
    found = meta_loss(model.network, raw, call, one, weights)["classification"]
    assert float(found) == pytest.approx(20 * total / (200 * len(batch.targets)), rel=1e-3)


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    inner = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    areas = [(one[2:] - one[:2]).clamp(min=0).prod() for one in (a, b)]
    return float(inner / (areas[0] + areas[1] - inner))


def test_parts_of_a_batch_add_up_and_every_weight_of_the_detector_learns(model: Sam3Detector, batch: Batch) -> None:
    counts = Counts.of(batch.targets, 6)

    def terms(part: Batch) -> dict[str, torch.Tensor]:
        with recorded_decoder(model.network) as call:
            raw = predict(model, part)
        return meta_loss(model.network, raw, call, part.targets, MetaLossWeights(), counts)

    whole = terms(batch)
    parts = [terms(batch.part(0, 1)), terms(batch.part(1, 4))]
    for name, value in whole.items():
        assert sum(float(part[name]) for part in parts if name in part) == pytest.approx(float(value), rel=1e-3)
    torch.stack(list(whole.values())).sum().backward()
    trained = {name for name, p in model.network.named_parameters() if p.grad is not None and bool(p.grad.any())}
    for part in ("detr_decoder.presence_head", "detr_decoder.box_head", "dot_product_scoring", "mask_decoder"):
        assert any(name.startswith(part) for name in trained)
