"""What a client sends to a service, and the frames in which the service answers.

A job's events come as frames, a head and a packet each.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.language.question import LanguageQuestion
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.volume import Volume

from .arrays import DTYPES
from .codec import decode, encode
from .events import (
    Advanced,
    Answered,
    Done,
    Event,
    Failed,
    Loading,
    PartialArrived,
    Queued,
    TokensArrived,
    WasCancelled,
)

#: Changes when a client and a service of different versions would not understand each other.
PROTOCOL = 9

#: Longest frame that a client takes, packed.
_LONGEST_FRAME = 16 * 1024**3

#: Most characters of a modality; DICOM's codes have 16 at most.
_LONGEST_MODALITY = 64

#: A frame's head: which event (its place in ``_KINDS`` from 1, or 0 for none), its packet's length before it was
#: compressed (0 if it was not), and its length.
_HEAD = struct.Struct("<BQQ")

_KINDS: tuple[type[Any], ...] = (
    Queued, Loading, Advanced, PartialArrived, Done, Failed, WasCancelled, TokensArrived, Answered,
)  # fmt: skip

#: A frame that only says that the service lives.
SIGN_OF_LIFE = _HEAD.pack(0, 0, 0)


@dataclass(frozen=True, eq=False)
class VolumeUpload:
    """A volume that a job will name; the service says whether it has its voxels already.

    Attributes:
        content_hash: ``Volume.content_hash``, which the service computes again.
        dtype: numpy's name for the voxels' kind.
        shape: of the array, three axes or four.
        proof: what the client read in the service's proof file, or empty when it cannot.
    """

    content_hash: str
    dtype: str
    shape: tuple[int, ...]
    grid: VoxelGrid
    modality: str
    proof: str = ""

    def checked_size(self) -> int:
        """Bytes of the voxels.

        Raises:
            InputError: this cannot be a volume.
        """
        # In the client's byte order, since the hash is of the bytes.
        if self.dtype.replace(">", "<") not in DTYPES:
            raise InputError("The volume's voxels are of a kind that the engine does not take; convert it to float32.")
        if self.shape[:3] != self.grid.shape or any(not 0 <= n < 2**31 for n in self.shape):
            raise InputError("The volume's array does not fit its grid; send it again.")
        if len(self.shape) == 4 and (self.shape[3] != 3 or self.dtype != "|u1"):
            raise InputError("A colour volume must have three bytes a voxel; convert it.")
        if len(self.shape) not in (3, 4):
            raise InputError("A volume has three axes, or four with colour; send another one.")
        if len(self.modality) > _LONGEST_MODALITY or not self.modality.isprintable():
            raise InputError("The volume's modality is no code such as CT or MR; correct it.")
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, eq=False)
class VolumeRef:
    """A volume that was sent, as a job names it.

    Attributes:
        content_hash: by which the service has its voxels.
        name, messages, is_sequence: of ``Volume``; they are not part of its content.
    """

    content_hash: str
    name: str
    messages: tuple[Message, ...]
    is_sequence: bool

    @classmethod
    def of(cls, volume: Volume) -> VolumeRef:
        return cls(volume.content_hash, volume.name, volume.messages, volume.is_sequence)


@dataclass(frozen=True, eq=False)
class ExampleRequest:
    """An ``examples.Example`` whose volume was sent."""

    volume: VolumeRef
    mask: BoolMask
    slices: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class JobRequest:
    """A job as a client submits it.

    Attributes:
        id: 32 hexadecimal digits, chosen by the client.
        client: 32 hexadecimal digits; jobs of different clients take turns.
        volume: what is to be segmented.
        examples: what shows each concept in place of words, or nothing.
        model, device: as ``models.loading.load_model`` takes them.
        partials: whether partial results are wanted.
        compress: whether long answers are to be compressed.
        proof: as in ``VolumeUpload``; without it a model is named, not found by its path.
    """

    id: str
    client: str
    volume: VolumeRef
    examples: Mapping[str, tuple[ExampleRequest, ...]]
    model: str
    device: str
    partials: bool
    compress: bool
    proof: str
    request: SegmentRequest


@dataclass(frozen=True, eq=False)
class QuestionRequest:
    """A question to an image-text model as a client submits it.

    Attributes:
        id, client: as in ``JobRequest``.
        folder: of the model, on the disk that client and service share.
        device: as ``models.loading.load_model`` takes it.
        proof: as in ``VolumeUpload``; without it nothing is asked, since the folder is a path.
    """

    id: str
    client: str
    folder: str
    device: str
    proof: str
    question: LanguageQuestion


def encode_frame(event: Event, compress: bool) -> bytes:
    """An event as a service sends it."""
    packet = encode(event)
    kind, unpacked = _KINDS.index(type(event)) + 1, 0
    if compress:
        packet, unpacked = zlib.compress(packet, 1), len(packet)
    return _HEAD.pack(kind, unpacked, len(packet)) + packet


def read_events(pieces: Iterator[bytes]) -> Iterator[Event | None]:
    """The events in a stream of bytes, None for a sign of life.

    Raises:
        InputError: what comes is no event.
    """
    stream = _Stream(pieces)
    while head := stream.take(_HEAD.size):
        kind, unpacked, length = _HEAD.unpack(head)
        if kind > len(_KINDS) or max(unpacked, length) > _LONGEST_FRAME:
            raise InputError("The engine's answer cannot be understood; use the same version at both ends.")
        packet = stream.take(length)
        if len(packet) < length:
            return
        yield None if kind == 0 else _event_in(_KINDS[kind - 1], packet, unpacked)


class _Stream:
    """Bytes that come in pieces, taken in lengths of one's own; each is copied once, also where it is a long answer."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def take(self, length: int) -> memoryview:
        """The next bytes; none where the stream ends before them."""
        # Not a bytearray: filling half a gigabyte with zeros would hold up all other threads.
        taken = np.empty(length, np.uint8).data
        filled = 0
        while filled < length:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    return taken[:0]
                self._rest = memoryview(piece)
            part = self._rest[: length - filled]
            taken[filled : filled + len(part)] = part
            filled += len(part)
            self._rest = self._rest[len(part) :]
        return taken


def _event_in(kind: type[Any], packet: memoryview, unpacked: int) -> Event:
    try:
        event: Event = decode(zlib.decompress(packet, bufsize=unpacked) if unpacked else packet, kind)
    except zlib.error:
        raise InputError("The engine's answer is damaged; try again.") from None
    return event


#: Beginning of the name of a store's folder, and the name of its proof file; clients look for them.
FOLDER_PREFIX = "medsam3-volumes-"


PROOF_NAME = "proof"
