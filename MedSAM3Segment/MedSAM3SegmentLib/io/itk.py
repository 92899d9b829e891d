"""Between SimpleITK's images and this project's arrays and grids, with ITK's own chatter kept out of the terminal.

ITK positions are LPS millimeters, this project's RAS: x and y change sign, here and nowhere else.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.messages.message import Message

from .isolated_read import IsolatedResult, read_isolated
from .isolated_read import unreadable as unreadable_sentence

if TYPE_CHECKING:
    import SimpleITK

#: 4x4 matrix from LPS to RAS millimeters, and its own inverse.
LPS_TO_RAS: Matrix = np.diag([-1.0, -1.0, 1.0, 1.0])

#: No voxel is a kilometre from the scanner.
_FARTHEST_MM = 1e6

#: How long another process may take to start and to read.
_START_S = 30.0
_SLOWEST_BYTES_PER_S = 5e6

#: No compression that ITK's readers know makes more values of a byte (deflate, zlib.net/zlib_tech.html).
_MOST_PACKED = 1032

_logger = logging.getLogger(__name__)
_stderr_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class StoredImage:
    """What a file holds, before it is checked and made fit for the engine.

    Attributes:
        array: voxels ``[k, j, i]``, or ``[k, j, i, component]``.
        grid: where they lie; may be sheared.
        tags: the file's header fields as text.
        messages: what the user should know, one sentence each.
        is_sequence: whether the slices are frames over time.
    """

    array: NDArray[Any]
    grid: VoxelGrid
    tags: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    is_sequence: bool = False


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Send what ITK and its C libraries print to standard error to the debug log instead.

    They write to the file descriptor itself, past ``sys.stderr`` and past ITK's own switch for warnings.
    """
    with _stderr_lock, tempfile.TemporaryFile() as heard:
        try:
            kept = os.dup(2)
        except OSError:  # a windowed program without a terminal has nothing to keep quiet
            yield
            return
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            heard.seek(0)
            text = heard.read().decode(errors="replace").strip()
            if text:
                _logger.debug("ITK: %s", text)


def unreadable(path: Path) -> InputError:
    """The error for a file that no reader understands."""
    return InputError(unreadable_sentence(path))


def read_image(path: Path, image_io: str = "") -> StoredImage:
    """Read one image file with SimpleITK.

    Args:
        path: the file.
        image_io: the ITK reader to use, or ``""`` to let ITK find one.

    Raises:
        InputError: the file is not an image, is damaged, holds complex numbers or more than one time point.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    with quiet_itk():
        try:
            image = reader.Execute()
        except RuntimeError as error:
            _logger.debug("%s", error)
            raise unreadable(path) from None
    if image.GetPixelIDTypeAsString().startswith("complex"):
        raise InputError("{path} holds complex numbers; give its magnitude instead.", path=path)
    extra = [n for n in image.GetSize()[3:] if n > 1]
    if extra:
        points = int(np.prod(extra))
        raise InputError(
            "{path} holds {count} volumes (time points or channels); extract one and give that.",
            path=path,
            count=points,
        )
    array = SimpleITK.GetArrayFromImage(image)
    shape = (1, 1, *image.GetSize()[::-1])[-3:] if image.GetDimension() <= 3 else image.GetSize()[2::-1]
    array = array.reshape(*shape, *array.shape[image.GetDimension() :])
    tags = {}
    for key in image.GetMetaDataKeys():
        with suppress(TypeError):  # a damaged key, not text
            tags[key] = image.GetMetaData(key)
    return StoredImage(array, grid_of(image, path), tags)


def read_image_isolated(path: Path) -> StoredImage:
    """Read one image file with SimpleITK as ``read_image`` does, in a process of its own.

    Raises:
        InputError: as ``read_image``; or the file declares more voxels than it can hold, or makes ITK crash or hang.
    """
    timeout_s = _START_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
    values, arrays = read_isolated(
        read_image_values, path, timeout_s=timeout_s, memory_bytes=psutil.virtual_memory().available
    )
    return stored_from_values(path, values, arrays)


def read_image_values(path: Path) -> IsolatedResult:
    """An image as ``read_image`` reads it, taken apart for another process; see ``stored_from_values``."""
    import SimpleITK

    with _plain_name(path) as named:
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(named))
        with quiet_itk():
            try:
                reader.ReadImageInformation()
            except RuntimeError as error:
                _logger.debug("%s", error)
                raise unreadable(path) from None
        declared = int(np.prod(reader.GetSize(), dtype=object)) * reader.GetNumberOfComponents()
        if declared > _MOST_PACKED * path.stat().st_size:
            raise InputError(
                "{path} declares {count} values, which its {length} bytes cannot hold; copy or export it again.",
                path=path,
                count=declared,
                length=path.stat().st_size,
            )
        try:
            stored = read_image(named)
        except InputError as error:
            facts = {**error.message.facts, "path": path}
            raise InputError(error.message.template, **facts) from None
    lps = LPS_TO_RAS @ stored.grid.ijk_to_ras
    return {"ijk_to_lps": lps.tolist(), "tags": dict(stored.tags)}, [stored.array]


def stored_from_values(path: Path, values: Any, arrays: list[NDArray[Any]]) -> StoredImage:
    """The image that another process took apart.

    Raises:
        InputError: a spacing is zero or not a number.
    """
    (array,) = arrays
    grid = lps_grid(array.shape[:3], np.array(values["ijk_to_lps"]), path)
    return StoredImage(array, grid, values["tags"])


@contextmanager
def _plain_name(path: Path) -> Iterator[Path]:
    """``path``, or a link to it where ITK would end the process over bytes that are not UTF-8 in its name."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="medsam3-link-") as folder:
            link = Path(folder) / ("image" + path.suffix.encode("ascii", "ignore").decode())
            link.symlink_to(path.resolve())
            yield link
    else:
        yield path


def grid_of(image: SimpleITK.Image, path: Path) -> VoxelGrid:
    """The grid of an ITK image (or of a reader that has read an image's header), sheared ones included.

    Axes beyond the third are left out; a 2D image lies in the axial plane at z = 0.

    Raises:
        InputError: a spacing is zero or not a number.
    """
    dimension = image.GetDimension()
    spatial = min(dimension, 3)
    lps = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)[:spatial, :spatial]
    lps[:spatial, :spatial] = directions * image.GetSpacing()[:spatial]
    lps[:spatial, 3] = image.GetOrigin()[:spatial]
    shape = (*image.GetSize()[:spatial], 1)[:3][::-1]
    return lps_grid(shape, lps, path)


def lps_grid(shape: tuple[int, ...], ijk_to_lps: Matrix, path: Path) -> VoxelGrid:
    """The grid of ``shape`` ``(k, j, i)`` whose voxel ``(i, j, k, 1)`` lies at ``ijk_to_lps`` millimeters.

    Raises:
        InputError: a spacing is zero or not a number.
    """
    try:
        if not np.abs(ijk_to_lps).max() < _FARTHEST_MM:
            raise ValueError("A voxel lies beyond any scanner.")
        # Adding zero turns -0.0 into 0.0.
        return VoxelGrid(shape, LPS_TO_RAS @ ijk_to_lps + 0.0)  # type: ignore[arg-type]
    except ValueError:
        raise InputError(
            "{path} has voxels without size or place; repair the spacing in its header.", path=path
        ) from None
