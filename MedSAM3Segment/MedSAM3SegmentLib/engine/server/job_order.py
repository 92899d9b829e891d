"""A job's order as a service takes it: read, and refused where it asks for what no run can do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from MedSAM3SegmentLib.engine.protocol.codec import decode
from MedSAM3SegmentLib.engine.protocol.messages import JobRequest, QuestionRequest
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.volume import Volume

#: Most bytes of a job's order, unpacked: masks are sent as bits.
MAX_REQUEST_BYTES = 256 * 2**20

#: Most bytes of it that are no masks; what Python makes of them takes many times as much.
_MAX_TEXT_BYTES = 16 * 2**20

#: Most bytes of a question, unpacked: a page of pictures, and words.
MAX_QUESTION_BYTES = 32 * 2**20

#: Most concepts of a request; the whole vocabulary has fewer. Each has two arrays as large as the volume in the answer.
MOST_CONCEPTS = 1000

#: Most characters of a phrase.
_LONGEST_PHRASE = 1000

#: What clients choose for jobs and for themselves, and send as a challenge.
ID = re.compile(r"[0-9a-f]{32}")


def read_order(data: bytes, most_bytes: int) -> JobRequest:
    """A job's order.

    Args:
        data: as it was sent.
        most_bytes: what its masks may have, unpacked.

    Raises:
        InputError: it is damaged, or asks for what no run can do.
    """
    order = decode(data, JobRequest, most_bytes, finite=True, most_text=_MAX_TEXT_BYTES)
    if not ID.fullmatch(order.id) or not ID.fullmatch(order.client):
        raise InputError("A job's id and its client have 32 hexadecimal digits; send them.")
    if not order.model.isprintable() or not order.device.isprintable():
        raise InputError("The name of a model or a device holds odd characters; choose another one.")
    request = order.request
    if len(request.concepts) > MOST_CONCEPTS:
        raise InputError(
            "{count} concepts were asked for and the engine takes {most} at a time; ask for fewer.",
            count=len(request.concepts),
            most=MOST_CONCEPTS,
        )
    phrases = (*request.concepts, *([request.inside] if isinstance(request.inside, str) else []))
    if any(len(phrase) > _LONGEST_PHRASE for phrase in phrases):
        raise InputError(
            "A phrase is longer than the {most} characters that the engine takes; shorten it.", most=_LONGEST_PHRASE
        )
    return order


def read_question(data: bytes) -> QuestionRequest:
    """A question's order.

    Args:
        data: as it was sent.

    Raises:
        InputError: it is damaged, or no model can be asked it.
    """
    order = decode(data, QuestionRequest, MAX_QUESTION_BYTES, finite=True, most_text=_MAX_TEXT_BYTES)
    if not ID.fullmatch(order.id) or not ID.fullmatch(order.client):
        raise InputError("A job's id and its client have 32 hexadecimal digits; send them.")
    if not order.folder.isprintable() or not order.device.isprintable() or not order.folder:
        raise InputError("The name of a model or a device holds odd characters; choose another one.")
    return order


def check_masks(order: JobRequest, volume: Volume) -> None:
    """Refuse masks that were not drawn on the volume.

    Raises:
        InputError: a mask has another shape.
    """
    for mask in _masks(order):
        if mask.shape != volume.grid.shape:
            raise InputError(
                "A mask has shape {size}, its volume {volume_size}; draw it on this volume.",
                size=str(mask.shape),
                volume_size=str(volume.grid.shape),
            )


def _masks(order: JobRequest) -> Iterator[np.ndarray]:
    for prompts in order.request.prompts.values():
        yield from (mark.mask for mark in prompts.masks)
    if isinstance(order.request.inside, np.ndarray):
        yield order.request.inside
