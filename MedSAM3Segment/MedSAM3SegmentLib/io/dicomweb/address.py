"""Where a DICOMweb service is, and which study and series of it are meant."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from MedSAM3SegmentLib.errors import InputError

_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class DicomwebAddress:
    """What an address such as ``https://pacs.example/dicom-web/studies/1.2/series/1.2.3`` says.

    Attributes:
        service: the address of the service, up to ``/studies``.
        host: its name, for sentences.
        study, series: instance UIDs, "" where the address names none.
    """

    service: str
    host: str
    study: str = ""
    series: str = ""

    @classmethod
    def parse(cls, text: str) -> DicomwebAddress:
        """Read an address.

        Raises:
            InputError: it is none, holds a login, or patients' data would go in the clear.
        """
        try:
            parts = urlsplit(text)
            port_fits = parts.port is None or parts.port > 0
        except ValueError:
            raise _none(text) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits:
            raise _none(text)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise InputError(
                "The address of the DICOMweb service at {host} holds a login or a query; leave it out, and put the "
                "login into MEDSAM3_DICOMWEB_TOKEN or MEDSAM3_DICOMWEB_LOGIN.",
                host=parts.hostname,
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise InputError(
                "The DICOMweb service at {host} is on another computer; use an address with https://.",
                host=parts.hostname,
            )
        prefix, *behind = re.split(r"/studies(?:/|$)", parts.path.rstrip("/"), maxsplit=1)
        study, series = "", ""
        if behind and behind[0]:
            named = re.fullmatch(r"([^/]+)(?:/series/([^/]+))?", behind[0])
            if named is None:
                raise _none(text)
            study, series = named[1], named[2] or ""
            for uid in filter(None, (study, series)):
                check_uid(uid)
        return cls(f"{parts.scheme}://{parts.netloc}{prefix}", parts.hostname, study, series)


def is_web_address(text: str) -> bool:
    """Whether an input is an address and no path."""
    return text.lower().startswith(("http://", "https://"))


def is_loopback(host: str) -> bool:
    """Whether a host is this computer; an address in the local network counts as elsewhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_uid(text: str) -> None:
    """Make sure that a text can be a UID.

    Raises:
        InputError: it cannot.
    """
    if not _UID.fullmatch(text):
        raise InputError("'{text}' is no DICOM UID; give the one that the PACS has.", text=text)


def _none(text: str) -> InputError:
    return InputError(
        "'{text}' is no address of a DICOMweb service; give one such as "
        "https://pacs.example/dicom-web/studies/1.2.3/series/1.2.4.",
        text=text.split("@")[-1],
    )
