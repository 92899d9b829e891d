"""What segments are in DICOM's coded terms, out of Slicer's terminology entries; and their colors in CIELab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from MedSAM3SegmentLib.io.segment import Color

_TISSUE = ("SCT", "85756007", "Tissue")

#: From linear sRGB to XYZ for the white point D65, and D65 itself (IEC 61966-2-1).
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_D65 = np.array([0.95047, 1.0, 1.08883])


@dataclass(frozen=True)
class CodedTerms:
    """Codes as (scheme, value, meaning), or None."""

    category: tuple[str, str, str]
    type: tuple[str, str, str]
    type_modifier: tuple[str, str, str] | None = None
    region: tuple[str, str, str] | None = None
    region_modifier: tuple[str, str, str] | None = None


def parse_terminology(entry: str) -> CodedTerms:
    """The codes of a Slicer terminology entry; a tissue where there are none."""
    fields = [_code(field) for field in entry.split("~")]
    fields += [None] * (7 - len(fields))
    _, category, kind, modifier, _, region, region_modifier = fields[:7]
    if category is None or kind is None:
        return CodedTerms(_TISSUE, _TISSUE)
    return CodedTerms(category, kind, modifier, region, region_modifier)


def terminology_of(terms: CodedTerms) -> str:
    """The Slicer terminology entry of codes."""

    def text(code: tuple[str, str, str] | None) -> str:
        return "^".join(code) if code else "^^"

    return "~".join(
        (
            "Segmentation category and type - DICOM master list",
            text(terms.category),
            text(terms.type),
            text(terms.type_modifier),
            "Anatomic codes - DICOM master list",
            text(terms.region),
            text(terms.region_modifier),
        )
    )


def code_item(code: tuple[str, str, str]) -> Any:
    """A code sequence item of highdicom's."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code[1], scheme_designator=code[0], meaning=code[2][:64])


def code_of(item: Any) -> tuple[str, str, str]:
    """Scheme, value and meaning of an item of a code sequence."""
    return (
        str(item.get("CodingSchemeDesignator", "")),
        str(item.get("CodeValue", "") or item.get("LongCodeValue", "")),
        str(item.get("CodeMeaning", "")),
    )


def to_cielab(color: Color) -> tuple[float, float, float]:
    """L*, a* and b* of an sRGB color, 0 to 1 each."""
    rgb = np.asarray(color, float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = _RGB_TO_XYZ @ linear / _D65
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return float(np.clip(116 * y - 16, 0, 100)), float(500 * (x - y)), float(200 * (y - z))


def from_cielab(lab: tuple[float, float, float]) -> Color:
    """The sRGB color of L*, a* and b*, as near as there is one."""
    y = (lab[0] + 16) / 116
    parts = np.array([y + lab[1] / 500, y, y - lab[2] / 200])
    xyz = np.where(parts > 6 / 29, parts**3, 3 * (6 / 29) ** 2 * (parts - 4 / 29)) * _D65
    linear = np.clip(np.linalg.inv(_RGB_TO_XYZ) @ xyz, 0, 1)
    red, green, blue = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return float(red), float(green), float(blue)


def _code(text: str) -> tuple[str, str, str] | None:
    parts = text.split("^")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 and all(parts) else None
