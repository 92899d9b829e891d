"""What a volume's DICOM headers tell of text in its pictures, such as a name, where Slicer has them."""

from __future__ import annotations

from typing import Any

import slicer

#: The elements that tell of it, by keyword.
_TAGS = {"BurnedInAnnotation": "0028,0301", "ImageType": "0008,0008", "Modality": "0008,0060"}


def dicom_tags_of(volume_node: Any) -> dict[str, str]:
    """The elements of the volume's first DICOM file by keyword; empty where Slicer's database has none."""
    database = getattr(slicer, "dicomDatabase", None)
    first = str(volume_node.GetAttribute("DICOM.instanceUIDs") or "").split(" ")[0]
    if database is None or not first:
        return {}
    return {keyword: str(database.instanceValue(first, tag) or "") for keyword, tag in _TAGS.items()}
