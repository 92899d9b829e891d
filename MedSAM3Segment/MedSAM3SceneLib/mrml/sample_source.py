"""The samples in Slicer's Sample Data module, whose files are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from .sample_data import (
    add_synthetic_abdomen,
    describe,
    show_along_its_planes,
    synthetic_abdomen,
)

if TYPE_CHECKING:
    from MedSAM3SegmentLib.volume import Volume


_CATEGORY = "MedSAM3"


#: What is offered: name, contrast, and the seed of an anatomy with all organs and a tumour.
_SAMPLES = (("MedSAM3SyntheticCT", "CT", 24), ("MedSAM3SyntheticMR", "MR", 24))


def register_sample_data(thumbnail: str) -> None:
    """Offer the synthetic abdomens in the Sample Data module; does nothing when that was done already.

    Args:
        thumbnail: a picture file.
    """
    if not hasattr(slicer.modules, "sampleDataSources"):
        slicer.modules.sampleDataSources = {}
    sources = slicer.modules.sampleDataSources.setdefault(_CATEGORY, [])
    if any(source.sampleName == _SAMPLES[0][0] for source in sources):
        return
    # Slicer's own function for this would compare the sources, and for that ask for their addresses.
    sources += [made_sample(name, contrast, seed, thumbnail) for name, contrast, seed in _SAMPLES]


def made_sample(name: str, contrast: str, seed: int, thumbnail: str) -> Any:
    """The SampleDataSource of a synthetic abdomen.

    Slicer asks a source for its own downloader only where a button is clicked. ``SampleData.downloadSample`` and its
    like want an address, and load what is there.

    Args:
        name: of the sample and of its node.
        contrast, seed: see ``sample_data.add_synthetic_abdomen``.
        thumbnail: a picture file.
    """
    from SampleData import SampleDataSource

    class MadeSample(SampleDataSource):  # type: ignore[misc]
        def __str__(self) -> str:
            """Slicer compares sources by it; its own asks for the address, and the file would be made for that."""
            return f"{self.sampleName}, which is made on the spot"

    def add(_source: Any) -> list[Any]:
        node = add_synthetic_abdomen(name, contrast, seed)
        show_along_its_planes(node)
        return [node]

    file = _SampleFile(name, contrast, seed)
    return MadeSample(
        sampleName=name,
        uris=_WorkedOut(file.addresses),
        fileNames=[f"{name}.nrrd"],
        nodeNames=[name],
        checksums=_WorkedOut(file.checksums),
        # Slicer fills these up for lists of Python's own only.
        loadFiles=[None],
        loadFileType=["VolumeFile"],
        customDownloader=add,
        thumbnailFileName=thumbnail,
    )


class _SampleFile:
    """The file of a synthetic abdomen, made once as long as Slicer runs."""

    def __init__(self, name: str, contrast: str, seed: int) -> None:
        self._name, self._contrast, self._seed = name, contrast, seed
        self._path: Path | None = None

    def addresses(self) -> Iterator[str]:
        """Where the file is; who goes on after it has the volume that was loaded from there described and shown."""
        before = _volume_nodes()
        yield self._made().as_uri()
        # Slicer looks for another address once it has loaded what is at this one.
        for node in _volume_nodes():
            if node not in before and node.GetName().startswith(self._name):
                describe(node, self._contrast)
                show_along_its_planes(node)

    def checksums(self) -> Iterator[str]:
        """Without one, Slicer goes on with what another version of the extension left in its cache."""
        import hashlib

        yield f"SHA256:{hashlib.sha256(self._made().read_bytes()).hexdigest()}"

    def _made(self) -> Path:
        if self._path is None or not self._path.exists():
            self._path = Path(slicer.app.temporaryPath) / f"{self._name}.nrrd"
            _write(synthetic_abdomen(self._contrast, self._seed), self._path)
        return self._path


class _WorkedOut(Sequence[str]):
    """A list of one text that is worked out each time somebody goes through it."""

    def __init__(self, texts: Callable[[], Iterator[str]]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __iter__(self) -> Iterator[str]:
        return self._texts()


def _write(volume: Volume, path: Path) -> None:
    """Write a file whole or not at all; another Slicer may be reading it.

    Raises:
        OSError: it cannot be written.
    """
    from MedSAM3SegmentLib.io.atomic_write import atomic_draft

    from .transforms import matrix_of

    node = slicer.vtkMRMLScalarVolumeNode()
    slicer.util.updateVolumeFromArray(node, volume.array)
    node.SetIJKToRASMatrix(matrix_of(volume.grid.ijk_to_ras))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    with atomic_draft(path) as draft:
        storage.SetFileName(str(draft))
        if not storage.WriteData(node):
            raise OSError(f"The sample cannot be written to {path}.")


def _volume_nodes() -> list[Any]:
    return list(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
