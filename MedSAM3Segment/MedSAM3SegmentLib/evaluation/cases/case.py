"""What is evaluated: cases, each with the concepts that are asked for and a way to read their references."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.datasets.label_files import place_mask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.volume import Volume

if TYPE_CHECKING:
    from MedSAM3SegmentLib.evaluation.case_row import CaseRow
    from MedSAM3SegmentLib.evaluation.tables import Table


@dataclass(frozen=True, eq=False)
class Reference:
    """Where one concept truly is in one case.

    Attributes:
        mask: bool ``[k, j, i]``.
        grid: of the mask.
        is_picture: whether its pixels have no size, so that lengths are in pixels.
        objects: whole numbers ``[k, j, i]``, one for each object, or None where objects are not told apart.
        scored: False where voxels count on neither side, or None for all.
        is_film: whether slices are frames over time, so that nothing along the first axis is a length.
        notes: what the user should know of it, one sentence each.
    """

    mask: BoolMask
    grid: VoxelGrid
    is_picture: bool = False
    objects: NDArray[Any] | None = None
    scored: BoolMask | None = None
    notes: tuple[str, ...] = ()
    is_film: bool = False

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Between voxels along ``(k, j, i)``, in mm or in pixels."""
        return (1.0, 1.0, 1.0) if self.is_picture else self.grid.spacing[::-1]

    @property
    def unit(self) -> str:
        return "px" if self.is_picture else "mm"


#: Gives the references of a case by concept, once the grid of its image is known (or None where no image is read).
ReadReferences = Callable[[VoxelGrid | None], Mapping[str, Reference]]


@dataclass(frozen=True, eq=False)
class EvaluationCase:
    """One image with references.

    Attributes:
        name: what it is called in tables; no two of a run are called the same.
        read_references: reads them; raises InputError.
        files: of the references, for the hash of the split.
        image: the file that a model segments, or None where only predictions are compared.
        group: a part of the data that is also reported apart, or "".
        unit: what the case belongs to (a patient, a sequence), whose cases are not independent; or "" for itself.
        sequence: the film that it is a frame of, or is; "" for none.
        make_image: gives what a model segments where no single file holds it, or None.
    """

    name: str
    read_references: ReadReferences
    files: tuple[Path, ...]
    image: Path | None = None
    group: str = ""
    unit: str = ""
    sequence: str = ""
    make_image: Callable[[], Volume] | None = None

    @property
    def has_image(self) -> bool:
        """Whether there is something that a model could segment."""
        return self.image is not None or self.make_image is not None

    def read_image(self) -> Volume | None:
        """What a model segments, or None.

        Raises:
            InputError: a file cannot be read.
        """
        if self.make_image is not None:
            return self.make_image()
        if self.image is None:
            return None
        from MedSAM3SegmentLib.io.read_volume import read_volume

        return read_volume(self.image)

    @property
    def independent_unit(self) -> str:
        return self.unit or self.name


@dataclass(frozen=True, eq=False)
class CaseSet:
    """All cases of a run.

    Attributes:
        title: what they are, for the head of the tables.
        concepts: name to the phrase that a model is asked.
        cases: in the order of the tables.
        values: by concept its values in label maps of other tools; empty where names decide.
        notes: what was guessed, left out or assumed, one sentence each.
        published: rows of published tables beside ours, as the catalog has them.
        split: how the cases were chosen, in words.
        groups: concepts that are also reported together, by what they are called together.
        compared: ways of asking that are compared in pairs, the first against the second.
        further_tables: makes more tables of the rows, or None.
    """

    title: str
    concepts: Mapping[str, str]
    cases: Sequence[EvaluationCase]
    values: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    published: Sequence[Mapping[str, Any]] = ()
    split: str = "all cases"
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    compared: Sequence[tuple[str, str]] = ()
    further_tables: Callable[[Sequence[CaseRow]], Sequence[Table]] | None = None

    def restricted_to(self, names: Sequence[str]) -> CaseSet:
        """The same cases with some of the concepts alone.

        Raises:
            InputError: one is not there.
        """
        strange = [name for name in names if name not in self.concepts]
        if strange:
            raise InputError(f"{self.title} has no concept '{strange[0]}'; there are {', '.join(self.concepts)}.")
        kept = dict.fromkeys(names)
        cases = [replace(case, read_references=_Restricted(case.read_references, tuple(kept))) for case in self.cases]
        values = {name: given for name, given in self.values.items() if name in kept}
        concepts = {name: self.concepts[name] for name in kept}
        groups = {title: [name for name in some if name in kept] for title, some in self.groups.items()}
        groups = {title: some for title, some in groups.items() if some}
        return replace(self, concepts=concepts, cases=cases, values=values, groups=groups)

    def split_hash(self) -> str:
        """SHA-256 over the names of the cases, and names and sizes of their reference files, whatever their order."""
        lines = sorted(
            "\t".join([case.name, *(f"{file.name}\t{file.stat().st_size}" for file in case.files)])
            for case in self.cases
        )
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, eq=False)
class _Restricted:
    """Gives some of the references."""

    read: ReadReferences
    names: tuple[str, ...]

    def __call__(self, grid: VoxelGrid | None) -> dict[str, Reference]:
        references = self.read(grid)
        return {name: references[name] for name in self.names if name in references}


def check_names(cases: Sequence[EvaluationCase]) -> None:
    """Make sure that cases can be told apart.

    Raises:
        InputError: two are called the same, or there is none.
    """
    if not cases:
        raise InputError("There is no case to evaluate; check the folders and --split.")
    seen: dict[str, EvaluationCase] = {}
    for case in cases:
        # As file systems that do not tell upper from lower case see it, since masks are kept under these names.
        if (other := seen.setdefault(case.name.casefold(), case)) is not case:
            raise InputError(f"Two cases are called {case.name} ({other.name}); rename one of their files.")


def place_reference(reference: Reference, grid: VoxelGrid, path: Path) -> Reference:
    """A reference on more voxels.

    Raises:
        InputError: voxels do not coincide.
    """
    mask = place_mask(reference.mask, reference.grid, grid, path, path)
    return Reference(mask, grid, reference.is_picture)
