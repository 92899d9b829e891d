"""Recorded parts of the network answer as unrecorded ones do, whatever changes between two calls.

CUDA's recorder is replaced by one that keeps inputs and outputs in the same places, as a graph does.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.detector import BoxPrompts, Sam3Detector, TextFeatures, VisionFeatures
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.models.network.graph_replay import MOST_RECORDINGS, Compute, GraphReplay, Recording, Tensors
from MedSAM3SegmentLib.models.network.memory_format import use_channels_last
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from support.random_detector import make_random_detector


class Recorder:
    """Counts what is recorded and played."""

    def __init__(self, spoil: Callable[[torch.Tensor], torch.Tensor] = lambda value: value) -> None:
        self.recorded = self.played = 0
        self._spoil = spoil

    def __call__(self, compute: Compute, inputs: Tensors) -> Recording:
        self.recorded += 1
        kept = tuple(tensor.clone() for tensor in inputs)
        outputs = compute(kept)

        def replay() -> None:
            self.played += 1
            for place, value in zip(outputs, compute(kept), strict=True):
                place.copy_(self._spoil(value))

        return Recording(kept, outputs, replay)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Sam3Detector:
    return make_random_detector(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def recorder(model: Sam3Detector, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(model, "graphs", GraphReplay(model.network.parameters(), recorder))
    return recorder


def _answer(model: Sam3Detector, seed: int, phrases: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vision = VisionFeatures(torch.randn(2, 16, 32, generator=generator))
    text = TextFeatures(torch.randn(2 * phrases, 6, 32, generator=generator), torch.ones(2 * phrases, 6).bool())
    shared = model.share_stages(model.build_pyramid(vision)).repeat_each(phrases)
    raw = model.detect(shared, text)
    return [raw.pred_logits, raw.presence_logits, raw.pred_boxes, raw.pred_masks, raw.semantic_seg]


def _unrecorded(model: Sam3Detector, seed: int, phrases: int = 1) -> list[torch.Tensor]:
    graphs, model.graphs = model.graphs, None
    answer = _answer(model, seed, phrases)
    model.graphs = graphs
    return answer


@torch.inference_mode()
def test_phrases_are_answered_as_without_recording(model: Sam3Detector, recorder: Recorder) -> None:
    earlier = []
    for seed, phrases in ((1, 1), (2, 1), (3, 1), (4, 2), (5, 1), (6, 2), (7, 2)):
        answer, wanted = _answer(model, seed, phrases), _unrecorded(model, seed, phrases)
        assert all(map(torch.equal, answer, wanted))
        earlier.append((answer, wanted))
    assert recorder.recorded == 2, "once for each shape, the second time that it is met"
    assert recorder.played == 2 + 3, "to compare, and then in place of computing"
    for answer, wanted in earlier:
        assert all(map(torch.equal, answer, wanted)), "what was answered is not written over"


@torch.inference_mode()
def test_a_box_is_answered_without_recording(model: Sam3Detector, recorder: Recorder) -> None:
    vision = VisionFeatures(torch.randn(1, 16, 32))
    text = TextFeatures(torch.randn(1, 6, 32), torch.ones(1, 6).bool())
    boxes = BoxPrompts(torch.tensor([[[0.5, 0.5, 0.4, 0.3]]]), torch.tensor([[1]]))
    for _ in range(3):
        model.detect(model.build_pyramid(vision), text, boxes)
    assert recorder.recorded == 0


@torch.inference_mode()
def test_weights_that_changed_are_the_ones_that_answer(model: Sam3Detector, recorder: Recorder) -> None:
    for seed in range(3):
        _answer(model, seed)
    weight = model.network.detr_encoder.layers[0].mlp.fc2.weight
    before = weight.data
    try:
        weight.data = before * 1.5  # elsewhere, as an adapter is merged
        for seed in range(4):
            assert all(map(torch.equal, _answer(model, seed), _unrecorded(model, seed)))
        assert recorder.recorded == 2
        weight.data.mul_(0.5)  # in its place
        assert all(map(torch.equal, _answer(model, 9), _unrecorded(model, 9)))
        assert recorder.recorded == 2
    finally:
        weight.data = before


@torch.inference_mode()
def test_a_graph_that_answers_otherwise_or_fails_is_not_used(
    model: Sam3Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_compute: Compute, _inputs: Tensors) -> Recording:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    for record, why in ((Recorder(lambda value: value * 1.1), "another answer"), (fail, "Tried to allocate 2 GiB")):
        graphs = GraphReplay(model.network.parameters(), record)
        monkeypatch.setattr(model, "graphs", graphs)
        for seed in range(4):
            assert all(map(torch.equal, _answer(model, seed), _unrecorded(model, seed)))
        assert graphs.given_up is not None
        assert why in str(graphs.given_up)
        assert "more" not in str(graphs.given_up)


def test_recordings_are_limited_and_gradients_are_not_recorded() -> None:
    recorder = Recorder()
    graphs = GraphReplay([], recorder)

    def double(given: Tensors) -> Tensors:
        return (2 * given[0],)

    for size in range(1, MOST_RECORDINGS + 4):
        for _ in range(3):
            with torch.no_grad():
                (answer,) = graphs.run("double", double, (torch.arange(size),))
            assert answer.tolist() == [2 * n for n in range(size)]
    assert recorder.recorded == MOST_RECORDINGS
    value = torch.ones(2, requires_grad=True)
    for _ in range(3):
        assert graphs.run("double", double, (value,))[0].requires_grad
    assert recorder.recorded == MOST_RECORDINGS


def test_a_run_says_that_graphs_were_given_up() -> None:
    segmenter = Segmenter(load_model("demo", "cpu"))
    volume = make_phantom(31, tilted_grid((3, 64, 64), (5.0, 5.0, 20.0))).volume
    plain = segmenter.segment(volume, SegmentRequest(("liver",)))
    segmenter.model.graphs = GraphReplay(segmenter.model.network.parameters(), Recorder(lambda value: value + 1))
    segmenter.segment(volume, SegmentRequest(("liver",)))
    result = segmenter.segment(volume, SegmentRequest(("liver",)))
    assert any("CUDA graphs are not used" in str(sentence) for sentence in result.messages)
    assert (result.concepts[0].mask == plain.concepts[0].mask).all()


def test_graphs_need_a_cuda_gpu() -> None:
    with pytest.raises(InputError, match="CUDA graphs need a CUDA GPU, and the model runs on cpu"):
        load_model("demo", "cpu", cuda_graphs=True)


@torch.inference_mode()
def test_channels_last_gives_the_same_answers(model: Sam3Detector) -> None:
    before = _answer(model, 1)
    use_channels_last(model.network)
    weight = model.network.mask_decoder.pixel_decoder.conv_layers[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(before, _answer(model, 1), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
