"""Whether pictures of a volume in the scene may have text burnt into them, such as a name."""

from __future__ import annotations

from typing import Any

import slicer

from MedSAM3AgentLib.sending.consent import text_in_pictures
from MedSAM3SegmentLib.volume import Volume

#: The elements that tell of it, by keyword.
_TAGS = {"BurnedInAnnotation": "0028,0301", "ImageType": "0008,0008", "Modality": "0008,0060"}


def may_show_text(volume_node: Any, volume: Volume) -> bool:
    """Whether anything speaks for text in pictures of a volume, by its DICOM headers where Slicer has them."""
    return text_in_pictures(volume, _dicom_tags(volume_node)) is not None


def _dicom_tags(volume_node: Any) -> dict[str, str]:
    """The elements of the volume's first DICOM file; empty where Slicer's database has none."""
    database = getattr(slicer, "dicomDatabase", None)
    first = str(volume_node.GetAttribute("DICOM.instanceUIDs") or "").split(" ")[0]
    if database is None or not first:
        return {}
    return {keyword: str(database.instanceValue(first, tag) or "") for keyword, tag in _TAGS.items()}
