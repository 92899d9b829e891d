"""Weight files as they are published: safetensors (also in shards) and PyTorch's own, opened without copying.

Files are memory-mapped. Pickles are only ever read with ``weights_only``, which refuses any that carry code.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from MedSAM3SegmentLib.errors import ModelError

from .weight_endings import PYTORCH_ENDINGS, SAFETENSORS_ENDINGS

#: Bytes read through one mapping of a safetensors file before it is mapped anew, which lets go of the pages read.
WINDOW_BYTES = 64 * 2**20

_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

#: The same for PyTorch's files, whose table of contents takes longer to read.
PICKLE_WINDOW_BYTES = 256 * 2**20


class WeightFile(Protocol):
    """Named tensors in one or more files.

    Attributes:
        path: the file a user would name.
        files: all files that hold tensors.
        shapes: of every tensor.
        dtypes: number formats that occur, integers and complex tables aside.
    """

    @property
    def path(self) -> Path: ...

    @property
    def files(self) -> tuple[Path, ...]: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    @property
    def dtypes(self) -> set[torch.dtype]: ...

    def read(self, names: Iterable[str], *, keep_mapped: bool) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors of ``names``, in an order of the file's own.

        Args:
            keep_mapped: True where the tensors are kept as they are; False where each is used up before the next one
                is asked for, so that pages already read can be let go.
        """
        ...


class SafetensorsFile:
    """One safetensors file, or several with an index; see ``WeightFile``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file_of: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: set[torch.dtype] = set()
        for file in self._shards(path):
            with _safetensors(file) as handle:
                for name in handle.keys():  # noqa: SIM118 (a handle, not a mapping)
                    self._file_of[name] = file
                    stored = handle.get_slice(name)
                    self.shapes[name] = tuple(stored.get_shape())
                    if stored.get_dtype() in _FLOATS:
                        self.dtypes.add(_FLOATS[stored.get_dtype()])
        self.files = tuple(dict.fromkeys(self._file_of.values())) or (path,)

    @staticmethod
    def _shards(path: Path) -> list[Path]:
        if path.suffix != ".json":
            return [path]
        try:
            names = dict.fromkeys(json.loads(path.read_bytes())["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                "The weight index {path} cannot be read ({why}); download it again.", path=path, why=str(error)
            ) from error
        shards = [path.parent / Path(name).name for name in names]
        for shard in shards:
            if not shard.is_file():
                raise ModelError(
                    "The weight file {shard}, named in {file}, is missing; download it again.",
                    shard=shard,
                    file=path.name,
                )
        return shards

    def read(self, names: Iterable[str], *, keep_mapped: bool) -> Iterator[tuple[str, torch.Tensor]]:
        wanted: dict[Path, list[str]] = {}
        for name in names:
            wanted.setdefault(self._file_of[name], []).append(name)
        for file, inside in wanted.items():
            remaining = iter(inside)
            for name in remaining:
                with _safetensors(file) as handle:
                    yielded = 0
                    while True:
                        tensor = handle.get_tensor(name)
                        yielded += tensor.nbytes
                        yield name, tensor
                        del tensor
                        if (not keep_mapped and yielded >= WINDOW_BYTES) or (name := next(remaining, "")) == "":
                            break


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(path), framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelError(
            "The weight file {path} is truncated or not a safetensors file ({why}); download it again.",
            path=path,
            why=str(error),
        ) from error


class PyTorchFile:
    """A file written with ``torch.save``; see ``WeightFile``.

    The tensors may lie bare or under ``model`` or ``state_dict``; an optimiser's and other entries beside them are left
    alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = (path,)
        tensors = self._open()
        # Only the zip format of PyTorch 1.6 and later can be mapped, and so opened again at no cost.
        self._kept = None if zipfile.is_zipfile(path) else tensors
        self.shapes: dict[str, tuple[int, ...]] = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self.dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}

    def _open(self) -> dict[str, torch.Tensor]:
        return _state_dict(_load_pickle(self.path), self.path)

    def read(self, names: Iterable[str], *, keep_mapped: bool) -> Iterator[tuple[str, torch.Tensor]]:
        tensors, read = self._kept or self._open(), 0
        for name in names:
            if not keep_mapped and self._kept is None and read >= PICKLE_WINDOW_BYTES:
                tensors, read = self._open(), 0
            read += tensors[name].nbytes
            yield name, tensors[name].detach()


def _load_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # About pickle protocols; what matters is raised.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code is None:
            raise ModelError(
                "The checkpoint {path} is corrupted or holds more than plain tensors, so it was not opened; "
                "download it again or ask its makers for a safetensors file.",
                path=path,
            ) from error
        raise ModelError(
            "The checkpoint {path} asks for '{code}' when it is opened and could run code, so it was not; ask "
            "its makers for a file of plain tensors or a safetensors file.",
            path=path,
            code=code[1],
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ModelError("The checkpoint {path} is truncated or corrupted; download it again.", path=path) from error


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    for wrapper in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not content:
        raise ModelError("The checkpoint {path} holds no named tensors; give a file of model weights.", path=path)
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                "The checkpoint {path} has an entry '{name}' that is not a tensor; give a file of weights.",
                path=path,
                name=name,
            )
    return content


def open_weights(path: Path) -> WeightFile:
    """Open a weight file by its ending.

    Raises:
        ModelError: it is missing, truncated, corrupted, carries code, or is of no known kind.
    """
    if not path.is_file():
        raise ModelError("The weight file {path} does not exist; check the path.", path=path)
    if path.suffix == ".json" or path.suffix in SAFETENSORS_ENDINGS:
        return SafetensorsFile(path)
    if path.suffix in PYTORCH_ENDINGS:
        return PyTorchFile(path)
    raise ModelError(
        "The file {path} is not a weight file of a known kind; give one that ends in {endings}.",
        path=path,
        endings=", ".join(SAFETENSORS_ENDINGS + PYTORCH_ENDINGS),
    )
