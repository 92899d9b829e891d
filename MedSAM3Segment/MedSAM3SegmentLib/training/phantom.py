"""Synthetic abdomens: 3D, CT-like or MR-like, with labels, from a seed.

They show how the program works and let it be tested; they are no evidence of anything in a patient. Organs are smooth
implicit bodies in RAS millimetres around the phantom's centre, sampled on any grid, oblique ones too, so that the
same anatomy can be seen through different voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ..grid import VoxelGrid
from ..volume import Volume

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: The organs that can be asked for; each may be missing from a phantom except the spine.
ORGANS = ("liver", "spleen", "left kidney", "right kidney", "spine", "aorta", "stomach")

#: Everything a phantom has labels for. ``kidney`` is both kidneys, ``tumor`` every tumour wherever it sits.
CONCEPTS = (*ORGANS, "kidney", "tumor", "liver tumor", "kidney tumor")


class Contrast(StrEnum):
    """What kind of image a phantom imitates."""

    CT = "CT"
    MR = "MR"


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic volume and where its organs are.

    Attributes:
        volume: the image; its modality is ``CT`` (in HU) or ``MR`` (arbitrary unit).
        masks: bool ``[k, j, i]`` for each of ``CONCEPTS``; all False where the concept is absent.
    """

    volume: Volume
    masks: Mapping[str, Mask]

    @property
    def present(self) -> tuple[str, ...]:
        return tuple(name for name in CONCEPTS if self.masks[name].any())

    @property
    def absent(self) -> tuple[str, ...]:
        return tuple(name for name in CONCEPTS if not self.masks[name].any())


def random_grid(
    rng: np.random.Generator,
    *,
    max_tilt_degrees: float = 10.0,
    pixels: int = 128,
    thickness_mm: tuple[float, float] = (4.0, 8.0),
) -> VoxelGrid:
    """An axial-ish acquisition around the phantom: RAS or LPS, tilted a little, thick or thin slices.

    Args:
        rng: where the randomness comes from.
        max_tilt_degrees: largest rotation about each axis.
        pixels: rows and columns.
        thickness_mm: the range that the distance between slices is drawn from.
    """
    in_plane = rng.uniform(2.7, 3.1) * 128 / pixels
    thickness = rng.uniform(*thickness_mm)
    slices = round(rng.uniform(180, 220) / thickness)
    return tilted_grid(
        (slices, pixels, pixels), (in_plane, in_plane, thickness), rng.uniform(-1, 1, 3) * max_tilt_degrees
    )


def tilted_grid(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    tilt_degrees: NDArray[np.float64] | tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> VoxelGrid:
    """A grid centred on the phantom.

    Args:
        shape: ``(k, j, i)``.
        spacing: along ``(i, j, k)`` in millimetres.
        tilt_degrees: rotation about R, A and S.
    """
    from scipy.spatial.transform import Rotation

    # i runs to the patient's left and j to posterior, as in nearly every axial DICOM series.
    axes = Rotation.from_euler("xyz", np.asarray(tilt_degrees), degrees=True).as_matrix() @ np.diag([-1.0, -1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.asarray(spacing)
    centre = (np.asarray(shape[::-1]) - 1) / 2
    matrix[:3, 3] = -matrix[:3, :3] @ centre
    return VoxelGrid(shape, matrix)


def make_phantom(
    seed: int,
    grid: VoxelGrid | None = None,
    contrast: Contrast | None = None,
    absence: float = 0.15,
) -> Phantom:
    """The phantom of ``seed``: the same anatomy whatever grid or contrast it is asked for in.

    Args:
        seed: decides anatomy, and grid and contrast where those are not given.
        grid: where to sample; by default a random axial-ish one.
        contrast: CT-like or MR-like; by default either.
        absence: probability that an organ is missing (the spine never is).
    """
    anatomy_rng, grid_rng, image_rng = (np.random.default_rng([seed, part]) for part in range(3))
    if grid is None:
        grid = random_grid(grid_rng)
    if contrast is None:
        contrast = Contrast.CT if grid_rng.random() < 0.6 else Contrast.MR
    anatomy = _Anatomy.random(anatomy_rng, absence)
    tissues = _rasterise(anatomy, grid)
    array = _paint(tissues, anatomy, grid, contrast, image_rng)
    volume = Volume(array, grid, contrast.value, f"phantom-{seed}")
    return Phantom(volume, _labels(tissues))


# --- anatomy: bodies as functions of position -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Ellipsoid:
    """A tilted ellipsoid; its field is below 1 inside."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    rotation: NDArray[np.float64]

    def field(self, positions: Field) -> Field:
        local = (positions - self.centre.astype(np.float32)) @ self.rotation.astype(np.float32)
        return np.asarray(np.sqrt(np.square(local / self.radii.astype(np.float32)).sum(-1)))

    @property
    def reach(self) -> float:
        """Radius in millimetres of a ball that surely holds the body, its wobble included."""
        return float(self.radii.max() * 1.45)


@dataclass(frozen=True, eq=False)
class _Wobble:
    """A smooth random field around 0 that makes surfaces irregular."""

    waves: NDArray[np.float64]
    phases: NDArray[np.float64]
    amplitude: float

    @classmethod
    def random(cls, rng: np.random.Generator, amplitude: float, wavelength: float) -> _Wobble:
        directions = rng.normal(size=(5, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        waves = directions * (2 * np.pi / (wavelength * rng.uniform(0.7, 1.5, (5, 1))))
        return cls(waves, rng.uniform(0, 2 * np.pi, 5), amplitude / np.sqrt(2.5))

    def field(self, positions: Field) -> Field:
        angles = positions @ self.waves.T.astype(np.float32) + self.phases.astype(np.float32)
        return np.asarray(np.sin(angles).sum(-1) * np.float32(self.amplitude))


@dataclass(frozen=True, eq=False)
class _Body:
    """An organ: the union of ellipsoids with a wobbly surface."""

    parts: tuple[_Ellipsoid, ...]
    wobble: _Wobble


@dataclass(frozen=True, eq=False)
class _Anatomy:
    """One synthetic patient."""

    trunk: tuple[float, float]
    organs: Mapping[str, _Body]
    tumours: tuple[tuple[str, _Body], ...]
    clutter: tuple[tuple[_Body, float], ...]
    curve: NDArray[np.float64]

    @classmethod
    def random(cls, rng: np.random.Generator, absence: float) -> _Anatomy:
        scale = rng.uniform(0.9, 1.08)

        def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...], shift: float, tilt: float) -> _Ellipsoid:
            from scipy.spatial.transform import Rotation

            return _Ellipsoid(
                np.array(centre) * scale + rng.normal(0, shift, 3),
                np.array(radii) * scale * rng.uniform(0.86, 1.16, 3),
                Rotation.from_euler("xyz", rng.normal(0, tilt, 3), degrees=True).as_matrix(),
            )

        def body(*parts: _Ellipsoid, amplitude: float = 0.12, wavelength: float = 90.0) -> _Body:
            return _Body(parts, _Wobble.random(rng, amplitude, wavelength))

        # Centres and radii in RAS millimetres: R is positive to the patient's right, where the liver is.
        candidates = {
            "liver": body(
                ellipsoid((82, 8, 30), (64, 72, 66), 5, 8),
                ellipsoid((22, 52, 42), (58, 30, 36), 5, 8),
            ),
            "spleen": body(ellipsoid((-108, -30, 38), (28, 46, 46), 5, 12)),
            "left kidney": body(ellipsoid((-66, -52, -22), (25, 28, 52), 5, 8), amplitude=0.08),
            "right kidney": body(ellipsoid((66, -54, -34), (25, 28, 52), 5, 8), amplitude=0.08),
            "stomach": body(ellipsoid((-62, 44, 22), (40, 36, 52), 6, 14)),
        }
        curve = np.array([rng.normal(0, 5), rng.normal(0, 4), rng.uniform(0, 2 * np.pi), rng.uniform(9, 12.5)]) * scale
        organs = {name: organ for name, organ in candidates.items() if rng.random() >= absence}
        if rng.random() >= absence:
            organs["aorta"] = _Body((), _Wobble.random(rng, 0.05, 60.0))
        organs["spine"] = _Body((), _Wobble.random(rng, 0.06, 50.0))

        tumours: list[tuple[str, _Body]] = []
        for host, probability in (("liver", 0.55), ("left kidney", 0.18), ("right kidney", 0.18)):
            if host not in organs or rng.random() > probability:
                continue
            for _ in range(int(rng.choice([1, 2])) if host == "liver" else 1):
                part = organs[host].parts[0]
                direction = rng.normal(size=3)
                offset = part.rotation @ (direction / np.linalg.norm(direction) * part.radii * rng.uniform(0.15, 0.62))
                radius = rng.uniform(11, 24) if host == "liver" else rng.uniform(11, 18)
                tumours.append(
                    (
                        host,
                        body(
                            _Ellipsoid(part.centre + offset, radius * rng.uniform(0.85, 1.15, 3), np.eye(3)),
                            amplitude=0.1,
                            wavelength=40.0,
                        ),
                    )
                )
        clutter = []
        for _ in range(int(rng.integers(4, 11))):
            centre = (rng.uniform(-75, 75), rng.uniform(0, 70), rng.uniform(-110, -35))
            clutter.append((body(ellipsoid(centre, tuple(rng.uniform(10, 24, 3)), 0, 40)), float(rng.random())))
        trunk = (168 * scale * rng.uniform(0.95, 1.05), 118 * scale * rng.uniform(0.93, 1.07))
        return cls(trunk, organs, tuple(tumours), tuple(clutter), curve)


# --- rasterising -----------------------------------------------------------------------------------------------------


class _Tissue:
    """Codes of the tissue map; organs follow from ``FIRST_ORGAN`` in the order of ``ORGANS``."""

    AIR, FAT, MUSCLE, CAVITY, VEIN, CLUTTER = range(6)
    FIRST_ORGAN = 6
    TUMOUR_BIT = 32
    LIVER_TUMOUR = TUMOUR_BIT | FIRST_ORGAN

    @staticmethod
    def of(organ: str) -> int:
        return _Tissue.FIRST_ORGAN + ORGANS.index(organ)


def _rasterise(anatomy: _Anatomy, grid: VoxelGrid) -> NDArray[np.uint8]:
    """Tissue codes ``[k, j, i]``."""
    k, j, i = np.indices(grid.shape, dtype=np.float32)
    positions = grid.to_ras(np.stack([i, j, k], axis=-1)).astype(np.float32)
    x, y, z = positions[..., 0], positions[..., 1], positions[..., 2]
    tissues = np.zeros(grid.shape, np.uint8)

    skin = np.sqrt((x / anatomy.trunk[0]) ** 2 + (np.abs(y) / anatomy.trunk[1]) ** 2.4)
    tissues[skin < 1] = _Tissue.FAT
    tissues[skin < 0.9] = _Tissue.MUSCLE
    tissues[skin < 0.82] = _Tissue.CAVITY

    def fill(body: _Body, code: int, where: Callable[[NDArray[np.uint8]], Mask]) -> None:
        for part in body.parts:
            near = np.square(positions - part.centre.astype(np.float32)).sum(-1) < part.reach**2
            if not near.any():
                continue
            inside = np.zeros(grid.shape, bool)
            inside[near] = part.field(positions[near]) + body.wobble.field(positions[near]) < 1
            tissues[inside & where(tissues)] = code

    for body, _ in anatomy.clutter:
        fill(body, _Tissue.CLUTTER, lambda t: t == _Tissue.CAVITY)

    sway_x = anatomy.curve[0] * np.sin(z / 60 + anatomy.curve[2])
    sway_y = anatomy.curve[1] * np.cos(z / 70 + anatomy.curve[2])
    radius = anatomy.curve[3]
    # The vena cava looks like the aorta and lies on the other side: only position tells them apart.
    vein = np.hypot((x - 20 - sway_x) / 1.15, y + 40 - sway_y) < radius
    tissues[vein & (skin < 0.82)] = _Tissue.VEIN
    for name in ("stomach", "liver", "spleen", "left kidney", "right kidney"):
        if name in anatomy.organs:
            fill(
                anatomy.organs[name],
                _Tissue.of(name),
                lambda t: (t >= _Tissue.CAVITY) & (t != _Tissue.VEIN) & (t < _Tissue.FIRST_ORGAN),
            )
    if "aorta" in anatomy.organs:
        wobble = anatomy.organs["aorta"].wobble.field(positions)
        tissues[np.hypot(x + 13 - sway_x, y + 36 - sway_y) / (radius * 1.1) + wobble < 1] = _Tissue.of("aorta")
    wobble = anatomy.organs["spine"].wobble.field(positions)
    vertebra = np.hypot((x - sway_x) / 23, (y + 68 - sway_y) / 18) + wobble < 1
    arch = np.hypot((x - sway_x) / 9, (y + 92 - sway_y) / 15) + wobble < 1
    tissues[(vertebra | arch) & (skin < 0.97)] = _Tissue.of("spine")
    for host, body in anatomy.tumours:
        code = _Tissue.of(host)
        fill(body, code | _Tissue.TUMOUR_BIT, lambda t, code=code: t == code)  # type: ignore[misc]
    return tissues


def _labels(tissues: NDArray[np.uint8]) -> dict[str, Mask]:
    """Masks by concept; an organ includes the tumours in it, as in LiTS and KiTS."""
    organ = tissues & ~np.uint8(_Tissue.TUMOUR_BIT)
    tumour = (tissues & _Tissue.TUMOUR_BIT) > 0
    masks: dict[str, Mask] = {name: organ == _Tissue.of(name) for name in ORGANS}
    masks["kidney"] = masks["left kidney"] | masks["right kidney"]
    masks["tumor"] = tumour
    masks["liver tumor"] = tumour & masks["liver"]
    masks["kidney tumor"] = tumour & masks["kidney"]
    return masks


# --- painting --------------------------------------------------------------------------------------------------------

# HU of a portal venous CT, mean and spread between patients.
_HOUNSFIELD: dict[int, tuple[float, float]] = {
    _Tissue.AIR: (-1000, 0),
    _Tissue.FAT: (-100, 10),
    _Tissue.MUSCLE: (55, 8),
    _Tissue.CAVITY: (-60, 25),
    _Tissue.VEIN: (150, 25),
    _Tissue.of("liver"): (105, 14),
    _Tissue.of("spleen"): (125, 14),
    _Tissue.of("left kidney"): (180, 22),
    _Tissue.of("right kidney"): (180, 22),
    _Tissue.of("spine"): (260, 60),
    _Tissue.of("aorta"): (165, 25),
    _Tissue.of("stomach"): (25, 18),
}

# Brightness in T1- and T2-weighted MR, arbitrary unit: fat bright in both, water dark in T1 and bright in T2, flowing
# blood dark.
_T1: dict[int, float] = {
    _Tissue.AIR: 10,
    _Tissue.FAT: 850,
    _Tissue.MUSCLE: 290,
    _Tissue.CAVITY: 620,
    _Tissue.VEIN: 90,
    _Tissue.CLUTTER: 230,
    _Tissue.of("liver"): 430,
    _Tissue.of("spleen"): 310,
    _Tissue.of("left kidney"): 365,
    _Tissue.of("right kidney"): 365,
    _Tissue.of("spine"): 240,
    _Tissue.of("aorta"): 90,
    _Tissue.of("stomach"): 170,
}
_T2: dict[int, float] = {
    _Tissue.AIR: 10,
    _Tissue.FAT: 700,
    _Tissue.MUSCLE: 160,
    _Tissue.CAVITY: 520,
    _Tissue.VEIN: 85,
    _Tissue.CLUTTER: 620,
    _Tissue.of("liver"): 260,
    _Tissue.of("spleen"): 410,
    _Tissue.of("left kidney"): 740,
    _Tissue.of("right kidney"): 740,
    _Tissue.of("spine"): 350,
    _Tissue.of("aorta"): 80,
    _Tissue.of("stomach"): 900,
}


def _paint(
    tissues: NDArray[np.uint8], anatomy: _Anatomy, grid: VoxelGrid, contrast: Contrast, rng: np.random.Generator
) -> NDArray[np.int16]:
    from scipy import ndimage

    table = np.zeros(64, np.float32)
    if contrast is Contrast.CT:
        for code, (mean, spread) in _HOUNSFIELD.items():
            table[code] = mean + rng.normal(0, spread)
        table[_Tissue.of("right kidney")] = table[_Tissue.of("left kidney")]
        table[_Tissue.CLUTTER] = rng.uniform(-20, 90)
        lesion_step = (-75.0, -40.0) if rng.random() < 0.75 else (45.0, 80.0)
    else:
        weighting = _T1 if rng.random() < 0.5 else _T2
        for code, mean in weighting.items():
            table[code] = mean * (1 + rng.normal(0, 0.06))
        table[_Tissue.of("right kidney")] = table[_Tissue.of("left kidney")]
        # Lesions hold water: dark in T1, bright in T2.
        lesion_step = (-220.0, -150.0) if weighting is _T1 else (200.0, 300.0)
    for host in ("liver", "left kidney", "right kidney"):
        code = _Tissue.of(host)
        table[code | _Tissue.TUMOUR_BIT] = table[code] + rng.uniform(*lesion_step)
    image = table[tissues]

    k = np.arange(grid.shape[0], dtype=np.float32)[:, None, None] * grid.spacing[2]
    spine = tissues == _Tissue.of("spine")
    image += np.where(spine, 0.16 * np.abs(table[_Tissue.of("spine")]) * np.sin(k / rng.uniform(4.5, 6)), 0)
    if "stomach" in anatomy.organs and rng.random() < 0.5:
        # Gas rises to the front of the stomach of a patient who lies on the back.
        stomach = tissues == _Tissue.of("stomach")
        anterior = np.broadcast_to(_anterior(grid), grid.shape)
        if stomach.any():
            level = np.quantile(anterior[stomach], rng.uniform(0.75, 0.95))
            image[stomach & (anterior > level)] = -800 if contrast is Contrast.CT else 20

    sigma_mm = rng.uniform(0.8, 2.2)
    image = ndimage.gaussian_filter(image, [sigma_mm / spacing / 2 for spacing in grid.spacing[::-1]])
    texture = ndimage.gaussian_filter(rng.normal(0, 1, grid.shape).astype(np.float32), [0.5, 1.2, 1.2])
    texture /= max(float(texture.std()), 1e-6)
    if contrast is Contrast.CT:
        noise = rng.uniform(5, 18)
        image = image + texture * noise * 0.6 + rng.normal(0, noise * 0.7, grid.shape)
    else:
        noise = rng.uniform(12, 45)
        real = image * _bias_field(grid, rng) + rng.normal(0, noise, grid.shape) + texture * noise * 0.5
        image = np.hypot(real, rng.normal(0, noise, grid.shape)) * rng.uniform(0.3, 3.0)
    painted: NDArray[np.int16] = np.rint(np.clip(image, -1024, 30000)).astype(np.int16)
    return painted


def _anterior(grid: VoxelGrid) -> Field:
    """RAS A coordinate of every voxel in millimetres."""
    k, j, i = np.ogrid[: grid.shape[0], : grid.shape[1], : grid.shape[2]]
    row = grid.ijk_to_ras[1]
    return np.asarray(row[0] * i + row[1] * j + row[2] * k + row[3], dtype=np.float32)


def _bias_field(grid: VoxelGrid, rng: np.random.Generator) -> Field:
    """A coil's smooth brightness field around 1."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in grid.shape], indexing="ij")
    a, b, c, d = rng.normal(0, 0.12, 4)
    return np.asarray(np.exp(a * i + b * j + c * k + d * i * j), dtype=np.float32)
