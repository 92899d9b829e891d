"""Models on the Hugging Face hub: what a repository holds, and its files on this machine.

Tokens, proxies, the endpoint and offline mode are huggingface_hub's own affair (``HF_TOKEN`` or ``hf auth login``,
``HTTPS_PROXY``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``); nothing here reads or prints a token.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.checkpoints.hashing import file_sha256
from MedSAM3SegmentLib.errors import Cancelled, ModelError
from MedSAM3SegmentLib.messages.message import message

#: What a repository of an unknown model is searched for. A PyTorch file is only taken where there is no safetensors.
_USUAL = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "medsam3_model.json",
    "checksums.json",
    "image-summary.json",
    "LICENSE*",
)
_PYTORCH = ("*.pt", "*.pth", "*.bin")

#: Files of a tokenizer.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
        sha256: empty for small files, which the hub does not hash that way.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class HubModel:
    """The files of a repository that are needed, at one revision.

    Attributes:
        license: as the repository states it; empty if it does not.
    """

    hub_id: str
    revision: str
    licence: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def describe(hub_id: str, patterns: Sequence[str] = ()) -> HubModel:
    """Ask the hub what a repository holds.

    Args:
        patterns: names or patterns of the files that are needed; by default what models usually consist of.

    Raises:
        ModelError: it cannot be reached, does not exist, or access was not granted; says what to do.
    """
    from huggingface_hub import HfApi

    with _explained(hub_id):
        info = HfApi(endpoint=_endpoint()).model_info(hub_id, files_metadata=True)
    found = tuple(
        HubFile(item.rfilename, int(item.size or 0), item.lfs.sha256 if item.lfs else "")
        for item in info.siblings or ()
        if "/" not in item.rfilename
    )
    files = _matching(found, patterns or _USUAL)
    if not patterns and not any(file.name.endswith(".safetensors") for file in files):
        files += _matching(found, _PYTORCH)
    if not any(file.name.endswith((".safetensors", ".pt", ".pth", ".bin")) for file in files):
        wanted = patterns[0] if patterns else message("weights")
        raise ModelError(
            "The repository {hub_id} holds no {wanted}; look there for the file's new name.",
            hub_id=hub_id,
            wanted=wanted,
        )
    licence = getattr(info.card_data, "license", None) or ""
    return HubModel(hub_id, str(info.sha), str(licence), files)


def download(
    model: HubModel,
    folder: Path,
    *,
    progress: Callable[[str, int], None] | None = None,
) -> None:
    """Fetch a repository's files; what a broken-off attempt left is completed, and hashes are compared.

    One file after the other, in the calling thread, which Ctrl-C ends at once. huggingface_hub's ``snapshot_download``
    lets it through only when its threads are done, gigabytes later, and tells no file's name.

    Args:
        progress: told the file and how many bytes more of it are there.

    Raises:
        ModelError: the hub cannot be reached, refused, or sent something else than it promised.
        Cancelled: Ctrl-C came; what is there stays for next time.
    """
    from huggingface_hub import hf_hub_download

    arrived: Counter[str] = Counter()

    def count(name: str, more: int) -> None:
        arrived[name] += more
        if progress is not None:
            progress(name, more)

    for file in model.files:
        try:
            with _explained(model.hub_id):
                hf_hub_download(
                    model.hub_id,
                    file.name,
                    revision=model.revision,
                    local_dir=folder,
                    endpoint=_endpoint(),
                    tqdm_class=_counter(file.name, count),
                )
        except KeyboardInterrupt:
            raise Cancelled(
                "The download of {hub_id} was stopped; it goes on from there next time.", hub_id=model.hub_id
            ) from None
        # Of what was there before, nothing was counted.
        count(file.name, max(0, file.size - arrived[file.name]))
        path = folder / file.name
        if file.sha256 and file_sha256(path) != file.sha256:
            path.unlink()
            raise ModelError(
                "The file {file} of {hub_id} arrived damaged and was deleted; try again.",
                file=file.name,
                hub_id=model.hub_id,
            )


def _counter(name: str, count: Callable[[str, int], None]) -> Any:
    """A progress bar, as huggingface_hub wants one, that draws nothing and passes the bytes on."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class ByteCounter(tqdm):  # type: ignore[misc, type-arg, unused-ignore]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            self.update(int(options.get("initial") or 0))

        def update(self, n: float | None = 1) -> bool | None:
            count(name, int(n or 0))
            return None

        # A bar that has these is not given a second one, whose bytes would be counted twice.
        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes that came over the network; ``update`` counts them once they are in the file."""

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            """How fast."""

    return ByteCounter


def tokenizer_of(hub_id: str) -> HubModel:
    """A repository's tokenizer alone.

    Raises:
        ModelError: as ``describe``.
    """
    from huggingface_hub import HfApi

    with _explained(hub_id):
        info = HfApi(endpoint=_endpoint()).model_info(hub_id, files_metadata=True)
    found = tuple(HubFile(item.rfilename, int(item.size or 0), "") for item in info.siblings or ())
    return HubModel(hub_id, str(info.sha), "", _matching(found, TOKENIZER_FILES))


def _matching(files: Sequence[HubFile], patterns: Sequence[str]) -> tuple[HubFile, ...]:
    return tuple(file for file in files if any(fnmatch(file.name, pattern) for pattern in patterns))


def _endpoint() -> str | None:
    # Read now and not when huggingface_hub was first imported.
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _explained(hub_id: str) -> Iterator[None]:
    """Turn huggingface_hub's errors into one sentence that says what to do."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{hub_id}"
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise ModelError(
            "HF_HUB_OFFLINE is set, so {hub_id} cannot be fetched; unset it, or add the model from a folder.",
            hub_id=hub_id,
        ) from None
    except errors.GatedRepoError:
        raise ModelError(
            "Access to {hub_id} must be granted by its makers: ask for it on {page}, then sign in with 'hf auth "
            "login' or put your token into the environment variable HF_TOKEN; or add a folder that you already "
            "have.",
            hub_id=hub_id,
            page=page,
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            "There is no {hub_id} on the hub, or it is private; check the name, or sign in with 'hf auth login'.",
            hub_id=hub_id,
        ) from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            "{hub_id} could not be fetched ({first}); check the connection (behind a proxy set HTTPS_PROXY) and "
            "try again, or add the model from a folder.",
            hub_id=hub_id,
            first=first,
        ) from None
    except Exception as error:
        # The HTTP library's own errors, whatever library this version of huggingface_hub uses.
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            raise
        raise ModelError(
            "The hub could not be reached for {hub_id} ({kind}); check the connection (behind a proxy set "
            "HTTPS_PROXY) and try again, or add the model from a folder.",
            hub_id=hub_id,
            kind=type(error).__name__,
        ) from None
