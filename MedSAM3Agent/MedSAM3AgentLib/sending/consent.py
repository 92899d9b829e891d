"""Who may be sent what: nothing leaves this computer without a yes for the host and the volume.

What would leave are pictures drawn from voxels, the request's words and measured numbers. Loopback is free. Pictures
that may have text burnt into them need a second yes. An institution can allow hosts, or none, by a policy file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.volume import Volume

#: DICOM modalities whose pictures usually have text in them.
_WITH_TEXT = frozenset({"US", "SC", "OT", "XC", "ES", "IVUS", "DOC", "GM", "SM", "OP", "RF", "XA"})


def site_policy() -> Path:
    """Where an institution's policy for all users of this computer lies."""
    if sys.platform == "win32":
        return Path(os.environ.get("PROGRAMDATA", "C:/ProgramData")) / "MedSAM3" / "agent-policy.json"
    return Path("/etc/medsam3/agent-policy.json")


@dataclass(frozen=True)
class Policy:
    """What an institution allows.

    Attributes:
        hosts: that may be sent to, or None for any that the user agrees to; none where it is empty.
        source: the file, for messages.
    """

    hosts: frozenset[str] | None = None
    source: str = ""

    @classmethod
    def read(cls, path: Path) -> Policy:
        """The policy in a JSON file: ``{"allowed_hosts": ["llm.hospital.example"]}``.

        Raises:
            InputError: it cannot be read; nothing is allowed by a broken policy.
        """
        try:
            data = json.loads(path.read_bytes())
            hosts = data["allowed_hosts"]
            if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
                raise TypeError
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                "The policy {path} cannot be read; it is JSON with 'allowed_hosts', a list of host names.", path=path
            ) from None
        return cls(frozenset(host.lower() for host in hosts), str(path))

    def both(self, other: Policy) -> Policy:
        """What both allow."""
        if self.hosts is None:
            return other
        if other.hosts is None:
            return self
        return Policy(self.hosts & other.hosts, self.source)


@dataclass(eq=False)
class Consent:
    """What was agreed to in this session.

    Attributes:
        policy: of the institution.
    """

    policy: Policy = Policy()
    _agreed: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, path: Path | None = None) -> Consent:
        """With the site's policy and that in ``path``, where there are any.

        Raises:
            InputError: a policy cannot be read.
        """
        policy = Policy.read(site_policy()) if site_policy().exists() else Policy()
        return cls(policy if path is None else policy.both(Policy.read(path)))

    def narrowed(self, policy: Policy) -> Consent:
        """The same consent under one more policy; what is agreed to under either is agreed to."""
        return Consent(self.policy.both(policy), self._agreed)

    def check_policy(self, host: str) -> None:
        """Make sure that the institution allows a host.

        Raises:
            InputError: it does not.
        """
        if self.policy.hosts is not None and host.lower() not in self.policy.hosts:
            raise InputError(
                "The policy {policy} does not allow to send anything to {host}; use the rules or a model on this "
                "computer.",
                policy=self.policy.source,
                host=host,
            )

    def agree(self, host: str, volume: Volume) -> None:
        """Note that the user agreed, having seen the picture and the words that would be sent."""
        self.check_policy(host)
        self._agreed.add((host.lower(), volume.content_hash))

    def is_agreed(self, host: str, volume: Volume) -> bool:
        """Whether the user agreed for this host and this very volume."""
        return (host.lower(), volume.content_hash) in self._agreed

    def check_shell(
        self,
        host: str,
        is_loopback: bool,
        volume: Volume,
        allowed: Sequence[str],
        tags: Mapping[str, str] | None = None,
        *,
        text_is_allowed: bool = False,
    ) -> None:
        """The shell's yes: the host must be named after ``--allow-sending``.

        Args:
            tags: DICOM elements of the input by keyword, or None.
            text_is_allowed: the second yes, for pictures that may have text in them.

        Raises:
            InputError: something is missing for a yes.
        """
        if is_loopback:
            return
        self.check_policy(host)
        if host.lower() not in {one.lower() for one in allowed}:
            raise InputError(
                "Pictures drawn from {volume}, the request's words and measured numbers would leave this computer for "
                "{host}; repeat with --allow-sending {host} if that is allowed.",
                volume="this volume",
                host=host,
            )
        doubt = text_in_pictures(volume, tags or {})
        if doubt is not None and not text_is_allowed:
            raise InputError(
                "{doubt} Nothing is sent to {host}; look at it, and repeat with --allow-text-in-pictures if it shows "
                "no name.",
                doubt=doubt,
                host=host,
            )
        self.agree(host, volume)


#: The elements that tell of text in pictures.
_TAGS = {"BurnedInAnnotation": 0x00280301, "ImageType": 0x00080008, "Modality": 0x00080060}

#: Files of a folder that are tried until one tells.
_LOOKED_AT = 50


def text_in_pictures(volume: Volume, tags: Mapping[str, str]) -> Message | None:
    """Why the pictures may have text burnt into them, such as a name; None where nothing speaks for it.

    Args:
        tags: DICOM elements by keyword, as ``dicom_tags`` has them.
    """
    if tags.get("BurnedInAnnotation", "").strip(" \0").upper() == "YES":
        return message("The image says that it has burnt-in annotation.")
    kinds = {part.strip(" \0").upper() for part in tags.get("ImageType", "").split("\\")}
    if "SECONDARY" in kinds or "SCREEN SAVE" in kinds:
        return message("The image is a secondary capture, which may have text in it.")
    modality = (volume.modality or tags.get("Modality", "")).strip(" \0").upper()
    if modality in _WITH_TEXT:
        return message("Images of the modality {modality} often have text in them.", modality=modality)
    if volume.is_color or volume.is_sequence:
        return message("Color pictures and films often have text in them.")
    if not modality and volume.array.dtype == np.uint8:
        return message("The image is an 8-bit picture and may have text in it.")
    return None


def dicom_tags(path: Path) -> Mapping[str, str]:
    """The elements of a DICOM file, or of one in a folder or archive, that tell of burnt-in text, by keyword.

    None where it is no DICOM.

    Raises:
        InputError: an archive is damaged, or a header is nested too deeply.
    """
    from MedSAM3SegmentLib.io.dicom.archive import unpacked
    from MedSAM3SegmentLib.io.dicom.elements import text
    from MedSAM3SegmentLib.io.dicom.find_files import find_dicom_files, is_dicom, is_dicom_archive
    from MedSAM3SegmentLib.io.dicom.image_header import read_elements, read_header

    if is_dicom_archive(path):
        with unpacked(path) as folder:
            return dicom_tags(folder)
    files = find_dicom_files(path)[:_LOOKED_AT] if path.is_dir() else [path] if is_dicom(path) else []
    for header in filter(None, map(read_header, files)):
        data = read_elements(header, tuple(_TAGS.values()))
        return {keyword: text(data, keyword) for keyword in _TAGS}
    return {}
