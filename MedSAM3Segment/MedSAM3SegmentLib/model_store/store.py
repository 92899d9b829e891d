"""Models installed on this machine: one folder each, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from MedSAM3SegmentLib.checkpoints.hashing import recorded_checksums
from MedSAM3SegmentLib.checkpoints.model_card import CARD_FILE, ModelCard
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_folder

#: Environment variable that moves the store.
STORE_VARIABLE = "MEDSAM3_MODELS"


@dataclass(frozen=True)
class InstalledModel:
    """A model in the store.

    Attributes:
        sha256: of its files by name.
    """

    name: str
    folder: Path
    card: ModelCard
    size: int
    sha256: dict[str, str]


def store_folder() -> Path:
    """Where models are installed: ``$MEDSAM3_MODELS``, else ``.medsam3/models`` in the home folder."""
    chosen = os.environ.get(STORE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".medsam3" / "models"


def replay_folder(adapter: str) -> Path:
    """Where slices of what an adapter learnt are kept; hidden, so that it is no model's and nothing exports it."""
    return store_folder() / ".replay" / adapter


def replay_bytes(adapter: str) -> int:
    """Bytes on the disk of what is kept of what an adapter learnt."""
    return sum(file.stat().st_size for file in replay_folder(adapter).glob("*.npz"))


def remove_replay(adapter: str) -> bool:
    """Delete what is kept of what an adapter learnt; whether there was any."""
    folder = replay_folder(adapter)
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True


def installed_models() -> list[InstalledModel]:
    """All models in the store, by name.

    Raises:
        ModelError: a card or a record of hashes cannot be read.
    """
    store = store_folder()
    # What is on its way lies in a folder whose name no model may have.
    folders = sorted(path for path in store.iterdir() if _is_plain(path.name)) if store.is_dir() else []
    return [_installed(folder) for folder in folders if (folder / CARD_FILE).is_file()]


def installed_adapters() -> list[InstalledModel]:
    """The adapters in the store, by name.

    Raises:
        ModelError: a card or a record of hashes cannot be read.
    """
    # MedSAM-3's own format has no configuration.
    return [one for one in installed_models() if (one.folder / "adapter_config.json").is_file() or one.card.base]


def find_installed(name: str) -> Path | None:
    """The folder of an installed model, by its name or the hub id it came from; None if there is none."""
    folder = store_folder() / name
    if _is_plain(name) and (folder / CARD_FILE).is_file():
        return folder
    return next((model.folder for model in installed_models() if model.card.source == f"hub:{name}"), None)


def check_new_name(name: str) -> None:
    """Refuse a name that is taken or cannot be a folder's.

    Raises:
        InputError: saying which.
    """
    if not _is_plain(name):
        raise InputError("The name '{name}' cannot be a folder's; use letters, digits, '-', '_' and '.'.", name=name)
    if (store_folder() / name).exists():
        raise InputError(
            "A model named '{name}' is installed already; remove it first or choose another name.", name=name
        )


@contextmanager
def new_model(name: str) -> Iterator[Path]:
    """A folder to fill, which becomes the model ``name`` when the block ends without an error.

    A folder left from an attempt that was broken off is found again, so that a download goes on where it stopped.

    Raises:
        InputError: the name is taken or cannot be a folder's.
    """
    check_new_name(name)
    with atomic_folder(store_folder() / name, goes_on=True) as draft:
        yield draft


def discard_draft(name: str) -> None:
    """Throw away what a broken-off attempt left."""
    shutil.rmtree(store_folder() / f".{name}.part", ignore_errors=True)


def remove_model(name: str) -> Path:
    """Delete an installed model and what was kept of what it learnt; what it was is returned.

    Raises:
        InputError: there is none of that name.
    """
    folder = store_folder() / name
    if not _is_plain(name) or not (folder / CARD_FILE).is_file():
        raise InputError("No model named '{name}' is installed; see 'medsam3 models list'.", name=name)
    shutil.rmtree(folder)
    remove_replay(name)
    return folder


def _installed(folder: Path) -> InstalledModel:
    recorded = recorded_checksums(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return InstalledModel(folder.name, folder, ModelCard.load(folder), size, recorded["files"] if recorded else {})


def _is_plain(name: str) -> bool:
    return bool(name) and name[0] not in ".-" and all(letter.isalnum() or letter in "-_." for letter in name)
