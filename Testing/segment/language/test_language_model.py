"""An image-text model in this process: what it is asked, what it may not read, and when it stops."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.language.constrained import SchemaConstraint
from MedSAM3SegmentLib.language.kept_model import SEGMENTER_BYTES, KeptLanguageModel
from MedSAM3SegmentLib.language.memory import WORKING_BYTES, make_room, needed_bytes
from MedSAM3SegmentLib.language.model import LanguageModel
from MedSAM3SegmentLib.language.question import MOST_CHARACTERS, LanguageQuestion
from support.tiny_language_model import make_tiny_language_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("language") / "tiny"
    make_tiny_language_model(made)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return LanguageModel(folder, CPU, torch.float32)


def png(edge: int = 32, value: int = 200) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.full((edge, edge, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_the_picture_and_the_words_both_reach_the_model(model: LanguageModel) -> None:
    seen: list[torch.Tensor] = []
    hook = model._model.get_input_embeddings().register_forward_hook(lambda *given: seen.append(given[2]))
    pixels: list[torch.Tensor] = []
    tower = next(part for name, part in model._model.named_modules() if name.endswith("vision_tower"))
    watch = tower.register_forward_pre_hook(
        lambda _, given, named: pixels.append(named.get("pixel_values", given[0] if given else None)), with_kwargs=True
    )
    try:
        with_picture = model.answer(LanguageQuestion("Be brief.", "Is it?", png(), most_tokens=4))
        without = model.answer(LanguageQuestion("Be brief.", "Is it?", most_tokens=4))
    finally:
        hook.remove()
        watch.remove()
    assert len(pixels) == 1
    assert with_picture.tokens_in > without.tokens_in + 15
    assert 1 <= with_picture.tokens_out <= 4
    assert not with_picture.is_constrained


def test_each_token_is_told_and_their_number_is_kept(model: LanguageModel) -> None:
    told: list[tuple[int, int]] = []
    answer = model.answer(
        LanguageQuestion("", "Is it?", most_tokens=6), on_token=lambda count, most: told.append((count, most))
    )
    assert told[0] == (1, 6)
    assert told[-1] == (answer.tokens_out, 6)
    assert answer.tokens_out <= 6


@pytest.mark.parametrize("layers_before", [0, 1, 3, 5])
def test_it_stops_before_the_next_layer(model: LanguageModel, layers_before: int) -> None:
    ran: list[int] = []

    def cancel() -> bool:
        return len(ran) >= layers_before

    hooks = [
        layer.register_forward_hook(lambda *_: ran.append(1))
        for module in model._model.modules()
        if isinstance(module, torch.nn.ModuleList)
        for layer in module
    ]
    try:
        with pytest.raises(Cancelled):
            model.answer(LanguageQuestion("", "Is it?", png()), cancel)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(ran) == layers_before
    assert model.answer(LanguageQuestion("", "Is it?", most_tokens=2)).tokens_out >= 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"text": "x" * (MOST_CHARACTERS + 1)}, "characters"),
        ({"most_tokens": 0}, "tokens"),
        ({"most_tokens": 10**9}, "tokens"),
        ({"picture": b"GIF89a"}, "PNG"),
        ({"picture": b"\x89PNG\r\n\x1a\n" + bytes(17 * 2**20)}, "PNG"),
        ({"schema": "[]"}, "schema"),
        ({"schema": "{" * 9000}, "schema"),
    ],
)
def test_what_no_model_is_asked(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        LanguageQuestion(**{"instructions": "", "text": "Is it?", **given})  # type: ignore[arg-type]


@pytest.mark.parametrize("picture", [png()[:60], b"\x89PNG\r\n\x1a\nrest", png(4097)])
def test_a_picture_that_cannot_be_looked_at(model: LanguageModel, picture: bytes) -> None:
    with pytest.raises(InputError, match="picture of a question"):
        model.answer(LanguageQuestion("", "Is it?", picture))


@pytest.mark.parametrize("spoiled", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("how", ["gone", "cut", "other"])
def test_a_folder_that_is_spoiled_is_one_sentence(folder: Path, tmp_path: Path, spoiled: str, how: str) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    file = copy / spoiled
    match how:
        case "gone":
            file.unlink()
        case "cut":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        case "other":
            file.write_text('{"model_type": "bert", "architectures": ["X"]}')
    with pytest.raises(ModelError, match="copy"):
        KeptLanguageModel(free=lambda _: 10**12).get(copy, "cpu")


def test_code_that_comes_with_a_model_does_not_run(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config |= {
        "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForImageTextToText": "evil.Evil"},
        "model_type": "evil",
    }
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(ModelError):
        KeptLanguageModel(free=lambda _: 10**12).get(copy, "cpu")
    assert not (tmp_path / "ran").exists()


def test_what_it_needs_is_the_weights_in_the_format_it_runs_in_and_room_to_work(
    folder: Path, model: LanguageModel
) -> None:
    assert needed_bytes(folder, torch.float32) - WORKING_BYTES == pytest.approx(model.size, rel=0.1)
    half = needed_bytes(folder, torch.bfloat16) - WORKING_BYTES
    assert 2 * half == needed_bytes(folder, torch.float32) - WORKING_BYTES


def test_no_room_is_said_with_both_numbers_and_others_go_only_where_that_is_needed(folder: Path) -> None:
    given_up: list[str] = []
    make_room(folder, CPU, torch.float32, lambda: given_up.append("x"), lambda _: 10**12)
    make_room(folder, CPU, torch.float32, lambda: given_up.append("x"), lambda _: None)
    assert not given_up
    make_room(folder, CPU, torch.float32, lambda: given_up.append("x"), lambda _: 10**12 if given_up else 5)
    assert given_up == ["x"]
    with pytest.raises(InputError, match=r"tiny needs 1\.1 GB of memory on cpu and 400 MB are free"):
        make_room(folder, CPU, torch.float32, lambda: given_up.append("x"), lambda _: 400_000_000)
    with pytest.raises(InputError, match=r"memory on cpu and 0 MB are free"):
        make_room(
            folder, torch.device("cuda:0"), torch.bfloat16, None, lambda place: 0 if place.type == "cpu" else 10**12
        )


def test_it_is_loaded_once_and_again_where_its_files_changed(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    kept = KeptLanguageModel(free=lambda _: 10**12)
    first = kept.get(copy, "cpu")
    assert kept.get(copy, "cpu") is first
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert not kept.has(copy, "cpu")
    assert kept.get(copy, "cpu") is not first
    assert kept.size == first.size


def test_it_goes_where_the_segmenter_needs_the_room(folder: Path) -> None:
    free = [10**12]
    kept = KeptLanguageModel(free=lambda _: free[0])
    assert not kept.leave_room("cpu")
    kept.get(folder, "cpu")
    assert not kept.leave_room("cpu")
    free[0] = SEGMENTER_BYTES - 1
    assert kept.leave_room("cpu")
    assert not kept.is_loaded
    assert kept.size == 0


def test_a_constraint_allows_what_the_schema_does_and_nothing_else(model: LanguageModel) -> None:
    pytest.importorskip("llguidance")
    schema = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                         "additionalProperties": False})  # fmt: skip
    tokenizer = model._processor.tokenizer
    constraint = SchemaConstraint(tokenizer, len(tokenizer))
    processor = constraint.processor(schema)
    prompt = torch.tensor([tokenizer.encode("anything at all")])
    allowed = []
    for said in ("", "{", '{"', '{"n"', '{"n":1', '{"n":12}'):
        ids = torch.cat([prompt, torch.tensor([tokenizer.encode(said)], dtype=torch.long)], dim=1)
        scores = processor(ids, torch.zeros(1, len(tokenizer)))
        allowed.append({tokenizer.decode(n) for n in torch.isfinite(scores[0]).nonzero()[:, 0].tolist()})
    assert allowed[0] == {"{"}
    assert '"' in allowed[1]
    assert allowed[2] == {"n"}
    assert allowed[3] == {":"}
    assert {"}", "5"} <= allowed[4]
    assert "a" not in allowed[4]
    assert allowed[5] == {"<eos>"}
    assert constraint.processor('{"type": "no such type"}') is None
