"""Slicer's SampleData module: sources by name, a cache of files, and what its buttons and functions do with them.

Files are copied into the cache and loaded by the logic of the application. Only a button asks for a custom downloader.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import slicer

#: What a source has one of for each address.
_PER_FILE = ("uris", "fileNames", "nodeNames", "checksums", "loadFiles", "loadFileTypes")


class SampleDataSource:
    """A sample: the addresses of its files, and what becomes of each."""

    def __init__(
        self,
        sampleName: str | None = None,  # noqa: N803
        sampleDescription: str | None = None,  # noqa: N803
        uris: Any = None,
        fileNames: Any = None,  # noqa: N803
        nodeNames: Any = None,  # noqa: N803
        checksums: Any = None,
        loadFiles: Any = None,  # noqa: N803
        customDownloader: Any = None,  # noqa: N803
        thumbnailFileName: str | None = None,  # noqa: N803
        loadFileTypes: Any = None,  # noqa: N803
        loadFileProperties: dict[str, Any] | None = None,  # noqa: N803
        loadFileType: Any = None,  # noqa: N803
    ) -> None:
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.uris, self.fileNames, self.nodeNames = uris, fileNames, nodeNames
        self.checksums, self.loadFiles = checksums, loadFiles
        self.loadFileTypes = loadFileType if loadFileTypes is None else loadFileTypes
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        if isinstance(uris, list | tuple):
            # Of nothing but Python's own lists does Slicer add what is missing.
            for name in _PER_FILE[2:]:
                given = getattr(self, name)
                if given is None or isinstance(given, str):
                    setattr(self, name, [given] * len(uris))
        if len({len(getattr(self, name)) for name in _PER_FILE}) != 1:
            raise ValueError("All fields of sample data source must have the same length")

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return str([self.sampleName, *zip(*(getattr(self, name) for name in _PER_FILE), strict=True)])


class SampleDataLogic:
    """What scripts use, by the names that Slicer has for it."""

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", **source: Any) -> None:  # noqa: N802
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        offered = SampleDataSource(**source)
        if offered not in sources:
            sources.append(offered)

    def downloadSample(self, sampleName: str) -> Any:  # noqa: N802, N803
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName: str) -> list[Any]:  # noqa: N802, N803
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source is not None else []

    def sourceForSampleName(self, sampleName: str) -> Any:  # noqa: N802, N803
        every = [source for sources in slicer.modules.sampleDataSources.values() for source in sources]
        return next((source for source in every if source.sampleName == sampleName), None)

    def categoryForSource(self, source: Any) -> Any:  # noqa: N802
        for category, sources in slicer.modules.sampleDataSources.items():
            if any(source == each for each in sources):
                return category
        return None

    def downloadFromSource(self, source: Any) -> list[Any]:  # noqa: N802
        nodes = []
        for uri, file_name, node_name, checksum, file_type in zip(
            source.uris, source.fileNames, source.nodeNames, source.checksums, source.loadFileTypes, strict=False
        ):
            path = self._cached(uri, file_name, checksum)
            if file_type != "VolumeFile":
                raise NotImplementedError(f"The bench loads volumes only, no {file_type}.")
            nodes.append(self._load_volume(path, node_name))
        return nodes

    @staticmethod
    def _cached(uri: str, file_name: str, checksum: str | None) -> Path:
        path = Path(slicer.app.cachePath) / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        algorithm, digest = slicer.util.extractAlgoAndDigest(checksum)
        if path.exists() and algorithm is not None and slicer.util.computeChecksum(algorithm, str(path)) != digest:
            path.unlink()
        if not path.exists():
            shutil.copy(url2pathname(urlparse(uri).path), path)
        if algorithm is not None and slicer.util.computeChecksum(algorithm, str(path)) != digest:
            raise ValueError("Checksum verification failed")
        return path

    @staticmethod
    def _load_volume(path: Path, name: str) -> Any:
        node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name)
        application = slicer.app.applicationLogic()
        application.GetSelectionNode().SetActiveVolumeID(node.GetID())
        application.PropagateVolumeSelection()
        slicer.mrmlScene.RemoveNode(node.GetStorageNode())
        node.SetAndObserveStorageNodeID(None)
        return node


def downloadSample(sampleName: str) -> Any:  # noqa: N802, N803
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName: str) -> list[Any]:  # noqa: N802, N803
    return SampleDataLogic().downloadSamples(sampleName)


def bench_click(sample_name: str) -> list[Any]:
    """Click the button of a sample in the panel of the module."""
    logic = SampleDataLogic()
    source = logic.sourceForSampleName(sample_name)
    return list(source.customDownloader(source) if source.customDownloader else logic.downloadFromSource(source))
