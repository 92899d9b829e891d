"""The shell's options for a PACS that speaks DICOMweb: images from it, and objects back to it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.dicomweb.address import DicomwebAddress, is_web_address
from MedSAM3SegmentLib.io.segmentation_paths import DICOM_SUFFIXES, suffix_of

if TYPE_CHECKING:
    from MedSAM3SegmentLib.io.dicomweb.server import DicomwebServer


def add_dicomweb_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--store`` and ``--dicomweb-certificate``."""
    group = parser.add_argument_group(
        "images from a PACS (DICOMweb)",
        "A token, or user:password, is read from MEDSAM3_DICOMWEB_TOKEN or MEDSAM3_DICOMWEB_LOGIN; of another server "
        "to store to, from MEDSAM3_DICOMWEB_STORE_TOKEN or MEDSAM3_DICOMWEB_STORE_LOGIN.",
    )
    group.add_argument(
        "--store",
        metavar="URL",
        type=parse_address,
        help="also store the DICOM objects that are written on this service; they leave this computer for it",
    )
    group.add_argument(
        "--dicomweb-certificate", metavar="PEM", type=Path, help="of the authority that signed the server's"
    )


def add_query_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--query``."""
    parser.add_argument(
        "--query",
        metavar="KEYWORD=VALUE",
        action="append",
        default=[],
        help="only series of a PACS that match, by DICOM keyword, as StudyDate=20240101-20240131 or PatientID=17; may "
        "be repeated",
    )


def parse_query(texts: Sequence[str]) -> dict[str, str]:
    """The values of ``--query`` by their keywords.

    Raises:
        InputError: one is no pair, or DICOM has no such keyword.
    """
    from pydicom.datadict import tag_for_keyword

    pairs = {}
    for text in texts:
        keyword, sign, value = text.partition("=")
        if not sign or not value or tag_for_keyword(keyword) is None:
            raise InputError(
                "'{text}' is no query; give a DICOM keyword and its value, such as StudyDate=20240101-20240131.",
                text=text,
            )
        pairs[keyword] = value
    return pairs


def parse_address(text: str) -> DicomwebAddress:
    """An address, for argparse."""
    try:
        return DicomwebAddress.parse(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_input(text: str) -> Path | DicomwebAddress:
    """A path or an address, for argparse."""
    return parse_address(text) if is_web_address(text) else Path(text)


def connect(options: argparse.Namespace, address: DicomwebAddress, is_for_storing: bool = False) -> DicomwebServer:
    """The server at an address.

    Raises:
        MedSAM3Error: it cannot be spoken to, in words.
    """
    from MedSAM3SegmentLib.io.dicomweb.server import DicomwebServer

    return DicomwebServer(address, options.dicomweb_certificate, is_for_storing)


def connect_store(options: argparse.Namespace, suffix: str, *inputs: Path | DicomwebAddress) -> DicomwebServer | None:
    """The server that objects are stored on, once it has answered; None where none is asked for.

    Args:
        suffix: of the segmentations.
        inputs: whose servers' token or login is taken where objects go back to one of them.

    Raises:
        MedSAM3Error: the output is no DICOM, or the server does not answer.
    """
    if options.store is None:
        return None
    if suffix not in DICOM_SUFFIXES:
        raise InputError("A PACS takes DICOM objects only; end the output in .dcm, or leave --store out.")
    hosts = {one.host for one in inputs if isinstance(one, DicomwebAddress)}
    server = connect(options, options.store, bool(hosts) and options.store.host not in hosts)
    server.check()
    return server


@contextmanager
def local_image(options: argparse.Namespace, terminal: Terminal) -> Iterator[tuple[Path, str | None]]:
    """The image as files, fetched where it lies on a PACS, and which series of them is meant.

    What was fetched is removed at the end.

    Raises:
        MedSAM3Error: it cannot be fetched.
    """
    if isinstance(options.input, Path):
        yield options.input, options.series
        return
    from MedSAM3SegmentLib.io.dicomweb.choose_series import choose_series

    server = connect(options, options.input)
    with terminal.busy(f"asking {server.address.host}"):
        chosen = choose_series(server, options.input, options.series)
    with tempfile.TemporaryDirectory(prefix="medsam3-") as place:
        # Results name their image after its folder.
        folder = Path(place, chosen.series)
        folder.mkdir()
        with terminal.busy(f"fetching {chosen.images or 'the'} images from {server.address.host}"):
            count = server.fetch_series(chosen.study, chosen.series, folder)
        terminal.note(f"Fetched {count} images from {server.address.host}.")
        yield folder, None


def store_files(server: DicomwebServer | None, files: Sequence[Path], terminal: Terminal) -> None:
    """Store the DICOM objects among files, where a server was given.

    Raises:
        InputError: the server does not take them; the files stay.
    """
    objects = [file for file in files if suffix_of(file) in DICOM_SUFFIXES]
    if server is None or not objects:
        return
    with terminal.busy(f"storing on {server.address.host}"):
        server.store(objects)
    terminal.result(f"Stored {', '.join(file.name for file in objects)} on {server.address.host}.")
