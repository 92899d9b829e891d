"""Segmentations to files and back: Slicer's ``.seg.nrrd`` and NIfTI label maps.

``_WRITERS`` says which suffix is written by which function; DICOM SEG belongs there too, as one more entry.
"""

from __future__ import annotations

import colorsys
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dicom_series import is_dicom
from .errors import InputError
from .grid import VoxelGrid
from .images import read_stored
from .itk_images import LPS_TO_RAS, StoredImage, image_on_grid, quiet_itk
from .nifti_header import read_nifti_header
from .straightening import straighten
from .whole_file import check_folder, written_whole

#: The tag under which Slicer keeps a segment's terminology.
TERMINOLOGY_TAG = "TerminologyEntry"

#: The segment tag, and the header key, under which a result's provenance is kept, as JSON.
PROVENANCE_TAG = "MedSAM3.Provenance"
_PROVENANCE_KEY = "MedSAM3_Provenance"

Colour = tuple[float, float, float]
Provenance = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Segment:
    """One named structure.

    Attributes:
        name: what Slicer shows.
        mask: bool ``[k, j, i]``.
        colour: red, green, blue, each 0..1.
        terminology: Slicer's terminology entry (seven fields with ``~`` between them), or ``""``.
        tags: further text that Slicer keeps on the segment. Slicer cannot store ``|`` there; it is written as ``¦``.
    """

    name: str
    mask: NDArray[np.bool_]
    colour: Colour
    terminology: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def provenance_text(provenance: Provenance) -> str:
    """Provenance as one line of JSON that a Slicer tag can hold."""
    return json.dumps(provenance, ensure_ascii=False).replace("|", "\\u007c")


def check_output(path: str | Path) -> Path:
    """Make sure, before a long run, that a segmentation can be written to ``path``.

    Raises:
        InputError: the suffix is none of the supported ones, or the folder is missing or write-protected.
    """
    path = Path(path)
    _writer(path)
    check_folder(path)
    return path


def write_segmentation(path: str | Path, segments: Sequence[Segment], grid: VoxelGrid, provenance: Provenance) -> None:
    """Write ``segments`` in the format that the suffix of ``path`` names, whole or not at all.

    Args:
        path: ``.seg.nrrd``, which keeps everything, or ``.nii.gz`` or ``.nii``, where later segments cover earlier ones
            and names and provenance go into a ``.labels.json`` file beside it.
        segments: they may overlap; none at all makes a file that says so, with the grid it is true of.
        grid: the grid of all masks.
        provenance: plain JSON values (``result.Provenance.as_dict``); put into the header, and on every segment that
            has no provenance of its own in its tags.

    Raises:
        InputError: as ``check_output``; the disk failed.
    """
    path = check_output(path)
    for segment in segments:
        if segment.mask.shape != grid.shape:
            raise ValueError(f"The mask of '{segment.name}' has shape {segment.mask.shape}, the grid {grid.shape}.")
    _writer(path)(path, segments, grid, provenance)


def write_label_map(
    path: str | Path,
    labels: NDArray[Any],
    grid: VoxelGrid,
    names: Mapping[int, str],
    provenance: Provenance | None = None,
) -> None:
    """Write a label map as NIfTI, and ``names`` and ``provenance`` as JSON beside it, whole or not at all.

    Args:
        path: ``.nii.gz`` or ``.nii``; the JSON file is called the same but for its suffix, ``.labels.json``.
        labels: integers ``[k, j, i]``, 0 to 65535, stored as uint8 where they fit and as uint16 otherwise.
        grid: where they lie, to the float32 precision of NIfTI.
        names: label to name.

    Raises:
        InputError: as ``check_output``; the disk failed.
    """
    import SimpleITK

    path = check_output(path)
    if _suffix(path) not in (".nii.gz", ".nii"):
        raise InputError(f"{path} is no name for a label map; end it in .nii.gz or .nii.")
    labels = labels.astype(_label_dtype(int(labels.max(initial=0))))
    image = image_on_grid(labels, grid)
    description = {"labels": {str(label): name for label, name in names.items()}, "provenance": provenance}
    with written_whole(_names_path(path)) as names_file, written_whole(path) as file:
        names_file.write_text(json.dumps(description, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        try:
            with quiet_itk():
                SimpleITK.WriteImage(image, str(file), useCompression=True)
            # ITK does not notice a full disk.
            read_nifti_header(file)
        except (RuntimeError, InputError):
            raise InputError(f"{path} could not be written; check the free space on the disk.") from None


def read_segmentation(path: str | Path) -> tuple[list[Segment], VoxelGrid]:
    """Read the segments of a ``.seg.nrrd`` file or of a label map in any format that ITK reads.

    Returns:
        The segments, masks on the returned grid, and the grid: that of the stored voxels, which Slicer may have cropped
        to the segments. Provenance is in ``tags``. A label map's names come from the JSON file beside it, if any.

    Raises:
        InputError: the file is missing, damaged, or holds no labels.
    """
    path = Path(path)
    if path.is_dir() or is_dicom(path):
        raise InputError(f"{path} is DICOM, from which no segmentation can be read; convert it to .seg.nrrd.")
    stored = read_stored(path)
    layers = stored.array if stored.array.ndim == 4 else stored.array[..., None]
    if layers.dtype.kind == "f":
        if not np.array_equal(layers, np.rint(layers)):
            raise InputError(f"{path} is not a segmentation: its voxels are not whole numbers; give a label map.")
        layers = layers.astype(np.int64)
    grid = stored.grid
    if grid.is_sheared:
        layers, grid = straighten(layers, grid, linear=False)
    if "Segment0_ID" in stored.tags:
        try:
            return _segments_by_header(layers, stored), grid
        except (ValueError, IndexError):
            raise InputError(f"{path} has a damaged header; save it again from 3D Slicer.") from None
    if "Segmentation_MasterRepresentation" in stored.tags:
        return [], grid
    if layers.shape[3] > 1:
        raise InputError(f"{path} is not a segmentation: it has {layers.shape[3]} values per voxel; give a label map.")
    names = _read_names(path)
    labels = layers[..., 0]
    present = [int(label) for label in np.unique(labels) if label != 0]
    return [Segment(names.get(n, f"Label {n}"), labels == n, _colour_of_label(n)) for n in present], grid


def _write_seg_nrrd(path: Path, segments: Sequence[Segment], grid: VoxelGrid, provenance: Provenance) -> None:
    """The file that ``vtkMRMLSegmentationStorageNode`` writes and reads: NRRD with segments in its key/value pairs.

    Written here and not by SimpleITK, which cannot mark the layers as a list axis. Segments that share a layer all
    state the whole image as their extent, because Slicer cuts a layer to the extent of the first segment in it.
    """
    layer_of, layers = _layers(segments, grid.shape)
    extent = " ".join(f"0 {n - 1}" for n in grid.shape[::-1])
    text = provenance_text(provenance)
    pairs: dict[str, str] = {}
    for n, segment in enumerate(segments):
        tags = {PROVENANCE_TAG: text, **segment.tags}
        if segment.terminology:
            tags[TERMINOLOGY_TAG] = segment.terminology
        fields = {
            "ID": f"Segment_{n + 1}",
            "Name": " ".join(segment.name.split()),
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{c:.6g}" for c in segment.colour),
            "ColorAutoGenerated": "0",
            "Extent": extent,
            "LabelValue": str(n + 1),
            "Layer": str(layer_of[n]),
            "Tags": "".join(f"{key}:{value.replace('|', '¦')}|" for key, value in sorted(tags.items())),
        }
        pairs |= {f"Segment{n}_{key}": value for key, value in fields.items()}
    geometry = "".join(f"{x!r};" for x in (*grid.ijk_to_ras.ravel().tolist(), *map(int, extent.split())))
    pairs |= {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ConversionParameters": f"Reference image geometry|{geometry}|Grid of the segmented volume.&",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        _PROVENANCE_KEY: text,
    }

    lps = LPS_TO_RAS @ grid.ijk_to_ras + 0.0  # which turns -0.0 into 0.0
    vectors = [f"({','.join(repr(x) for x in column)})" for column in lps[:3].T.tolist()]
    count = layers.shape[3]
    sizes = [str(n) for n in grid.shape[::-1]]
    kinds = ["domain"] * 3
    if count > 1:
        sizes.insert(0, str(count))
        kinds.insert(0, "list")
        vectors.insert(0, "none")
    header = [
        "NRRD0004",
        f"type: {'unsigned char' if layers.dtype == np.uint8 else 'unsigned short'}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(sizes)}",
        f"space directions: {' '.join(vectors[:-1])}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vectors[-1]}",
        *(f"{key}:={_escaped(value)}" for key, value in pairs.items()),
        "",
        "",
    ]
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(header).encode())
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            packed.write(layers.astype(layers.dtype.newbyteorder("<"), copy=False).data)


def _write_labels(path: Path, segments: Sequence[Segment], grid: VoxelGrid, provenance: Provenance) -> None:
    labels = np.zeros(grid.shape, _label_dtype(len(segments)))
    for label, segment in enumerate(segments, start=1):
        labels[segment.mask] = label
    names = {label: segment.name for label, segment in enumerate(segments, start=1)}
    write_label_map(path, labels, grid, names, provenance)


_WRITERS: dict[str, Callable[[Path, Sequence[Segment], VoxelGrid, Provenance], None]] = {
    ".seg.nrrd": _write_seg_nrrd,
    ".nii.gz": _write_labels,
    ".nii": _write_labels,
}


def _suffix(path: Path) -> str:
    return next((suffix for suffix in _WRITERS if path.name.lower().endswith(suffix)), "")


def _writer(path: Path) -> Callable[[Path, Sequence[Segment], VoxelGrid, Provenance], None]:
    suffix = _suffix(path)
    if not suffix or len(path.name) == len(suffix):
        raise InputError(f"{path} is no name for a segmentation; end it in {' or '.join(_WRITERS)}.")
    return _WRITERS[suffix]


def _label_dtype(highest: int) -> type[np.uint8] | type[np.uint16]:
    if highest > 65535:
        raise ValueError(f"A label map holds labels up to 65535, not {highest}.")
    return np.uint8 if highest <= 255 else np.uint16


def _layers(segments: Sequence[Segment], shape: tuple[int, int, int]) -> tuple[list[int], NDArray[Any]]:
    """The layer of each segment, and all layers ``[k, j, i, layer]``: each segment in the first where it has room."""
    layers: list[NDArray[Any]] = []
    layer_of = []
    for label, segment in enumerate(segments, start=1):
        free = (n for n, layer in enumerate(layers) if not layer[segment.mask].any())
        number = next(free, len(layers))
        if number == len(layers):
            layers.append(np.zeros(shape, _label_dtype(len(segments))))
        layers[number][segment.mask] = label
        layer_of.append(number)
    return layer_of, np.stack(layers or [np.zeros(shape, np.uint8)], axis=-1)


def _escaped(value: str) -> str:
    """As NRRD wants a value written."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _segments_by_header(layers: NDArray[Any], stored: StoredImage) -> list[Segment]:
    segments: list[Segment] = []
    while f"Segment{len(segments)}_ID" in stored.tags:
        n = len(segments)

        def tag(key: str, default: str, n: int = n) -> str:
            return stored.tags.get(f"Segment{n}_{key}", default)

        layer = int(tag("Layer", str(n)))
        mask = layers[..., layer] == int(tag("LabelValue", "1"))
        red, green, blue = (float(part) for part in tag("Color", "0.5 0.5 0.5").split())
        tags = dict(part.split(":", 1) for part in tag("Tags", "").split("|") if ":" in part)
        terminology = tags.pop(TERMINOLOGY_TAG, "")
        segments.append(Segment(tag("Name", tag("ID", "")), mask, (red, green, blue), terminology, tags))
    return segments


def _names_path(path: Path) -> Path:
    return path.with_name(path.name[: -len(_suffix(path))] + ".labels.json")


def _read_names(path: Path) -> dict[int, str]:
    """The names in the JSON file beside a label map; none where there is no such file or it is something else."""
    if not _suffix(path):
        return {}
    try:
        labels = json.loads(_names_path(path).read_text(encoding="utf-8"))["labels"]
        return {int(label): str(name) for label, name in labels.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _colour_of_label(label: int) -> Colour:
    """A colour that differs clearly from those of the neighbouring labels (steps of the golden ratio in hue)."""
    return colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.65, 0.95)
