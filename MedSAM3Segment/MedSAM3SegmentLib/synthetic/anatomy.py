"""The bodies in a synthetic abdomen: organs, tumours and clutter, as functions of position, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """A tilted ellipsoid; its field is below 1 inside."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    rotation: NDArray[np.float64]

    def field(self, positions: Field) -> Field:
        local = (positions - self.centre.astype(np.float32)) @ self.rotation.astype(np.float32)
        return np.asarray(np.sqrt(np.square(local / self.radii.astype(np.float32)).sum(-1)))

    @property
    def reach(self) -> float:
        """Radius in millimeters of a ball that surely holds the body, its wobble included."""
        return float(self.radii.max() * 1.45)


@dataclass(frozen=True, eq=False)
class Wobble:
    """A smooth random field around 0 that makes surfaces irregular."""

    waves: NDArray[np.float64]
    phases: NDArray[np.float64]
    amplitude: float

    @classmethod
    def random(cls, rng: np.random.Generator, amplitude: float, wavelength: float) -> Wobble:
        directions = rng.normal(size=(5, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        waves = directions * (2 * np.pi / (wavelength * rng.uniform(0.7, 1.5, (5, 1))))
        return cls(waves, rng.uniform(0, 2 * np.pi, 5), amplitude / np.sqrt(2.5))

    def field(self, positions: Field) -> Field:
        angles = positions @ self.waves.T.astype(np.float32) + self.phases.astype(np.float32)
        # Added up wave by wave: numpy takes several times as long to sum over a short last axis.
        return np.asarray(sum(np.moveaxis(np.sin(angles), -1, 0)) * np.float32(self.amplitude))


@dataclass(frozen=True, eq=False)
class Body:
    """An organ: the union of ellipsoids with a wobbly surface."""

    parts: tuple[Ellipsoid, ...]
    wobble: Wobble


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One synthetic patient, in RAS millimeters around the phantom's center.

    Attributes:
        trunk: half of the trunk's width and depth.
        organs: that are not missing, by name; aorta and spine are only wobbles of a tube that follows ``curve``.
        tumours: each with the organ it sits in.
        clutter: bodies of no name.
        curve: sway of the spine to the right and to the front, its phase, and the radius of the great vessels.
    """

    trunk: tuple[float, float]
    organs: Mapping[str, Body]
    tumours: tuple[tuple[str, Body], ...]
    clutter: tuple[Body, ...]
    curve: NDArray[np.float64]

    @classmethod
    def random(cls, rng: np.random.Generator, absence: float, kidney_tumor: float = 0.18) -> Anatomy:
        """A patient; each organ but the spine is missing with the probability ``absence``.

        Args:
            kidney_tumor: probability of a tumor in each kidney that is there.
        """
        scale = rng.uniform(0.9, 1.08)

        def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...], shift: float, tilt: float) -> Ellipsoid:
            from scipy.spatial.transform import Rotation

            return Ellipsoid(
                np.array(centre) * scale + rng.normal(0, shift, 3),
                np.array(radii) * scale * rng.uniform(0.86, 1.16, 3),
                Rotation.from_euler("xyz", rng.normal(0, tilt, 3), degrees=True).as_matrix(),
            )

        def body(*parts: Ellipsoid, amplitude: float = 0.12, wavelength: float = 90.0) -> Body:
            return Body(parts, Wobble.random(rng, amplitude, wavelength))

        # Centers and radii in RAS millimeters: R is positive to the patient's right, where the liver is.
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
            organs["aorta"] = Body((), Wobble.random(rng, 0.05, 60.0))
        organs["spine"] = Body((), Wobble.random(rng, 0.06, 50.0))

        tumours: list[tuple[str, Body]] = []
        for host, probability in (
            ("liver", 0.55),
            ("left kidney", kidney_tumor),
            ("right kidney", kidney_tumor),
        ):
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
                            Ellipsoid(part.centre + offset, radius * rng.uniform(0.85, 1.15, 3), np.eye(3)),
                            amplitude=0.1,
                            wavelength=40.0,
                        ),
                    )
                )
        clutter = []
        for _ in range(int(rng.integers(4, 11))):
            centre = (rng.uniform(-75, 75), rng.uniform(0, 70), rng.uniform(-110, -35))
            clutter.append(body(ellipsoid(centre, tuple(rng.uniform(10, 24, 3)), 0, 40)))
            rng.random()  # Means nothing any more; without it every seed would be another patient.
        trunk = (168 * scale * rng.uniform(0.95, 1.05), 118 * scale * rng.uniform(0.93, 1.07))
        return cls(trunk, organs, tuple(tumours), tuple(clutter), curve)
