"""``medsam3 models``: from a path or a hub (a real one on this machine, over a real socket) to a model that runs."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from MedSAM3SegmentLib.checkpoints.model_card import ScoreRule
from MedSAM3SegmentLib.cli.commands import models
from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.model_store import hub as hub_library
from MedSAM3SegmentLib.model_store.catalog import find_known, known_models
from MedSAM3SegmentLib.model_store.install import install, plan
from MedSAM3SegmentLib.model_store.store import installed_models, new_model
from MedSAM3SegmentLib.models.load_model import load_model
from support.checkpoint_files import GOLDEN, write_model_folder
from support.cli_runs import start
from support.engine_server import wait_until
from support.fake_hub import LocalHub


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_folder(tmp_path_factory.mktemp("original") / "tiny")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSAM3_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


def medsam3_models(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run ``medsam3 models``; what it printed."""
    parser = argparse.ArgumentParser()
    models.add_parser(parser.add_subparsers())
    options = parser.parse_args(["models", *words])
    capsys.readouterr()
    options.run(options, Terminal(), Interruption())
    return capsys.readouterr().out


def test_a_folder_is_installed_listed_used_verified_and_removed(
    original: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "No models are installed" in medsam3_models(capsys, "list")
    assert "--model mine" in medsam3_models(capsys, "add", str(original), "--name", "mine")
    assert "mine" in medsam3_models(capsys, "list")
    model = load_model("mine", "cpu")
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.network.parameters(), load_model(str(original), "cpu").network.parameters(), strict=True)
    )
    assert model.identity.name == "mine"
    assert "hashes agree" in medsam3_models(capsys, "verify", "mine")
    state = load_file(store / "mine" / "model.safetensors")
    state["detr_decoder.query_embed.weight"][0, 0] += 1
    save_file(state, store / "mine" / "model.safetensors")
    with pytest.raises(ModelError, match=r"detr_decoder\.query_embed\.weight"):
        medsam3_models(capsys, "verify", "mine")
    medsam3_models(capsys, "remove", "mine", "--yes")
    assert not list(store.iterdir())
    with pytest.raises(InputError, match="No model named"):
        medsam3_models(capsys, "remove", "mine", "--yes")


def test_a_broken_folder_leaves_nothing_behind(
    original: Path, tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(original, tmp_path / "broken"))
    state = load_file(broken / "model.safetensors")
    del state["detr_decoder.query_embed.weight"]
    save_file(state, broken / "model.safetensors")
    with pytest.raises(ModelError, match=r"query_embed\.weight"):
        medsam3_models(capsys, "add", str(broken))
    assert not list(store.iterdir())


def test_names_that_are_taken_or_no_names_are_refused(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    medsam3_models(capsys, "add", str(original), "--name", "mine")
    with pytest.raises(InputError, match="installed already"):
        medsam3_models(capsys, "add", str(original), "--name", "mine")
    for name in ("../up", ".hidden", "a/b"):
        with pytest.raises(InputError, match="cannot be a folder"):
            medsam3_models(capsys, "add", str(original), "--name", name)
        with pytest.raises(InputError):
            medsam3_models(capsys, "remove", name, "--yes")
    for source in ("no such thing", "./no-such-folder", "~/no-such-folder", "models/..", "ärzte/modell"):
        with pytest.raises(InputError, match="neither a file"):
            medsam3_models(capsys, "add", source)


def test_a_model_is_converted_with_its_adapter(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    medsam3_models(capsys, "convert", str(original), str(tmp_path / "half"), "--dtype", "bfloat16")
    state = load_file(tmp_path / "half" / "model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    assert "hashes agree" in medsam3_models(capsys, "verify", str(tmp_path / "half"))
    with pytest.raises(InputError, match="exists already"):
        medsam3_models(capsys, "convert", str(original), str(tmp_path / "half"))


def test_a_download_shows_licence_and_size_asks_and_verifies(
    hub: LocalHub, original: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    hub.repositories["someone/tiny"] = original
    answers = iter(["n", "y"])
    asked: list[str] = []

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Person())
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or next(answers))
    with pytest.raises(Cancelled, match="Nothing was installed"):
        medsam3_models(capsys, "add", "someone/tiny")
    shown = capsys.readouterr().out
    assert "apache-2.0" in shown
    assert "Size: 0." in shown or "MB" in shown
    assert not any("resolve" in path for _, path, _ in hub.requests)
    assert not store.exists()
    medsam3_models(capsys, "add", "someone/tiny")
    assert len(asked) == 2
    assert load_model("tiny", "cpu").identity.sha256 == load_model("someone/tiny", "cpu").identity.sha256
    assert not (store / "tiny" / ".cache").exists()
    assert installed_models()[0].card.source == "hub:someone/tiny"


def test_without_a_person_a_download_needs_consent_beforehand(
    hub: LocalHub, original: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories["someone/tiny"] = original
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(InputError, match="--yes"):
        medsam3_models(capsys, "add", "someone/tiny")


def test_a_download_that_broke_off_goes_on(
    hub: LocalHub, original: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    """Ctrl-C in the middle of the weights: what arrived stays and is not fetched again."""
    hub.repositories["someone/tiny"] = original
    fetched: list[str] = []
    import huggingface_hub

    whole = huggingface_hub.hf_hub_download

    def download_until_interrupted(hub_id: str, name: str, **options: object) -> str:
        path = whole(hub_id, name, **options)  # type: ignore[arg-type]
        fetched.append(name)
        if len(fetched) == 2:
            raise KeyboardInterrupt
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download_until_interrupted)
    with pytest.raises(Cancelled, match="goes on from there"):
        medsam3_models(capsys, "add", "someone/tiny", "--yes")
    assert not (store / "tiny").exists()
    before = [path for method, path, _ in hub.requests if method == "GET" and "resolve" in path]
    assert len(before) == 2
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", whole)
    medsam3_models(capsys, "add", "someone/tiny", "--yes")
    after = [path for method, path, _ in hub.requests if method == "GET" and "resolve" in path]
    assert len(after) == len(set(after)), "a file was fetched twice"
    assert load_model("tiny", "cpu")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_a_download_from_a_hub_that_stalls(hub: LocalHub, original: Path, store: Path, here: Path) -> None:
    """At once, not after the file or the time that the network is given; it can be taken up again."""
    hub.repositories["someone/tiny"] = original
    hub.hold_after = (original / "model.safetensors").stat().st_size // 2
    process = start("models", "add", "someone/tiny", "--yes", cwd=here)
    wait_until(lambda: any(path.endswith("model.safetensors") and way == "GET" for way, path, _ in hub.requests))
    time.sleep(1.0)  # so that it waits for the second half

    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=30)

    assert not hub.go_on.is_set(), "the hub never went on"
    assert process.returncode == 130
    assert log.splitlines()[-1].endswith("goes on from there next time.")
    assert "Traceback" not in log
    assert not (store / "tiny").exists()
    hub.hold_after = None
    install(plan("someone/tiny"))
    assert load_model("tiny", "cpu")


def test_a_broken_connection_is_resumed_within_the_file(
    hub: LocalHub, original: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # Of 10 MB, more than the whole test model.
    hub.repositories["someone/tiny"] = original
    hub.break_after = 50_000
    with suppress(ModelError):  # Some versions of the hub's library go on by themselves, some want to be asked again.
        medsam3_models(capsys, "add", "someone/tiny", "--yes")
    if not installed_models():
        medsam3_models(capsys, "add", "someone/tiny", "--yes")
    assert any(asked == "bytes=50000-" for _, _, asked in hub.requests)
    assert load_model("tiny", "cpu")


def test_a_download_counts_its_bytes(hub: LocalHub, original: Path) -> None:
    hub.repositories["someone/tiny"] = original
    installation = plan("someone/tiny")
    arrived: list[int] = []
    install(installation, progress=lambda _, size: arrived.append(size))
    assert sum(arrived) == installation.size == sum(path.stat().st_size for path in original.iterdir())


def test_what_was_fetched_before_counts_as_there(
    hub: LocalHub, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    hub.repositories["someone/tiny"] = original
    installation, arrived = plan("someone/tiny"), []
    whole = huggingface_hub.hf_hub_download

    def interrupted(hub_id: str, name: str, **options: object) -> str:
        if arrived:
            raise KeyboardInterrupt
        return str(whole(hub_id, name, **options))  # type: ignore[arg-type]

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", interrupted)
    with pytest.raises(Cancelled):
        install(installation, progress=lambda _, size: arrived.append(size) if size else None)
    first = sum(arrived)
    assert 0 < first < installation.size
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", whole)
    arrived.clear()
    install(installation, progress=lambda _, size: arrived.append(size))
    assert sum(arrived) == installation.size


def test_bytes_of_the_other_protocol_are_counted_once() -> None:
    """It tells twice of each byte: when it came over the network, and when it is in the file."""
    reporting = pytest.importorskip("huggingface_hub.utils._xet_progress_reporting")
    if not hasattr(reporting, "XetDownloadProgressReporter"):
        pytest.skip("This version of the hub's library reports in another way.")
    told: list[int] = []
    bar = hub_library._counter("model.safetensors", lambda _, size: told.append(size))
    with reporting.XetDownloadProgressReporter(
        reconstruction_desc="", total=100, log_level=20, tqdm_class=bar
    ) as reporter:
        for done in (40, 100):
            reporter.update_progress(
                SimpleNamespace(
                    total_bytes_completed=done,
                    total_transfer_bytes_completed=done,
                    total_bytes_completion_rate=1.0,
                    total_transfer_bytes_completion_rate=1.0,
                    total_bytes=100,
                )
            )
    assert sum(told) == 100


def test_a_damaged_download_is_refused(
    hub: LocalHub, original: Path, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    hub.repositories["someone/tiny"] = original
    hub.damaged.add("model.safetensors")
    with pytest.raises(ModelError, match="arrived damaged"):
        medsam3_models(capsys, "add", "someone/tiny", "--yes")
    assert not (store / "tiny").exists()


def test_gated_missing_and_unreachable_repositories_say_what_to_do(
    hub: LocalHub, original: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    hub.repositories["facebook/sam3"] = original
    hub.gated.add("facebook/sam3")
    with pytest.raises(ModelError, match="HF_TOKEN") as caught:
        medsam3_models(capsys, "add", "sam3", "--yes")
    assert "https://huggingface.co/facebook/sam3" in str(caught.value)
    assert "secret" not in str(caught.value) + "".join(capsys.readouterr())
    with pytest.raises(ModelError, match="no someone/else"):
        medsam3_models(capsys, "add", "someone/else", "--yes")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="HTTPS_PROXY"):
        medsam3_models(capsys, "add", "someone/tiny", "--yes")


def test_a_known_adapter_that_is_not_the_published_file_is_refused(
    hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    torch.save({"backbone.x.lora.lora_A": torch.zeros(2, 2)}, folder / "best_lora_weights.pt")
    hub.repositories["lal-Joey/MedSAM3_v1"] = folder
    with pytest.raises(ModelError, match="not the one that was published"):
        medsam3_models(capsys, "add", "medsam3-v1", "--yes")
    assert not list(store.iterdir())


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"needs the reference set in {GOLDEN}, which is not here")
def test_a_medsam3_adapter_is_installed_on_a_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An adapter brings its base, MedSAM-3's score rule, and both hashes into the report."""
    with pytest.raises(InputError, match="--base"):
        medsam3_models(capsys, "add", str(GOLDEN / "medsam3_lora.pt"))
    medsam3_models(capsys, "add", str(GOLDEN / "medsam3_lora.pt"), "--base", "tiny-base", "--name", "adapter")
    with pytest.raises(ModelError, match="tiny-base"):
        load_model("adapter", "cpu")
    base = tmp_path / "tiny-base"
    base.mkdir()
    shutil.copy(GOLDEN / "meta_tiny.pt", base)
    values = json.loads((GOLDEN / "config.json").read_text())["hf"]["sam3_video"]
    (base / "config.json").write_text(json.dumps({"model_type": "sam3_video", **values}))
    _write_tokenizer_of(base, 33)
    medsam3_models(capsys, "add", str(base))
    model = load_model("adapter", "cpu")
    assert model.identity.name == "tiny-base"
    assert [item.name for item in model.identity.adapters] == ["adapter"]
    assert all(len(digest) == 64 for digest in (model.identity.sha256, model.identity.adapters[0].sha256))
    assert model.card.score_rule is ScoreRule.WITHOUT_PRESENCE
    assert model.tracker is not None


def _write_tokenizer_of(folder: Path, size: int) -> None:
    """A tokenizer with as many entries, for a model that is only loaded."""
    from transformers import CLIPTokenizer

    vocabulary = {chr(97 + number) + "</w>": number for number in range(size - 2)}
    vocabulary |= {"<|startoftext|>": size - 2, "<|endoftext|>": size - 1}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(str(folder))


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"needs the reference set in {GOLDEN}, which is not here")
def test_verify_compares_every_case_of_a_reference_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = medsam3_models(capsys, "verify", str(GOLDEN))
    assert "Every case agrees" in printed
    for case in ("text_a", "box_only", "batch2_boxes_ragged", "lora"):
        assert case in printed
    changed = tmp_path / "changed"
    changed.mkdir()
    for name in ("config.json", "cases.json", "cases.npz"):
        shutil.copy(GOLDEN / name, changed)
    state = torch.load(GOLDEN / "meta_tiny.pt", weights_only=True)
    state["detector.transformer.decoder.norm.weight"] = state["detector.transformer.decoder.norm.weight"] * 1.01
    torch.save(state, changed / "meta_tiny.pt")
    with pytest.raises(ModelError, match="is not reproduced"):
        medsam3_models(capsys, "verify", str(changed))


def test_the_registry_says_what_must_be_known() -> None:
    names = [model.name for model in known_models()]
    assert len(names) == len(set(names))
    for model in known_models():
        assert model.files
        assert model.card.licence
        assert model.licence_url.startswith("https://")
        assert 0 < model.card.threshold < 1
        assert set(model.card.prompts) <= {"T", "T+I"}
        assert not model.card.base or find_known(model.card.base)
    medsam3 = find_known("lal-Joey/MedSAM3_v1")
    assert medsam3 is not None
    assert medsam3.card.score_rule is ScoreRule.WITHOUT_PRESENCE


def test_two_models_cannot_be_half_installed(store: Path) -> None:
    def broken() -> None:
        with new_model("half") as draft:
            (draft / "model.safetensors").write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        broken()
    assert not (store / "half").exists()
    assert not installed_models()
