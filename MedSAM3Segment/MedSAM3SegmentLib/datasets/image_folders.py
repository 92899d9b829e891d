"""Folders of images: with segmentations as Slicer saves them, or with masks and label maps in another folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.labelmap_nifti import read_names
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .findings import Findings
from .label_files import find_label_files, find_segments, is_picture_file, join_masks, read_labels, stem_of
from .labelled_case import CaseLabels, LabelledCase, LabelledDataset, check_values, place_on_image

#: Of Slicer's segmentations.
SEGMENTATION_SUFFIX = ".seg.nrrd"

#: What programs put behind the name of an image for its mask, longest first.
_MASK_ENDINGS = ("segmentation", "labels", "label", "mask", "seg", "gt")

#: Folders of images and of masks, as they are called; the first that is there is taken.
IMAGE_FOLDERS = ("images", "image", "imgs")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "segmentations")

_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def segmentation_pairs(folder: Path, findings: Findings) -> LabelledDataset:
    """Images with a ``.seg.nrrd`` beside each; names of segments are the phrases.

    A segmentation is of the image of its name (``ct.nrrd`` and ``ct.seg.nrrd`` or ``ct-segmentation.seg.nrrd``), else
    of the only other image in its folder.

    Raises:
        InputError: there is none.
    """
    files = [path for path in sorted(folder.rglob(f"*{SEGMENTATION_SUFFIX}")) if not _is_hidden(path, folder)]
    cases = []
    for file in files:
        image = _image_beside(file)
        name = file.relative_to(folder).as_posix()
        if image is None:
            findings.refuse(
                f"{file} has no image of its name beside it; save the volume there, as in {_plain_stem(file)}.nrrd."
            )
            continue
        concepts = _segment_names(file, findings)
        if concepts:
            cases.append(
                LabelledCase(
                    name,
                    image,
                    concepts,
                    partial(_read_segments, file, image, concepts),
                    split=_split_of(file.relative_to(folder)),
                )
            )
    return LabelledDataset(folder, "images with Slicer's segmentations", cases)


def mask_folders(
    folder: Path,
    findings: Findings,
    values: Mapping[str, tuple[int | str, ...]],
) -> LabelledDataset:
    """A folder of images beside one of masks, files of one name belonging together.

    Masks are label maps, or pictures of one concept in a folder of its name: ``masks/liver/a.png``.

    Args:
        values: by concept its values in the label maps; empty where files beside them (``a.labels.json``) name them.

    Raises:
        InputError: there are none, or nothing says what a label means.
    """
    images_folder, masks_folder = (_first_folder(folder, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS))
    if images_folder is None or masks_folder is None:
        raise InputError(f"{folder} has no folder 'images' beside a folder 'masks'; see docs/training-data.md.")
    images, masks = find_label_files(images_folder), find_label_files(masks_folder)
    by_concept = _concept_folders(images, masks)
    cases = []
    used: set[Path] = set()
    for name, image in images.items():
        split = _split_of(Path(name))
        if by_concept:
            files = {concept: masks[f"{concept}/{found}"] for concept, found in by_concept.get(name, {}).items()}
            concepts = tuple(files)
            for concept in sorted({one for those in by_concept.values() for one in those} - set(files)):
                findings.note(f"there is no mask of '{concept}', so nothing is learnt of it there.", image.name)
            if not concepts:
                findings.refuse(f"{image} has no mask of its name in {masks_folder}; add it, or take the image out.")
                continue
            read = partial(_read_masks, files, image)
        else:
            file = _of_name(masks, name)
            if file is None:
                findings.refuse(f"{image} has no mask of its name in {masks_folder}; add it, or take the image out.")
                continue
            files = {"": file}
            named = _named(file, values)
            if not named:
                findings.refuse(
                    f"Nothing says what the labels of {file} mean; give --label NAME=VALUE, such as --label polyp=255."
                )
                continue
            concepts, read = tuple(named), partial(_read_map, file, image, named)
        used.update(files.values())
        cases.append(LabelledCase(name, image, concepts, read, split=split))
    for name, path in masks.items():
        if path not in used and not (by_concept and name.rsplit("/", 1)[-1] in images):
            findings.refuse(f"{path} has no image of its name in {images_folder}; add it, or take the mask out.")
    return LabelledDataset(folder, "a folder of images and one of masks", cases)


def has_mask_folders(folder: Path) -> bool:
    return all(_first_folder(folder, names) is not None for names in (IMAGE_FOLDERS, MASK_FOLDERS))


def has_segmentations(folder: Path) -> bool:
    return next(folder.rglob(f"*{SEGMENTATION_SUFFIX}"), None) is not None


def _first_folder(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)


def _split_of(path: Path) -> str:
    return next((_SPLIT_FOLDERS[part.lower()] for part in path.parts[:-1] if part.lower() in _SPLIT_FOLDERS), "")


def _plain_stem(file: Path) -> str:
    """The name of the image that a mask is of."""
    stem = stem_of(file)
    for ending in _MASK_ENDINGS:
        for mark in ("-", "_", " "):
            if stem.lower().endswith(mark + ending) and len(stem) > len(mark + ending):
                return stem[: -len(mark + ending)]
    return stem


def _image_beside(file: Path) -> Path | None:
    beside = [
        path
        for path in sorted(file.parent.iterdir())
        if stem_of(path) and path.is_file() and not path.name.lower().endswith(SEGMENTATION_SUFFIX)
    ]
    for stem in (stem_of(file), _plain_stem(file)):
        found = [path for path in beside if stem_of(path) == stem]
        if len(found) == 1:
            return found[0]
    segmentations = list(file.parent.glob(f"*{SEGMENTATION_SUFFIX}"))
    return beside[0] if len(beside) == 1 and len(segmentations) == 1 else None


def _segment_names(file: Path, findings: Findings) -> tuple[str, ...]:
    """The names of the segments that hold a voxel."""
    try:
        segments = read_labels(file).segments
    except InputError as error:
        findings.refuse(str(error))
        return ()
    names = [segment.name for segment in segments if segment.mask.any()]
    for segment in segments:
        if not segment.mask.any():
            findings.note(
                f"the segment '{segment.name}' is empty, which does not say that it is absent, and was left out; a "
                'manifest can say so with "[]".',
                file.name,
            )
    twins = sorted({name for name in names if sum(prompt_for(name) == prompt_for(other) for other in names) > 1})
    if twins:
        findings.refuse(f"{file} has several segments called '{twins[0]}'; join them or rename one.")
    elif not names:
        findings.refuse(f"{file} holds no segment with a voxel, so that nothing can be learnt; draw one.")
    return () if twins else tuple(names)


def _read_segments(file: Path, image: Path, concepts: Sequence[str], grid: VoxelGrid, findings: Findings) -> CaseLabels:
    del findings
    labels = read_labels(file, lambda name, _label: name in concepts)
    masks = {one.name: place_on_image(one.mask, labels, grid, image) for one in labels.segments if one.name in concepts}
    return CaseLabels(masks)


def _of_name(masks: Mapping[str, Path], name: str) -> Path | None:
    if name in masks:
        return masks[name]
    return next((path for stem, path in masks.items() if _without_ending(stem) == name), None)


def _without_ending(stem: str) -> str:
    """A path without suffix, without what programs put behind the name of a mask."""
    folder, slash, name = stem.rpartition("/")
    return folder + slash + _plain_stem(Path(f"{name}.png"))


def _concept_folders(images: Mapping[str, Path], masks: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """By image the concepts that have a folder of masks, each with the mask's name in it; none where there are not."""
    found: dict[str, dict[str, str]] = {name: {} for name in images}
    for mask in masks:
        concept, slash, rest = mask.partition("/")
        for stem in (rest, _without_ending(rest)):
            if slash and mask not in images and _without_ending(mask) not in images and stem in images:
                found[stem][concept] = rest
                break
    return found if any(found.values()) else {}


def _named(file: Path, values: Mapping[str, tuple[int | str, ...]]) -> dict[str, tuple[int | str, ...]]:
    """Values by name, as they were given or as the file beside the map says."""
    return {**values} or {name: (number,) for number, name in read_names(file).items()}


def _read_map(
    file: Path, image: Path, values: Mapping[str, tuple[int | str, ...]], grid: VoxelGrid, findings: Findings
) -> CaseLabels:
    labels = read_labels(file)
    numbers = {value for those in values.values() for value in those if isinstance(value, int)}
    numbers |= {one.label for one in labels.segments if one.name in {v for those in values.values() for v in those}}
    check_values(labels, numbers, "--label", findings)
    masks = {
        name: place_on_image(join_masks(find_segments(labels, name, wanted), labels.grid.shape), labels, grid, image)
        for name, wanted in values.items()
    }
    return CaseLabels(masks)


def _read_masks(files: Mapping[str, Path], image: Path, grid: VoxelGrid, findings: Findings) -> CaseLabels:
    masks = {}
    for concept, file in files.items():
        labels = read_labels(file)
        numbers = sorted(one.label for one in labels.segments)
        if len(numbers) > 1 and is_picture_file(file):
            findings.refuse(
                f"{file} holds the values {', '.join(map(str, numbers[:4]))} and should be one mask of '{concept}', "
                "black and white; save it without smoothing."
            )
        masks[concept] = place_on_image(join_masks(labels.segments, labels.grid.shape), labels, grid, image)
    return CaseLabels(masks)
