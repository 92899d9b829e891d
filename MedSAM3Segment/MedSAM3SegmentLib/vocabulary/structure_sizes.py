"""How small a structure may be: what must not fall between slices that are far apart."""

from __future__ import annotations

from .phrases import key_of
from .vocabulary import Vocabulary

#: Smallest extent in any direction, in millimeters, of structures that are large in everybody: about half of what is
#: usual in adults, so that children's and shrunken ones count (adults' spleens are 4 to 5 cm thick, kidneys 4 to 5 cm,
#: urinary bladders that hold little 4 cm, thoracic aortas 2 to 3 cm wide). What is not listed may be of any size.
SMALLEST_EXTENT_MM = {
    "liver": 40.0,
    "spleen": 20.0,
    "kidney": 20.0,
    "left kidney": 20.0,
    "right kidney": 20.0,
    "stomach": 20.0,
    "urinary bladder": 20.0,
    "lung": 60.0,
    "left lung": 60.0,
    "right lung": 60.0,
    "heart": 40.0,
    "brain": 60.0,
    "cerebellum": 25.0,
    "skull": 60.0,
    "spine": 20.0,
    "sacrum": 25.0,
    "femur": 15.0,
    "left femur": 15.0,
    "right femur": 15.0,
    "hip bone": 30.0,
    "left hip bone": 30.0,
    "right hip bone": 30.0,
    "aorta": 12.0,
    "thorax": 60.0,
    "abdomen": 60.0,
    "pelvis": 60.0,
    "abdominal cavity": 60.0,
    "thoracic cavity": 60.0,
}


def smallest_extent_mm(phrase: str, vocabulary: Vocabulary) -> float | None:
    """The smallest extent that what ``phrase`` names has, or None where it may be of any size."""
    concept = vocabulary.find(phrase)
    return SMALLEST_EXTENT_MM.get(key_of(phrase) if concept is None else concept.phrase)
