"""From a path or a hub id to an installed model: what it will be is shown first, then it is fetched and checked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from MedSAM3SegmentLib.adapters.image_summary import SUMMARY_FILE
from MedSAM3SegmentLib.checkpoints.hashing import (
    CHECKSUM_FILE,
    check_files,
    file_sha256,
    write_checksums,
)
from MedSAM3SegmentLib.checkpoints.model_card import CARD_FILE, ModelCard
from MedSAM3SegmentLib.errors import InputError, ModelError

from .catalog import KnownModel, find_known
from .hub import (
    HubModel,
    describe,
    download,
    tokenizer_of,
)
from .resolve import find_weights, is_hub_id
from .store import discard_draft, find_installed, new_model

#: What is copied beside the weights of a model folder.
_COMPANIONS = (
    "config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    CARD_FILE,
    CHECKSUM_FILE,
    SUMMARY_FILE,
)

#: Bytes that are copied at a time.
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class Installation:
    """What is about to be installed.

    Attributes:
        card: of the model once it is installed.
        size: bytes to copy or fetch.
        license_url: where the license can be read, if known.
        files: from a path.
        hub: from the hub, in the order they are fetched.
        sha256: of files whose content is known beforehand.
    """

    name: str
    card: ModelCard
    size: int
    licence_url: str = ""
    files: tuple[Path, ...] = ()
    hub: tuple[HubModel, ...] = ()
    known: KnownModel | None = None


def plan(source: str, name: str | None = None, base: str | None = None) -> Installation:
    """Find out what ``source`` is and how large.

    Args:
        source: a model folder, a weight file, a hub id, or the name of a known model.
        name: to install it under; by default the known name, or that of the folder, file or repository.
        base: for an adapter, the model it goes on top of.

    Raises:
        InputError: it is neither.
        ModelError: the hub cannot be reached or refused.
    """
    path = Path(source).expanduser()
    if path.exists():
        return _plan_path(path, name, base)
    known = find_known(source)
    if known is None and not is_hub_id(source):
        raise InputError("'{source}' is neither a file, a folder, a known model nor a hub id; check it.", source=source)
    hub_id = known.hub_id if known else source
    parts = [describe(hub_id, known.files if known else ())]
    if known and known.tokenizer:
        parts.append(tokenizer_of(known.tokenizer))
    own = name or (known.name if known else hub_id.partition("/")[2])
    card = known.card if known else ModelCard(name=own, licence=parts[0].licence, source=f"hub:{hub_id}")
    card = replace(card, name=own, base=base or card.base)
    size = sum(part.size for part in parts)
    url = known.licence_url if known else f"https://huggingface.co/{hub_id}"
    return Installation(own, card, size, url, hub=tuple(parts), known=known)


def install(installation: Installation, *, progress: Callable[[str, int], None] | None = None) -> Path:
    """Fetch or copy a model, check it whole, and put it into the store.

    Takes the model's size in memory and cannot be left but by Ctrl-C; ``install_process`` can.

    Args:
        progress: told the file and how many bytes more of it are there.

    Returns:
        Its folder.

    Raises:
        ModelError: it is incomplete, damaged or of an unsupported kind; nothing is installed.
        Cancelled: Ctrl-C came; a download goes on from there next time.
    """
    with new_model(installation.name) as draft:
        for part in installation.hub:
            download(part, draft, progress=progress)
        try:
            for file in installation.files:
                _copy(file, draft / file.name, progress)
            _check_known(installation, draft)
            check_files(draft)
            card = _own_card(installation, draft)
            card.save(draft)
            check_model(draft, card)
            write_checksums(draft)
        except BaseException:
            discard_draft(installation.name)
            raise
        shutil.rmtree(draft / ".cache", ignore_errors=True)  # The hub library's notes on unfinished files.
    folder = find_installed(installation.name)
    assert folder is not None
    return folder


def _copy(file: Path, target: Path, progress: Callable[[str, int], None] | None) -> None:
    with file.open("rb") as source, target.open("wb") as copy:
        while piece := source.read(_CHUNK_BYTES):
            copy.write(piece)
            if progress is not None:
                progress(file.name, len(piece))
    shutil.copystat(file, target)


def check_model(folder: Path, card: ModelCard) -> None:
    """Read a model or an adapter whole, as strictly as for a run.

    Raises:
        ModelError: naming file and key.
    """
    from MedSAM3SegmentLib.checkpoints.checkpoint import Checkpoint
    from MedSAM3SegmentLib.checkpoints.config import detector_config
    from MedSAM3SegmentLib.checkpoints.lora import PEFT_CONFIG, is_adapter, load_adapter
    from MedSAM3SegmentLib.checkpoints.networks import load_networks
    from MedSAM3SegmentLib.checkpoints.tokenizer import matching_tokenizer

    from .resolve import ModelSource

    if (folder / PEFT_CONFIG).is_file():
        load_adapter(folder)
        return
    weights = find_weights(folder)
    if is_adapter(weights):
        load_adapter(weights)
        if not card.base:
            raise InputError(
                "{file} is an adapter; say on which base it goes with --base, such as --base sam3.", file=weights.name
            )
        return
    checkpoint = Checkpoint.open(weights)
    # In the file's own format, so that nothing is copied.
    dtype = next(iter(checkpoint.file.dtypes))
    networks = load_networks(checkpoint, folder, device="cpu", dtype=dtype)
    matching_tokenizer(ModelSource(weights, folder).tokenizer_folders(), detector_config(networks.config), weights)


def _plan_path(path: Path, name: str | None, base: str | None) -> Installation:
    path = path.resolve()
    from MedSAM3SegmentLib.checkpoints.lora import PEFT_CONFIG, PEFT_WEIGHTS

    folder = path if path.is_dir() else path.parent
    if path.is_dir() and (path / PEFT_CONFIG).is_file():
        weights = [path / item for item in PEFT_WEIGHTS if (path / item).is_file()]
    else:
        weights = _all_files(find_weights(path))
    files = (*weights, *(folder / item for item in _COMPANIONS if (folder / item).is_file()))
    files = (*files, *sorted(folder.glob("LICENSE*")))
    own = name or re.sub(r"[^\w.-]", "-", path.name if path.is_dir() else path.stem)
    card = ModelCard.load(folder) if (folder / CARD_FILE).is_file() else _card_of_known_file(weights, own)
    card = replace(card, name=own, base=base or card.base, source=card.source or f"path:{path}")
    return Installation(own, card, sum(file.stat().st_size for file in files), files=tuple(files))


def _card_of_known_file(weights: list[Path], name: str) -> ModelCard:
    """The card of a published file that lies on this machine, told by its content."""
    from MedSAM3SegmentLib.checkpoints.lora import is_adapter

    from .catalog import known_models

    for known in known_models():
        for file in weights:
            expected = known.sha256.get(file.name)
            if expected is not None and file_sha256(file) == expected:
                return known.card
    if weights and weights[0].parent.joinpath("adapter_config.json").is_file():
        return ModelCard(name=name)
    if weights and is_adapter(weights[0]):
        from MedSAM3SegmentLib.checkpoints.lora import load_adapter

        return load_adapter(weights[0]).card
    return ModelCard(name=name)


def _all_files(weights: Path) -> list[Path]:
    from MedSAM3SegmentLib.checkpoints.weight_files import open_weights

    files = list(open_weights(weights).files)
    return files if weights in files else [weights, *files]


def _own_card(installation: Installation, draft: Path) -> ModelCard:
    """The planned card; what the folder's own card says of rules and training wins for an unknown model."""
    if installation.known is None and (draft / CARD_FILE).is_file():
        own = ModelCard.load(draft)
        planned = installation.card
        return replace(own, name=planned.name, base=planned.base, source=planned.source)
    return installation.card


def _check_known(installation: Installation, draft: Path) -> None:
    if installation.known is None:
        return
    for name, expected in installation.known.sha256.items():
        if (draft / name).is_file() and file_sha256(draft / name) != expected:
            raise ModelError(
                "The file {name} is not the one that was published as {model}; look on "
                "https://huggingface.co/{hub_id} for a new version.",
                name=name,
                model=installation.known.name,
                hub_id=installation.known.hub_id,
            )
