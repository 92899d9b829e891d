"""The MedSAM3 engine: text-prompted segmentation of CT and MR volumes, without Slicer, Qt or VTK.

Read along one road: prompt -> request -> slices -> features -> detections -> tracks -> assembled volume -> segment.
Importing this package imports nothing heavy; what it offers by name is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MedSAM3SegmentLib.assembly.assemble import with_threshold as with_threshold
    from MedSAM3SegmentLib.engine.client.engine_client import EngineClient as EngineClient
    from MedSAM3SegmentLib.io.read_volume import read_volume as read_volume

    from .request import SegmentRequest as SegmentRequest
    from .segmenter import Segmenter as Segmenter

__version__ = "0.1.0"

#: What programs need, and where it is; other places may change.
_OFFERED = {
    "EngineClient": "engine.client.engine_client",
    "SegmentRequest": "request",
    "Segmenter": "segmenter",
    "read_volume": "io.read_volume",
    "with_threshold": "assembly.assemble",
}


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_OFFERED[name]}"), name)
