"""What a ``--model`` value names, found on this machine: a base and the adapters on top of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.checkpoints.weight_endings import PYTORCH_ENDINGS, SAFETENSORS_ENDINGS
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.request import PICK_ADAPTER

from .store import find_installed, installed_models, store_folder

#: What ``--model`` takes for the model that ships.
DEMO = "demo"

#: Names that transformers gives to weights, best first.
_USUAL_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


@dataclass(frozen=True)
class ModelSource:
    """Where a base lies.

    Attributes:
        weights: the file (or index of shards).
        folder: where configuration, tokenizer and card may lie.
    """

    weights: Path
    folder: Path

    @property
    def card(self) -> ModelCard:
        """The card beside the weights; a bare file goes by its own name."""
        if self.weights.name in _USUAL_WEIGHTS or (self.folder / "medsam3_model.json").is_file():
            return ModelCard.load(self.folder)
        return ModelCard(name=self.weights.stem)

    def tokenizer_folders(self) -> list[Path]:
        """Where to look for its tokenizer: beside it, then among installed models."""
        return [self.folder, *(model.folder for model in installed_models())]


def resolve(source: str, adapters: Sequence[str] = ()) -> tuple[ModelSource, tuple[Path, ...]]:
    """Find a base and its adapters.

    Args:
        source: ``demo``, a folder, a file, an installed model's name or hub id; ``BASE+ADAPTER`` puts an adapter on
            top. An adapter alone brings the base that its card names.
        adapters: further ones, found the same way.

    Raises:
        ModelError: something is not there, or an adapter names no base.
    """
    from MedSAM3SegmentLib.checkpoints.lora import is_adapter

    pieces = pieces_of(source)
    paths = [find(piece.strip()) for piece in (*pieces, *adapters)]
    if is_adapter(_weights_or_folder(paths[0])):
        base = _base_of(paths[0])
        if not base:
            raise ModelError(
                "The model '{adapter}' is an adapter and does not say on which base; name the base first, as in "
                "'sam3+{adapter}'.",
                adapter=pieces[0],
            )
        paths.insert(0, find(base))
    for path in paths[1:]:
        if not is_adapter(_weights_or_folder(path)):
            raise ModelError(
                "The model {path} is not an adapter; only adapters can be put on top of a base.", path=path
            )
    base_path = paths[0]
    folder = base_path if base_path.is_dir() else base_path.parent
    return ModelSource(find_weights(base_path), folder), tuple(_weights_or_folder(path) for path in paths[1:])


def pieces_of(source: str) -> tuple[str, ...]:
    """The base and the adapters that a ``--model`` value names; a path that exists is one, also with a ``+`` in it."""
    return (source,) if Path(source).expanduser().exists() else names_in(source)


def names_in(source: str) -> tuple[str, ...]:
    """``BASE+ADAPTER`` taken apart without a look at any disk."""
    return tuple(piece.strip() for piece in re.split(r"\+(?!$)", source))


def is_hub_id(text: str) -> bool:
    """Whether a text has the form ``OWNER/NAME`` of the hub; ``./NAME`` and the like can only be paths."""
    return bool(re.fullmatch(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", text, re.ASCII)) and not re.search(r"--|\.\.", text)


def with_whole_paths(source: str) -> str:
    """A ``--model`` value for a process that runs in another folder: every path that exists here is absolute."""
    pieces = [(piece, Path(piece).expanduser()) for piece in pieces_of(source)]
    return "+".join(str(path.absolute()) if piece != DEMO and path.exists() else piece for piece, path in pieces)


def find(source: str) -> Path:
    """The file or folder that one name stands for.

    Raises:
        ModelError: it is not on this machine; says how to get it.
    """
    if source == DEMO:
        from MedSAM3SegmentLib.resources import resource_path

        return resource_path("demo-model")
    path = Path(source).expanduser()
    if path.exists():
        return path
    installed = find_installed(source)
    if installed is not None:
        return installed
    from .catalog import find_known

    known = find_known(source)
    if known is not None:
        installed = find_installed(known.name)
        if installed is not None:
            return installed
    if known is not None or is_hub_id(source):
        raise ModelError(
            "The model '{source}' is not installed; run 'medsam3 models add {source}' first.", source=source
        )
    raise ModelError(
        "The model '{source}' is neither a file, a folder nor an installed model; check it, or see 'medsam3 "
        "models list'.",
        source=source,
    )


def find_weights(path: Path) -> Path:
    """The weight file of a model folder; a file is its own.

    Raises:
        ModelError: there is none, or it is not clear which.
    """
    if path.is_file():
        return path
    for name in _USUAL_WEIGHTS:
        if (path / name).is_file():
            return path / name
    found = sorted(item for item in path.iterdir() if item.suffix in SAFETENSORS_ENDINGS + PYTORCH_ENDINGS)
    if not found:
        raise ModelError(
            "The model folder {path} has no weights ({file}); download it again.", path=path, file=_USUAL_WEIGHTS[0]
        )
    if len(found) > 1:
        names = ", ".join(item.name for item in found[:4])
        raise ModelError(
            "The model folder {path} has several weight files ({names}); name the one to use.", path=path, names=names
        )
    return found[0]


def name_of_folder(folder: Path) -> str:
    """What ``--model`` finds a model folder by; empty where it is neither the demo nor installed."""
    from MedSAM3SegmentLib.resources import resource_path

    whole = folder.resolve()
    if whole == resource_path("demo-model").resolve():
        return DEMO
    return whole.name if find_installed(whole.name) is not None and whole.parent == store_folder().resolve() else ""


def _weights_or_folder(path: Path) -> Path:
    """A PEFT folder as it is, else the weight file."""
    from MedSAM3SegmentLib.checkpoints.lora import PEFT_CONFIG

    return path if path.is_dir() and (path / PEFT_CONFIG).is_file() else find_weights(path)


def _base_of(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    return ModelCard.load(folder).base


def files_version(model: str) -> tuple[tuple[str, int, int], ...]:
    """Name, bytes and time of change of each file that a model is loaded from.

    Raises:
        ModelError: there is no such model, or no more.
    """
    base, adapters = resolve(model)
    files = {file for weights in (base.weights, *adapters) for file in _files_of(weights)}
    try:
        found = [(str(file), file.stat()) for file in sorted(files)]
    except OSError as error:
        raise ModelError(
            "The files of the model '{model}' cannot be read ({why}); check them.", model=model, why=str(error.strerror)
        ) from None
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


def _files_of(weights: Path) -> list[Path]:
    """Weights, and what lies beside them and says how they are used."""
    if weights.is_dir():
        return [file for file in weights.iterdir() if file.is_file()]
    shards = weights.parent.glob("*.safetensors") if weights.suffix == ".json" else ()
    return [weights, *shards, *weights.parent.glob("*.json")]


def installed_source(model: str) -> str:
    """What a remote client's model is found by: the demo or installed models, never a path.

    Raises:
        ModelError: nothing of that name is installed.
    """
    from .catalog import find_known

    if model == PICK_ADAPTER:
        return model
    found = []
    for name in names_in(model):
        known = find_known(name)
        folder: Path | None = find_installed(name) or (find_installed(known.name) if known is not None else None)
        if name != DEMO and folder is None:
            raise ModelError(
                "The model '{name}' is not installed on the engine's machine; choose another one there.", name=name
            )
        found.append(name if name == DEMO else str(folder))
    return "+".join(found)
