"""A PACS that speaks DICOMweb (DICOM PS3.18): series are looked for, fetched, and objects are stored.

By dicomweb-client; TLS or this computer only, no proxies, no saved logins, no redirects.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import Cancelled, InputError, PackageError

from .address import DicomwebAddress, check_uid

#: Where a token, or ``user:password``, is read from; they are never an argument and never written anywhere.
TOKEN_VARIABLE, LOGIN_VARIABLE = "MEDSAM3_DICOMWEB_TOKEN", "MEDSAM3_DICOMWEB_LOGIN"

#: The same for a server that is only stored to.
STORE_TOKEN_VARIABLE, STORE_LOGIN_VARIABLE = "MEDSAM3_DICOMWEB_STORE_TOKEN", "MEDSAM3_DICOMWEB_STORE_LOGIN"

#: Seconds: to connect, and to wait for the next bytes.
_TIMEOUT_S = (10.0, 120.0)

#: Answers of a search that are asked for at once.
_PAGE = 500

#: Attributes of a series that a search asks for (PS3.18, table 10.6.1-5, and the study above it).
_FIELDS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "SeriesNumber"),
    "NumberOfSeriesRelatedInstances",
)


#: What a search for series compares with the series itself (PS3.18, table 10.6.1-5).
_OF_SERIES = frozenset(
    "Modality SeriesInstanceUID SeriesNumber SeriesDescription SeriesDate BodyPartExamined ProtocolName StationName"
    " PerformedProcedureStepStartDate PerformedProcedureStepStartTime".split()
)


@dataclass(frozen=True)
class RemoteSeries:
    """A series that a search found.

    Attributes:
        study, series: instance UIDs.
        modality: DICOM's code, "" where the server does not say it.
        description: what somebody typed at the scanner; for the eyes of the user only.
        number: of the series in its study, "" where there is none.
        images: how many instances it has; 0 where the server does not say it.
    """

    study: str
    series: str
    modality: str = ""
    description: str = ""
    number: str = ""
    images: int = 0


class DicomwebServer:
    """One service.

    Args:
        address: of the service; the study in it is not looked at.
        certificate: PEM file of the authority that signed it, or None for the well-known ones.
        is_for_storing: take the token or login for a server that is only stored to.

    Raises:
        InputError: the certificate is not there.
        PackageError: dicomweb-client is not installed.
    """

    def __init__(self, address: DicomwebAddress, certificate: Path | None = None, is_for_storing: bool = False) -> None:
        if find_spec("dicomweb_client") is None:
            raise PackageError(
                "Speaking to a PACS needs the Python package {name}, which is not installed; "
                "pip install 'medsam3-slicer[dicomweb]'.",
                name="dicomweb-client",
            )
        if certificate is not None and not certificate.is_file():
            raise InputError("The certificate {path} does not exist; give a PEM file.", path=certificate)
        self.address = address
        self._given = certificate, is_for_storing
        self._secrets = (
            (STORE_TOKEN_VARIABLE, STORE_LOGIN_VARIABLE) if is_for_storing else (TOKEN_VARIABLE, LOGIN_VARIABLE)
        )
        self._client = self._make_client(certificate)

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process it is made anew: a token or login goes nowhere but to the server.
        return DicomwebServer, (self.address, *self._given)

    def find_series(self, study: str = "", filters: Mapping[str, str] | None = None) -> list[RemoteSeries]:
        """The series of a study, or all that match.

        Args:
            study: instance UID, "" for all.
            filters: values by DICOM keyword, such as ``{"StudyDate": "20240101-20240131"}``; of patients, studies and
                series.

        Raises:
            InputError: the server cannot be asked, or says no.
        """
        of_series = {name: value for name, value in (filters or {}).items() if name in _OF_SERIES}
        of_study = {name: value for name, value in (filters or {}).items() if name not in _OF_SERIES}
        if study or not of_study:
            return self._search_series(study, of_series | of_study)
        # Not every server compares what belongs to a patient in a search for series.
        studies = self._search(lambda page: self._client.search_for_studies(search_filters=of_study, **page))
        uids = dict.fromkeys(filter(None, (_text(data, "StudyInstanceUID") for data in studies)))
        return [one for uid in uids for one in self._search_series(uid, of_series)]

    def _search_series(self, study: str, filters: Mapping[str, str]) -> list[RemoteSeries]:
        found = self._search(
            lambda page: self._client.search_for_series(
                study_instance_uid=study or None, search_filters=dict(filters), fields=list(_FIELDS), **page
            )
        )
        return list(dict.fromkeys(filter(None, (_series_of(data, study) for data in found))))

    def _search(self, ask: Callable[[dict[str, int]], list[dict[str, Any]]]) -> list[Any]:
        """All answers of a search, page by page, as data sets."""
        import pydicom

        found: list[Any] = []
        while True:
            with self._failures():
                page = [pydicom.Dataset.from_json(one) for one in ask({"limit": _PAGE, "offset": len(found)})]
            # Some servers know neither limit nor offset and answer all of it each time.
            is_repeated = bool(found) and bool(page) and page[0] == found[0]
            if not is_repeated:
                found += page
            if is_repeated or len(page) < _PAGE:
                return found

    def fetch_series(self, study: str, series: str, folder: Path, cancel: Callable[[], bool] | None = None) -> int:
        """Write all instances of a series into a folder that is empty, as they are stored.

        Returns:
            How many.

        Raises:
            InputError: the server cannot be asked, says no, has no such series, or it breaks off.
            Cancelled: ``cancel`` said so, between two instances.
        """
        for uid in (study, series):
            check_uid(uid)
        count = 0
        with self._failures():
            # As it is stored: what is compressed stays so on the way.
            for data in self._client.iter_series(study, series, media_types=(("application/dicom", "*"),)):
                if cancel is not None and cancel():
                    raise Cancelled()
                data.save_as(folder / f"{count:06d}.dcm", enforce_file_format=True)
                count += 1
        if not count:
            raise InputError("{host} has no images of the series {series}.", host=self.address.host, series=series)
        return count

    def store(self, files: Sequence[Path]) -> None:
        """Store DICOM files on the server.

        Raises:
            InputError: the server cannot be asked, or does not take one of them.
        """
        import pydicom

        with self._failures():
            answer = self._client.store_instances([pydicom.dcmread(file) for file in files])
        refused = answer.get("FailedSOPSequence")
        if refused:
            raise InputError(
                "{host} did not take {count} of {total} objects (reason {reason}); they are in the output file.",
                host=self.address.host,
                count=len(refused),
                total=len(files),
                reason=str(refused[0].get("FailureReason", "not given")),
            )

    def check(self) -> None:
        """Make sure that the server answers, before a long run.

        Raises:
            InputError: it does not.
        """
        with self._failures():
            self._client.search_for_studies(limit=1)

    def _make_client(self, certificate: Path | None) -> Any:
        import requests
        from dicomweb_client import DICOMwebClient

        # It tells of UIDs at each step.
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
        session = requests.Session()
        session.trust_env = False
        session.max_redirects = 0
        if certificate is not None:
            session.verify = str(certificate)
        token, login = (os.environ.get(name, "") for name in self._secrets)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if login and not token:
            user, _, password = login.partition(":")
            session.auth = (user, password)
        client = DICOMwebClient(self.address.service, session=session, headers=headers, timeout=_TIMEOUT_S)
        client.set_http_retry_params(False)
        return client

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Say in one sentence what a server or its answer was not fit for."""
        import requests

        host = self.address.host
        try:
            yield
        except (Cancelled, InputError):
            raise
        except requests.exceptions.SSLError:
            raise InputError(
                "The certificate of {host} is not trusted; give that of its authority with --dicomweb-certificate.",
                host=host,
            ) from None
        except requests.TooManyRedirects:
            raise InputError(
                "{host} redirects elsewhere, which is not followed; give the final address.", host=host
            ) from None
        except requests.HTTPError as error:
            raise self._refusal(0 if error.response is None else error.response.status_code) from None
        except requests.Timeout:
            raise InputError("{host} does not answer; check the address and the network.", host=host) from None
        except requests.exceptions.JSONDecodeError:
            raise self._nonsense() from None
        except requests.RequestException:
            raise InputError(
                "{host} cannot be reached, or broke off; check the address and the network.", host=host
            ) from None
        except OSError as error:
            raise InputError(
                "What {host} sent cannot be written ({reason}); free some space.",
                host=host,
                reason=error.strerror or "no reason given",
            ) from None
        except Exception:
            # Whatever a stranger's bytes may raise in the readers of JSON, multipart messages and DICOM.
            raise self._nonsense() from None

    def _nonsense(self) -> InputError:
        return InputError(
            "{host} answers with something that is no DICOMweb; check the address, which ends before /studies.",
            host=self.address.host,
        )

    def _refusal(self, status: int) -> InputError:
        host = self.address.host
        if status in (401, 403):
            return InputError(
                "{host} refuses the login; put a token into {token}, or user:password into {login}.",
                host=host,
                token=self._secrets[0],
                login=self._secrets[1],
            )
        if status == 404:
            return InputError("{host} does not have it; check the address and the UIDs.", host=host)
        return InputError("{host} answers with the HTTP status {status}; ask who runs it.", host=host, status=status)


def _series_of(data: Any, study: str) -> RemoteSeries | None:
    """A series of a search's answer; None where it does not say which it is."""
    images = _text(data, "NumberOfSeriesRelatedInstances")
    one = RemoteSeries(
        _text(data, "StudyInstanceUID") or study,
        _text(data, "SeriesInstanceUID"),
        _text(data, "Modality").upper(),
        _text(data, "SeriesDescription"),
        _text(data, "SeriesNumber"),
        int(images) if images.isdecimal() else 0,
    )
    return one if one.study and one.series else None


def _text(data: Any, keyword: str) -> str:
    return str(data.get(keyword) or "").strip()
