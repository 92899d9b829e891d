"""What a concept is in coded terms (SNOMED CT and others), and how Slicer and DICOM write that down."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Code:
    """A coded term: coding scheme (``SCT``, ``DCM``, ``NCIt``), code value and meaning, as in DICOM."""

    scheme: str
    code: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.code}^{self.meaning}"


LEFT = Code("SCT", "7771000", "Left")
RIGHT = Code("SCT", "24028007", "Right")
TISSUE = Code("SCT", "85756007", "Tissue")

# The names of Slicer's own terminology lists. Slicer looks an entry up by its codes, so one that only another list
# holds is found all the same.
_CATEGORY_CONTEXT = "Segmentation category and type - DICOM master list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Concept:
    """One entry of the vocabulary.

    Attributes:
        phrase: what the model is asked: a lower case noun phrase of at most three words.
        synonyms: other phrases that mean it.
        category, type, type_modifier: what the segment is, in the terms of Slicer's terminologies. Category and type
            are None where no code could be verified.
        anatomic_region, anatomic_region_modifier: where it lies, if its type does not say so (a neoplasm of the liver).
        window: the CT window that suits it, a name from ``windowing.CT_WINDOWS``, or None.
        color: red, green and blue, 0 to 255.
        modalities: DICOM modality codes it is seen on, or empty for any.
    """

    phrase: str
    synonyms: tuple[str, ...] = ()
    category: Code | None = None
    type: Code | None = None
    type_modifier: Code | None = None
    anatomic_region: Code | None = None
    anatomic_region_modifier: Code | None = None
    window: str | None = None
    color: tuple[int, int, int] = (128, 174, 128)
    modalities: tuple[str, ...] = ()

    def on_side(self, side: Code) -> Concept:
        """The same on one side of the patient (``LEFT`` or ``RIGHT``)."""
        name = side.meaning.lower()
        sided = replace(
            self, phrase=f"{name} {self.phrase}", synonyms=tuple(f"{name} {synonym}" for synonym in self.synonyms)
        )
        if self.anatomic_region:
            return replace(sided, anatomic_region_modifier=side)
        return replace(sided, type_modifier=side) if self.type else sided


def terminology_entry(concept: Concept | None) -> str:
    """``concept`` as ``vtkSlicerTerminologiesModuleLogic::SerializeTerminologyEntry`` writes it.

    A concept without a type, and None, give Slicer's default: a tissue, no more said.
    """
    if concept is None or concept.category is None or concept.type is None:
        concept = Concept("tissue", category=TISSUE, type=TISSUE)

    def text(term: Code | None) -> str:
        return str(term) if term else "^^"

    return "~".join(
        (
            _CATEGORY_CONTEXT,
            text(concept.category),
            text(concept.type),
            text(concept.type_modifier),
            _REGION_CONTEXT,
            text(concept.anatomic_region),
            text(concept.anatomic_region_modifier),
        )
    )
