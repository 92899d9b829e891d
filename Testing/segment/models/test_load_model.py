"""What a user may name as a model: loaded exactly, or refused in one sentence with file, key and what to do."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import Sam3Config

from MedSAM3SegmentLib.checkpoints.build import empty_network
from MedSAM3SegmentLib.checkpoints.checkpoint import Checkpoint
from MedSAM3SegmentLib.checkpoints.config import (
    VIT_LAYER_NORM_EPS,
    detector_config,
    image_size_of,
    read_configuration,
    set_draft_resolution,
    tracker_config,
)
from MedSAM3SegmentLib.checkpoints.hashing import write_checksums
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard, ScoreRule
from MedSAM3SegmentLib.checkpoints.tokenizer import check_tokenizer, load_tokenizer
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.devices import choose_device, choose_dtype
from MedSAM3SegmentLib.models.load_model import identify_model, load_model
from MedSAM3SegmentLib.models.save_model import save_model
from MedSAM3SegmentLib.models.threads import layer_size
from support.checkpoint_files import to_meta, write_clip_tokenizer, write_model_folder

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> object:
    """An empty store of its own, whatever is installed on this machine."""
    before = os.environ.get("MEDSAM3_MODELS")
    os.environ["MEDSAM3_MODELS"] = str(tmp_path_factory.mktemp("store"))
    yield
    if before is None:
        del os.environ["MEDSAM3_MODELS"]
    else:
        os.environ["MEDSAM3_MODELS"] = before


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_folder(tmp_path_factory.mktemp("original") / "tiny")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def detect(model: Sam3Detector) -> torch.Tensor:
    pixels = torch.randn(1, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        pyramid = model.build_pyramid(model.encode_images(pixels))
        return model.detect(pyramid, model.encode_phrases(["left kidney"])).pred_masks


def test_folder_of_transformers_gives_its_numbers(original: Path) -> None:
    from transformers import Sam3Model

    model = load_model(str(original), "cpu")
    stock = Sam3Model.from_pretrained(str(original)).eval()
    assert all(torch.equal(a, b) for a, b in zip(model.network.parameters(), stock.parameters(), strict=True))
    # Tables that no file holds are computed, not left as they happened to be in memory.
    tables = dict(stock.named_buffers())
    assert tables
    assert all(torch.equal(value, tables[name]) for name, value in model.network.named_buffers())
    assert not model.network.training
    assert model.card.score_rule is ScoreRule.WITH_PRESENCE
    assert len(model.identity.sha256) == 64


def test_layer_norm_epsilon_is_metas_whatever_the_file_says(folder: Path) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["vision_config"]["backbone_config"]["layer_norm_eps"] = 1e-6
    path.write_text(json.dumps(values))
    model = load_model(str(folder), "cpu")
    assert model.network.vision_encoder.backbone.layers[0].layer_norm1.eps == VIT_LAYER_NORM_EPS == 1e-5


def test_video_folder_gives_detector_tracker_and_neck(original: Path, tmp_path: Path) -> None:
    """The layout of facebook/sam3, where transformers' own tracker class leaves heads random."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    detector = json.loads((original / "config.json").read_text())
    config = Sam3VideoConfig(
        detector_config=detector,
        tracker_config={
            "model_type": "sam3_tracker_video",
            "image_size": 56,
            "vision_config": detector["vision_config"],
            "prompt_encoder_config": {"hidden_size": 32, "image_size": 56, "patch_size": 14},
            "mask_decoder_config": {
                "hidden_size": 32,
                "mlp_dim": 32,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 32,
            },
            "memory_attention_hidden_size": 32,
            "memory_attention_feed_forward_hidden_size": 32,
            "memory_attention_num_layers": 1,
            "memory_encoder_hidden_size": 32,
            "mask_downsampler_embed_dim": 32,
            "memory_fuser_embed_dim": 32,
            "memory_fuser_intermediate_dim": 32,
        },
    )
    folder = tmp_path / "video"
    shutil.copytree(original, folder)
    (folder / WEIGHTS).unlink()
    video = Sam3VideoModel(config).eval()
    video.save_pretrained(str(folder))
    model = load_model(str(folder), "cpu")
    assert model.tracker is not None
    expected = video.state_dict()
    for prefix, network in (
        ("detector_model.", model.network),
        ("tracker_model.", model.tracker.model),
        ("tracker_neck.", model.tracker.neck),
    ):
        found = network.state_dict()
        assert found
        assert all(torch.equal(value, expected[prefix + name]) for name, value in found.items()), prefix
        tables = dict(video.get_submodule(prefix[:-1]).named_buffers())
        assert all(torch.equal(value, tables[name]) for name, value in network.named_buffers()), prefix
    # Written again in this project's own layout and read back, tracker included.
    save_model(model, tmp_path / "own")
    again = load_model(str(tmp_path / "own"), "cpu")
    assert again.tracker is not None
    assert torch.equal(detect(model), detect(again))
    # transformers 5.23 writes one prefix twice when it saves; the published file has it once.
    state = load_file(folder / WEIGHTS)
    state = {name.replace("tracker_model.tracker_model.", "tracker_model."): value for name, value in state.items()}
    save_file(state, folder / WEIGHTS)
    assert load_model(str(folder), "cpu").tracker is not None
    # One weight of the tracker less is noticed too.
    del state["tracker_model.mask_decoder.iou_token.weight"]
    save_file(state, folder / WEIGHTS)
    with pytest.raises(ModelError, match=r"tracker_model\.mask_decoder\.iou_token\.weight"):
        load_model(str(folder), "cpu")


def test_light_text_models_run_through_the_same_door(original: Path, tmp_path: Path) -> None:
    from transformers import Sam3LiteTextConfig, Sam3LiteTextModel

    values = json.loads((original / "config.json").read_text())
    del values["model_type"], values["text_config"], values["transformers_version"]
    for part in values.values():
        if isinstance(part, dict) and str(part.get("model_type", "")).startswith(
            ("sam3_detr", "sam3_geo", "sam3_mask")
        ):
            del part["model_type"]
    size = len(json.loads((original / "tokenizer.json").read_text())["model"]["vocab"])
    text = {"vocab_size": size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 2, "projection_dim": 32, "max_position_embeddings": 32}
    text |= {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    config = Sam3LiteTextConfig(**values, text_config=text)
    folder = tmp_path / "lite"
    shutil.copytree(original, folder)
    (folder / WEIGHTS).unlink()
    stock = Sam3LiteTextModel(config).eval()
    stock.save_pretrained(str(folder))
    model = load_model(str(folder), "cpu")
    assert type(model.network).__name__ == "Sam3LiteTextModel"
    state = stock.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.network.state_dict().items())
    assert torch.isfinite(detect(model)).all()


def test_shards_and_half_precision(original: Path, tmp_path: Path) -> None:
    from transformers import Sam3Model

    folder = tmp_path / "shards"
    shutil.copytree(original, folder)
    (folder / WEIGHTS).unlink()
    Sam3Model.from_pretrained(str(original)).half().save_pretrained(str(folder), max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    model = load_model(str(folder), "cpu")
    assert model.network.dtype == torch.float32
    assert (detect(model) - detect(load_model(str(original), "cpu"))).abs().max() < 0.5
    next(folder.glob("model-00002*")).unlink()
    with pytest.raises(ModelError, match=r"model-00002.*missing"):
        load_model(str(folder), "cpu")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_number_format_can_be_chosen(original: Path, dtype: str) -> None:
    model = load_model(str(original), "cpu", dtype=dtype)
    assert str(model.network.dtype) == f"torch.{dtype}"
    assert torch.isfinite(detect(model)).all()
    assert model.features_key != load_model(str(original), "cpu").features_key


def test_resolution_can_be_chosen(original: Path) -> None:
    model = load_model(str(original), "cpu", resolution=84)
    assert model.image_size == 84
    assert detect(model).shape[-1] == 84 // 14 * 4
    with pytest.raises(InputError, match="multiple of 28, such as 84"):
        load_model(str(original), "cpu", resolution=90)


def test_a_draft_runs_at_half_of_the_models_own_size(original: Path) -> None:
    own = load_model(str(original), "cpu")
    draft = load_model(str(original), "cpu", resolution="draft")
    assert 2 * draft.image_size == draft.own_image_size == own.image_size
    assert torch.isfinite(detect(draft)).all()
    assert 2 * detect(draft).shape[-1] == detect(own).shape[-1]
    assert draft.features_key != own.features_key


@pytest.mark.parametrize(("size", "patch"), [(1008, 14), (140, 14), (126, 14), (98, 14)])
def test_a_draft_is_refused_where_half_is_no_number_of_patches(size: int, patch: int) -> None:
    config = Sam3Config()
    config.image_size, config.vision_config.backbone_config.patch_size = size, patch
    if size // patch % 2 == 0:
        set_draft_resolution(config)
        assert image_size_of(config) == size // 2
        return
    with pytest.raises(InputError, match=f"half of its {size} pixels is no multiple of its patches of {patch}"):
        set_draft_resolution(config)
    assert image_size_of(config) == size


def test_meta_file_beside_its_configuration(original: Path, folder: Path) -> None:
    state = {f"detector_model.{name}": value for name, value in load_file(folder / WEIGHTS).items()}
    (folder / WEIGHTS).unlink()
    torch.save({"model": to_meta(state), "optimizer": {"lr": 0.1}, "epoch": 7}, folder / "checkpoint.pt")
    assert torch.equal(detect(load_model(str(folder), "cpu")), detect(load_model(str(original), "cpu")))
    assert load_model(str(folder / "checkpoint.pt"), "cpu").identity.name == "checkpoint"


def _refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(str(folder), "cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert str(folder) in message
    return message


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_dropped_renamed_reshaped_or_spoilt_weight_is_named(
    original: Path, tmp_path: Path, data: st.DataObject
) -> None:
    folder = tmp_path / "spoilt"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    state = load_file(folder / WEIGHTS)
    name = data.draw(st.sampled_from(sorted(state)))
    how = data.draw(st.sampled_from(["drop", "rename", "shape", "nan", "inf"]))
    if how == "drop":
        del state[name]
    elif how == "rename":
        state[name + "_"] = state.pop(name)
    elif how == "shape":
        state[name] = torch.cat([state[name], state[name][:1]])
    else:
        state[name].view(-1)[-1] = float(how)
    save_file(state, folder / WEIGHTS)
    assert f"'{name}" in _refusal(folder)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 0.99))
def test_a_truncated_file_is_refused(original: Path, tmp_path: Path, share: float) -> None:
    folder = tmp_path / "short"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(len(content) * share)])
    assert "truncated" in _refusal(folder)


def test_one_changed_number_is_named_once_hashes_are_recorded(folder: Path) -> None:
    write_checksums(folder)
    assert load_model(str(folder), "cpu")
    state = load_file(folder / WEIGHTS)
    name = "detr_decoder.layers.0.mlp.fc1.weight"
    state[name][3, 2] += 1e-6
    save_file(state, folder / WEIGHTS)
    assert f"'{name}'" in _refusal(folder)


def test_a_changed_tokenizer_or_configuration_is_named_if_hashes_are_known(folder: Path) -> None:
    write_checksums(folder)
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text + "\n")
    assert "tokenizer.json" in _refusal(folder)


class _Code:
    """What a hostile file would do when it is opened."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("kind", ["zip", "old", "bare pickle"])
def test_a_pickle_with_code_is_not_opened(folder: Path, tmp_path: Path, kind: str) -> None:
    (folder / WEIGHTS).unlink()
    path, trap = folder / "model.pt", tmp_path / "ran"
    content = {"model": {"detector.x": torch.zeros(2)}, "other": _Code(trap)}
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    assert "safetensors" in _refusal(folder)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("detector.backbone.vision_backbone.propagation_convs.0.conv_1x1.weight", "SAM 3.1 multiplex"),
        ("tracker.model.maskmem_tpos_enc", "SAM 3.1 multiplex"),
        ("image_encoder.trunk.patch_embed.proj.weight", "SAM 2"),
        ("image_encoder.blocks.0.attn.rel_pos_h", "SAM 1"),
        ("backbone.layer1.0.conv1.weight", "not a SAM 3 model"),
    ],
)
def test_files_of_other_families_are_named_for_what_they_are(tmp_path: Path, key: str, family: str) -> None:
    torch.save({"model": {"a.b": torch.zeros(1), key: torch.zeros(1)}}, tmp_path / "other.pt")
    message = _refusal(tmp_path)
    assert family in message


@pytest.mark.parametrize(("kind", "family"), [("sam2_video", "SAM 2"), ("sam", "SAM 1"), ("bert", "'bert'")])
def test_folders_of_other_families_are_named_for_what_they_are(folder: Path, kind: str, family: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    assert family in _refusal(folder)


def test_tokenizer_that_is_absent_or_differs_is_refused(folder: Path) -> None:
    from MedSAM3SegmentLib.training.architecture import train_tokenizer

    (folder / "tokenizer.json").unlink()
    assert "tokenizer" in _refusal(folder)
    train_tokenizer(["other words entirely, more of them"] * 3, 10, folder)
    assert "entries" in _refusal(folder)


def test_only_clips_own_tokenizer_fits_a_model_of_its_size(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer, Sam3Config

    write_clip_tokenizer(tmp_path / "clip")
    config = Sam3Config()
    tokenizer = load_tokenizer(tmp_path / "clip")
    check_tokenizer(tokenizer, config, tmp_path / "clip")
    vocabulary = tokenizer.get_vocab()
    vocabulary["cat</w>"], vocabulary["a</w>"] = vocabulary["a</w>"], vocabulary["cat</w>"]
    with pytest.raises(ModelError, match="not CLIP's"):
        check_tokenizer(CLIPTokenizer(vocab=vocabulary, merges=[]), config, tmp_path / "clip")


class _Shapes:
    """A weight file of which only the table of contents is there."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.path = Path("sam3.pt")
        self.files = (self.path,)
        self.shapes = {name: tuple(value.shape) for name, value in state.items()}
        self.dtypes = {torch.float32}

    def read(self, names: object, *, keep_mapped: bool) -> Iterator[tuple[str, torch.Tensor]]:
        raise AssertionError((names, keep_mapped))


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("tracker", [True, False])
def test_metas_published_sizes_are_told_from_shapes(tracker: bool, tables: bool, tmp_path: Path) -> None:
    """``sam3.pt`` and full fine-tunes come without a configuration; with or without their rotary tables."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    expected = Sam3VideoConfig()
    state = empty_network(Sam3VideoModel, expected).state_dict()
    assert len(state) == 1797
    if not tracker:
        state = {name: value for name, value in state.items() if name.startswith("detector_model.")}
    meta = to_meta(state)
    if tables:
        for layer in range(32):
            side = 72 if layer in (7, 15, 23, 31) else 24
            name = f"backbone.vision_backbone.trunk.blocks.{layer}.attn.freqs_cis"
            meta[name] = torch.empty(side * side, 32, dtype=torch.complex64, device="meta")
    if tracker:
        meta = {name if name.startswith("tracker.") else f"detector.{name}": value for name, value in meta.items()}
    checkpoint = Checkpoint(_Shapes(meta))
    assert set(checkpoint.names) == set(state)
    config = read_configuration(checkpoint, tmp_path)
    expected.detector_config.vision_config.backbone_config.layer_norm_eps = VIT_LAYER_NORM_EPS
    expected.tracker_config.vision_config.backbone_config.layer_norm_eps = VIT_LAYER_NORM_EPS
    found = (detector_config(config), tracker_config(config))
    for part, wanted in zip(found, (expected.detector_config, expected.tracker_config), strict=True):
        if part is not None:
            assert _plain(part.to_dict()) == _plain(wanted.to_dict())
    assert (found[1] is not None) == tracker


def _plain(values: dict[str, object]) -> dict[str, object]:
    """A configuration's numbers, without the names that transformers adds."""
    added = ("_name_or_path", "transformers_version", "dtype", "architectures")
    return {
        key: _plain(value) if isinstance(value, dict) else value for key, value in values.items() if key not in added
    }


def test_configuration_that_is_absent_or_broken_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "config.json" in _refusal(folder)
    (folder / "config.json").unlink()
    assert "config.json" in _refusal(folder)


def test_names_that_mean_nothing_say_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"models add facebook/sam3"):
        load_model("facebook/sam3", "cpu")
    with pytest.raises(ModelError, match="neither a file"):
        load_model("no-such-thing", "cpu")


def test_devices_that_are_not_there_are_refused() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(InputError, match="not known"):
        choose_device("tpu")
    for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not there:
            with pytest.raises(InputError, match=name):
                choose_device(name)
    assert choose_dtype("auto", "cpu") == torch.float32
    with pytest.raises(InputError, match="not known"):
        choose_dtype("int8", "cpu")


@pytest.mark.parametrize("instructions", ["_is_avx512_bf16_supported", "_is_amx_tile_supported", "aarch64", None])
def test_large_models_compute_in_bfloat16_where_the_processor_does(
    instructions: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == instructions, raising=False)
    arm = {"architecture": "aarch64", "bf16": instructions == "aarch64"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: arm, raising=False)
    fast = torch.float32 if instructions is None else torch.bfloat16
    large, demo = layer_size(Sam3Config()), 1e8
    assert choose_dtype("auto", "cpu", large) == fast
    assert choose_dtype("auto", "cpu", demo) == torch.float32
    assert choose_dtype("float32", "cpu", large) == torch.float32
    assert choose_dtype("bfloat16", "cpu", demo) == torch.bfloat16


def _peft_folder(base: Path, folder: Path, *, rename: str = "", config: dict[str, object] | None = None) -> Path:
    """An adapter as PEFT writes it, of random numbers."""
    generator = torch.Generator().manual_seed(3)
    state = load_file(base / WEIGHTS)
    modules = ("detr_encoder.layers.0.mlp.fc1", "vision_encoder.backbone.layers.1.attention.q_proj")
    tensors = {}
    for module in modules:
        out, inside = state[f"{module}.weight"].shape
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(2, inside, generator=generator)
        tensors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(out, 2, generator=generator)
    tensors["base_model.model.dot_product_scoring.text_proj.bias"] = torch.randn(32, generator=generator)
    if rename:
        tensors[rename + "x"] = tensors.pop(rename)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    values = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "alpha_pattern": {"mlp.fc1": 10}, **(config or {})}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return folder


def test_peft_folder_is_merged_by_its_own_formula(original: Path, tmp_path: Path) -> None:
    adapter = _peft_folder(original, tmp_path / "peft")
    plain, adapted = load_model(str(original), "cpu"), load_model(f"{original}+{adapter}", "cpu")
    tensors, base = load_file(adapter / "adapter_model.safetensors"), plain.network.state_dict()
    found = adapted.network.state_dict()
    changed = [name for name in base if not torch.equal(base[name], found[name])]
    fc1, query = "detr_encoder.layers.0.mlp.fc1", "vision_encoder.backbone.layers.1.attention.q_proj"
    assert sorted(changed) == sorted([f"{fc1}.weight", f"{query}.weight", "dot_product_scoring.text_proj.bias"])
    for module, scale in ((fc1, 5.0), (query, 3.0)):
        down = tensors[f"base_model.model.{module}.lora_A.weight"]
        up = tensors[f"base_model.model.{module}.lora_B.weight"]
        torch.testing.assert_close(found[f"{module}.weight"], base[f"{module}.weight"] + scale * up @ down)
    assert adapted.identity.adapters[0].name == "peft"
    assert adapted.identity.as_dict()["adapters"] == [{"name": "peft", "sha256": adapted.identity.adapters[0].sha256}]
    assert adapted.features_key != plain.features_key
    for model, source in ((plain, f"{original}"), (adapted, f"{original}+{adapter}")):
        assert identify_model(source) == model.identity
    # Merged and written as one folder it gives the same without the adapter.
    save_model(adapted, tmp_path / "merged")
    assert torch.equal(detect(load_model(str(tmp_path / "merged"), "cpu")), detect(adapted))


def test_peft_adapters_that_do_not_fit_are_refused(original: Path, tmp_path: Path) -> None:
    name = "base_model.model.detr_encoder.layers.0.mlp.fc1.lora_A.weight"
    renamed = _peft_folder(original, tmp_path / "renamed", rename=name)
    with pytest.raises(ModelError, match=r"fc1\.lora_A\.weightx"):
        load_model(f"{original}+{renamed}", "cpu")
    dora = _peft_folder(original, tmp_path / "dora", config={"use_dora": True})
    with pytest.raises(ModelError, match="use_dora"):
        load_model(f"{original}+{dora}", "cpu")
    with pytest.raises(ModelError, match="name the base first"):
        load_model(str(dora), "cpu")
    with pytest.raises(ModelError, match="is not an adapter"):
        load_model(f"{original}+{original}", "cpu")


def test_a_card_brings_rules_and_base(original: Path, tmp_path: Path) -> None:
    adapter = _peft_folder(original, tmp_path / "peft")
    card = ModelCard("mine", threshold=0.7, score_rule=ScoreRule.WITHOUT_PRESENCE, base=str(original), prompts=("T",))
    card.save(adapter)
    model = load_model(str(adapter), "cpu")
    assert model.card == card
    assert model.identity.adapters[0].name == "mine"


def test_saved_model_is_whole_or_not_there(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(str(original), "cpu")
    save_model(model, tmp_path / "own")
    again = load_model(str(tmp_path / "own"), "cpu")
    assert torch.equal(detect(model), detect(again))
    with pytest.raises(InputError, match="exists already"):
        save_model(model, tmp_path / "own")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(model.tokenizer, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_model(model, tmp_path / "half")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own"]


def test_importing_the_loader_is_cheap() -> None:
    """Slicer and the shell import it at their start."""
    code = "import sys, MedSAM3SegmentLib.models.load_model as m; print({'torch', 'transformers'} & set(sys.modules))"
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.strip() == "set()"
