"""Frames over time are a stack: read in order, in color, and segmented with the same calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.io.image_sequence import TIME_MESSAGE
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter


def frame(number: int, *, color: bool = True, shape: tuple[int, int] = (12, 16)) -> np.ndarray:
    """A picture whose every pixel tells the frame's number; not symmetric."""
    pixels = np.full(shape, 10 * number, np.uint8)
    pixels[2, 3] = 255
    return np.stack([pixels, pixels // 2, pixels // 3], axis=-1) if color else pixels


def save_frames(folder: Path, count: int, pattern: str = "frame {}.png", *, color: bool = True) -> Path:
    folder.mkdir()
    for number in range(1, count + 1):
        Image.fromarray(frame(number, color=color)).save(folder / pattern.format(number))
    return folder


@pytest.mark.parametrize("pattern", ["frame {}.png", "Frame{:04d}.png", "{}-of-12.png"])
def test_a_folder_of_numbered_pictures_is_read_in_the_order_of_the_numbers(tmp_path: Path, pattern: str) -> None:
    volume = read_volume(save_frames(tmp_path / "Doe^Jane", 12, pattern))
    assert np.array_equal(volume.array, np.stack([frame(n) for n in range(1, 13)]))
    assert volume.is_sequence
    assert TIME_MESSAGE in volume.messages
    assert volume.name == "image sequence of 12 frames", "the folder may be named after a patient"


def test_frames_are_cut_one_by_one_and_upright(tmp_path: Path) -> None:
    volume = read_volume(save_frames(tmp_path / "frames", 5))
    stack = SliceStack.along(volume.grid, Plane.ACQUIRED)
    assert stack.count == 5
    assert np.array_equal(stack.extract(volume.array)[3], frame(4))


def test_grey_frames_stay_grey_and_one_in_color_makes_all_color(tmp_path: Path) -> None:
    folder = save_frames(tmp_path / "frames", 3, color=False)
    assert read_volume(folder).array.shape == (3, 12, 16)
    Image.fromarray(frame(4)).save(folder / "frame 4.png")
    (folder / "notes.txt").write_text("not a frame")
    mixed = read_volume(folder).array
    assert mixed.shape == (4, 12, 16, 3)
    assert np.array_equal(mixed[1], np.repeat(frame(2, color=False)[..., None], 3, axis=2))
    assert np.array_equal(mixed[3], frame(4))


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".png"])
def test_a_file_of_several_frames_is_a_sequence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    pictures = [Image.fromarray(frame(n, color=False)) for n in range(1, 6)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    volume = read_volume(path)
    assert np.array_equal(volume.array, np.stack([frame(n, color=False) for n in range(1, 6)]))
    assert volume.is_sequence


def test_one_picture_is_no_sequence(tmp_path: Path) -> None:
    for suffix in (".png", ".gif"):
        path = tmp_path / f"one{suffix}"
        Image.fromarray(frame(3, color=False)).save(path)
        volume = read_volume(path)
        assert not volume.is_sequence
        assert volume.array.shape == (1, 12, 16)


def test_frames_of_different_sizes_are_refused_in_words(tmp_path: Path) -> None:
    folder = save_frames(tmp_path / "frames", 3)
    Image.fromarray(frame(4, shape=(12, 15))).save(folder / "frame 4.png")
    with pytest.raises(InputError, match=r"frame 4\.png 15 x 12"):
        read_volume(folder)


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    folder = save_frames(tmp_path / "frames", 3)
    whole = (folder / "frame 2.png").read_bytes()
    (folder / "frame 2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"frame 2\.png"):
        read_volume(folder)


def test_ultrasound_dicom_of_several_frames_is_a_sequence(tmp_path: Path) -> None:
    path = tmp_path / "clip.dcm"
    frames = np.stack([frame(n, color=False) for n in range(1, 8)])
    save_ultrasound(path, frames)
    volume = read_volume(path)
    assert volume.is_sequence
    assert np.array_equal(volume.array, frames)
    assert (volume.modality, volume.name) == ("US", "US sequence of 7 frames")
    assert TIME_MESSAGE in volume.messages
    assert np.array_equal(SliceStack.along(volume.grid).extract(volume.array)[2], frame(3, color=False))


def test_frames_are_cut_frame_by_frame_however_the_camera_was_held(tmp_path: Path) -> None:
    path = tmp_path / "clip.dcm"
    frames = np.stack([frame(n, color=False) for n in range(1, 8)])
    save_ultrasound(path, frames, orientation=[1, 0, 0, 0, 0, -1])
    volume = read_volume(path)
    stack = SliceStack.along(volume.grid)
    assert stack.count == 7
    assert stack.plane is Plane.CORONAL
    assert np.array_equal(np.sort(stack.extract(volume.array)[2], axis=None), np.sort(frames[2], axis=None))


def save_ultrasound(path: Path, frames: np.ndarray, orientation: list[float] | None = None) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.SeriesInstanceUID, image.StudyInstanceUID = generate_uid(), generate_uid()
    image.Modality = "US"
    image.PixelSpacing = [2.5, 2.5]
    if orientation is not None:
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], orientation
    image.NumberOfFrames, image.Rows, image.Columns = frames.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = frames.tobytes() + b"\0" * (frames.size % 2)
    image.save_as(path)


def test_a_sequence_is_segmented_like_a_volume_however_few_its_frames(tmp_path: Path, tiny_model_folder: Path) -> None:
    volume = read_volume(save_frames(tmp_path / "frames", 4))
    segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
    result = segmenter.segment(volume, SegmentRequest(("polyp",), threshold=0.3, slices=(1, 3)))
    assert np.flatnonzero(result.concepts[0].mask.any(axis=(1, 2))).tolist() == [1, 2]
    assert TIME_MESSAGE in result.messages
