"""Kinds of DICOM objects by their SOP class and modality: which are images, which are films, and what the others are.

The SOP class UIDs are those of PS3.4 table B.5-1 and PS3.6 table A-1.
"""

from __future__ import annotations

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message

_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: Objects that are no images, by the beginning of the SOP class after ``_STORAGE``; the longest that fits counts.
_NO_IMAGES = {
    "66.4": message("a segmentation"),
    "66.7": message("a segmentation"),
    "66.8": message("a height map"),
    "66.5": message("a surface segmentation"),
    "66.6": message("tractography"),
    "66": message("raw data, a registration or fiducials"),
    "481.2": message("a radiotherapy dose"),
    "481.3": message("a radiotherapy structure set"),
    "481.4": message("a radiotherapy treatment record"),
    "481.5": message("a radiotherapy plan"),
    "481.6": message("a radiotherapy treatment record"),
    "481.7": message("a radiotherapy treatment record"),
    "481.8": message("a radiotherapy plan"),
    "481.9": message("a radiotherapy treatment record"),
    "88": message("a structured report"),
    "11": message("a presentation state"),
    "104": message("an encapsulated document"),
    "9": message("a waveform"),
    "4.2": message("MR spectroscopy"),
}

#: The same by modality, for objects that do not say their SOP class or say a wrong one.
_NO_IMAGE__MODALITIES = {
    "SEG": message("a segmentation"),
    "RTDOSE": message("a radiotherapy dose"),
    "RTSTRUCT": message("a radiotherapy structure set"),
    "RTPLAN": message("a radiotherapy plan"),
    "RTRECORD": message("a radiotherapy treatment record"),
    "SR": message("a structured report"),
    "PR": message("a presentation state"),
    "KO": message("a structured report"),
    "REG": message("raw data, a registration or fiducials"),
    "DOC": message("an encapsulated document"),
    "ECG": message("a waveform"),
}

_WHOLE_SLIDE = _STORAGE + "77.1.6"
_ULTRASOUND_VOLUME = _STORAGE + "6.2"
_VIDEOS = tuple(_STORAGE + end for end in ("77.1.1.1", "77.1.2.1", "77.1.4.1"))
_VIDEO_TRANSFER_SYNTAXES = "1.2.840.10008.1.2.4.10"

#: Kinds of images whose frames follow one another in time: ultrasound, endoscopy, fluoroscopy, angiography, cameras
#: (PS3.3 C.7.3.1.1.1).
_FILMED = {
    "US": message("ultrasound"),
    "IVUS": message("ultrasound in a vessel"),
    "ES": message("endoscopy"),
    "RF": message("fluoroscopy"),
    "XA": message("X-ray angiography"),
    "XC": message("photography"),
    "GM": message("microscopy"),
    "OP": message("eye photography"),
    "OCT": message("optical coherence tomography"),
}

#: Projections: their intensities are a picture and not a measure, and each frame has no depth.
_PROJECTIONS = ("CR", "DX", "MG", "IO", "PX", "RG", "RF", "XA")

#: Modality codes that may be given (PS3.3 C.7.3.1.1.1); spellings that people use stand for the code.
_MODALITIES = (
    *("CT", "MR", "PT", "NM", "US", "IVUS", "XA", "RF", "CR", "DX", "MG", "IO", "PX", "RG"),
    *("ES", "XC", "GM", "SM", "OP", "OPT", "OCT", "OT"),
)
_SPELLINGS = {"MRI": "MR", "PET": "PT", "CBCT": "CT"}


def non_image_kind(sop_class: str, modality: str) -> Message | None:
    """What an object is that is no image, as in "a structured report"; None for an image."""
    if modality in _NO_IMAGE__MODALITIES:
        return _NO_IMAGE__MODALITIES[modality]
    if not sop_class.startswith(_STORAGE):
        return None
    parts = sop_class.removeprefix(_STORAGE).split(".")
    for count in range(len(parts), 0, -1):
        if (kind := _NO_IMAGES.get(".".join(parts[:count]))) is not None:
            return kind
    return None


def refused_image_kind(sop_class: str, modality: str, transfer_syntax: str, is_kretz: bool) -> Message | None:
    """What an image is that does not become a volume, and what to do; None where it can be read.

    Args:
        is_kretz: whether there are voxels of the kind that Voluson ultrasound systems store privately.
    """
    if sop_class == _WHOLE_SLIDE or modality == "SM":
        return message("a whole-slide microscopy image, which is stored in tiles; export a region of it as PNG or TIFF")
    if sop_class == _ULTRASOUND_VOLUME or is_kretz:
        return message(
            "a 3D ultrasound volume, whose voxels do not say where they lie in the patient; open it in 3D Slicer "
            "(extension SlicerHeart) and export it as NRRD"
        )
    if sop_class in _VIDEOS or transfer_syntax.startswith(_VIDEO_TRANSFER_SYNTAXES):
        return message("a video; export its frames as numbered pictures")
    return None


def film_kind(modality: str) -> Message | None:
    """What images of a modality are called whose frames are moments; None for the others."""
    return _FILMED.get(modality)


def is_projection(modality: str) -> bool:
    """Whether the images of a modality are X-ray projections."""
    return modality in _PROJECTIONS


def has_places(modality: str) -> bool:
    """Whether images of a modality usually lie somewhere in the patient, so that it is said where one does not."""
    return modality not in _FILMED and modality not in _PROJECTIONS and modality not in ("SM", "OPT", "OT")


def modality_of(text: str) -> str:
    """DICOM's code for a modality, however it is spelt.

    Raises:
        InputError: it is none.
    """
    code = text.strip().upper()
    code = _SPELLINGS.get(code, code)
    if code not in _MODALITIES:
        raise InputError(
            "'{text}' is no modality; give one of {modalities}.", text=text, modalities=", ".join(_MODALITIES)
        )
    return code
