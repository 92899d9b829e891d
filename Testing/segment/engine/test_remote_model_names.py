"""What a model is called on the way to an engine that runs in another folder, or on another machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from MedSAM3SegmentLib.engine.client import remote_segmenter
from MedSAM3SegmentLib.engine.server.model_cache import FeatureCaches, LoadedModel, ModelCache
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.features import pick_adapter
from MedSAM3SegmentLib.features.pick_adapter import AdapterChoice, AdapterFit
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.model_store.resolve import installed_source
from MedSAM3SegmentLib.model_store.store import STORE_VARIABLE
from MedSAM3SegmentLib.volume import Volume
from support.engine_server import LIVER, Engine, volume_of
from support.slow_segmenter import SlowSegmenter


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's folder with models in it."""
    for name in ("my-model", "my-adapter", "T1+T2", "demo", "home/kept"):
        (tmp_path / "here" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here" / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "here" / "home"))
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("typed", "heard"),
    [
        ("my-model", "{}/my-model"),
        ("./my-model", "{}/my-model"),
        ("~/kept", "{}/home/kept"),
        ("my-model + ./my-adapter", "{}/my-model+{}/my-adapter"),
        ("sam3+my-adapter", "sam3+{}/my-adapter"),
        ("T1+T2", "{}/T1+T2"),
        ("demo", "demo"),
        ("sam3", "sam3"),
        ("no-such-model+", "no-such-model+"),
    ],
)
def test_a_folder_of_the_client_is_named_so_that_the_engine_finds_it(
    engine: Engine, here: Path, typed: str, heard: str
) -> None:
    engine.client().submit(volume_of(), LIVER, model=typed).wait(20)

    assert engine.loaded == [heard.replace("{}", str(here))]


def test_without_the_clients_disk_the_engine_gets_model_names_as_typed(
    engine: Engine, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del here
    monkeypatch.setattr(remote_segmenter, "read_proof", lambda _: "")
    with pytest.raises(ModelError, match=r"The model 'my-model' is not installed on the engine's machine"):
        engine.client().submit(volume_of(), LIVER, model="my-model").wait(20)


def test_what_lies_on_the_engines_disk_is_not_told_to_a_remote_client(here: Path) -> None:
    """The answer is the same for a path that exists and one that does not."""
    assert (here / "T1+T2").exists()
    for name in ("T1+T2", "T3+T2"):
        with pytest.raises(ModelError, match=rf"'{name[:2]}' is not installed"):
            installed_source(name)


def test_models_are_counted_where_they_are() -> None:
    def load(model: str, device: str, features: FeatureCaches) -> LoadedModel:
        del features
        return LoadedModel(SlowSegmenter(), model, device, 100)

    shelf = ModelCache(load)
    assert [(use.place, use.items, use.bytes_held) for use in shelf.uses()[:1]] == [("RAM", 0, 0)]
    for model, device in (("a", "cpu"), ("b", "cuda:0"), ("c", "cuda:0")):
        shelf.get(model, device)

    assert [(use.name, use.place, use.items, use.bytes_held) for use in shelf.uses()[:2]] == [
        ("models", "RAM", 1, 100),
        ("models", "GPU", 2, 200),
    ]


def test_a_model_that_has_no_room_beside_another_one_takes_its_place() -> None:
    """A small GPU holds one model; choosing the other must not end in "out of memory"."""
    held: list[str] = []

    def load(model: str, device: str, features: FeatureCaches) -> LoadedModel:
        del features
        held[:] = [name for name in held if shelf.has(name, device)]
        if held or model == "too large":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        held.append(model)
        return LoadedModel(SlowSegmenter(), model, device, 100)

    shelf = ModelCache(load)
    shelf.get("a", "cuda")
    assert shelf.get("b", "cuda").name == "b"
    assert not shelf.has("a", "cuda")
    with pytest.raises(RuntimeError, match="out of memory"):
        shelf.get("too large", "cuda")
    assert shelf.get("a", "cuda").name == "a"


def test_an_adapter_is_picked_for_the_volume_of_a_job(
    engine: Engine, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del here
    asked: list[tuple[str, tuple[str, ...]]] = []
    choices = [
        AdapterChoice("ours", (AdapterFit("ours", 0.9, True, message("was trained on pictures like these")),)),
        AdapterChoice(None, (AdapterFit("ours", 2.1, False, message("was trained on other pictures")),)),
    ]

    def pick(volume: Volume, concepts: list[str], *_: object, **__: object) -> AdapterChoice:
        asked.append((volume.name, tuple(concepts)))
        return choices[len(asked) - 1]

    monkeypatch.setattr(pick_adapter, "pick_adapter", pick)
    monkeypatch.setattr(remote_segmenter, "read_proof", lambda _: "")
    volume = volume_of()
    result = engine.client().submit(volume, LIVER, model="pick").wait(20)
    assert engine.loaded == ["ours"]
    assert asked == [(volume.name, ("liver",))]
    assert result.messages[0] == "The adapter 'ours' was picked: it was trained on pictures like these."
    with pytest.raises(ModelError, match="No installed adapter fits this volume: 'ours' was trained on other pictures"):
        engine.client().submit(volume, LIVER, model="pick").wait(20)
