"""What is known of adult organs beforehand: volumes and CT numbers, wide enough to catch gross errors only."""

from __future__ import annotations

from dataclasses import dataclass

#: Volumes of adults in milliliters: mean masses of men and women by ICRP Publication 89 (2002), table 2.8, at about
#: 1.05 g/mL; blood and contents included where images show them. One organ of a pair.
_ADULT_ML = {
    "liver": 1550.0, "spleen": 140.0, "kidney": 145.0, "pancreas": 125.0, "stomach": 400.0, "gallbladder": 65.0,
    "urinary bladder": 200.0, "heart": 750.0, "lung": 2500.0, "brain": 1350.0, "prostate": 17.0, "uterus": 80.0,
    "adrenal gland": 7.0, "thyroid gland": 19.0, "aorta": 150.0, "spine": 900.0,
}  # fmt: skip

#: Sick organs, children and cut-off fields of view differ from the mean up to this factor.
_FACTOR = 6.0

#: Mean CT number of the healthy organ in HU, with and without contrast (Lamba et al., AJR 203 (2014) 1000 for soft
#: organs; the air of lungs and the mineral of bone are textbook values).
_CT_HU = {
    "liver": (-20.0, 260.0), "spleen": (-20.0, 320.0), "kidney": (-20.0, 380.0), "pancreas": (-60.0, 240.0),
    "lung": (-980.0, -350.0), "spine": (60.0, 900.0), "bone": (60.0, 1500.0), "aorta": (-20.0, 700.0),
    "heart": (-40.0, 500.0), "brain": (0.0, 110.0), "fat": (-160.0, -30.0),
}  # fmt: skip


@dataclass(frozen=True)
class ExpectedOrgan:
    """What an organ is expected to be.

    Attributes:
        least_ml, most_ml: its volume where all of it is in the image.
        ct_hu: lowest and highest mean CT number, or None.
        is_single: whether it is one connected object in an adult.
    """

    least_ml: float
    most_ml: float
    ct_hu: tuple[float, float] | None
    is_single: bool


def expected_organ(phrase: str, *, both_sides: bool = False) -> ExpectedOrgan | None:
    """What is expected of an organ by its phrase in the vocabulary, None where nothing is known.

    Args:
        both_sides: whether both of a pair are meant.
    """
    if phrase not in _ADULT_ML:
        return None
    volume = _ADULT_ML[phrase] * (2 if both_sides else 1)
    return ExpectedOrgan(volume / _FACTOR, volume * _FACTOR, _CT_HU.get(phrase), is_single=not both_sides)
