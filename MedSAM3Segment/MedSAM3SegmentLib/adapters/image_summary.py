"""What pictures an adapter was trained on, in numbers: mean, spread and main directions of their pooled features.

A picture's pooled features are the frozen image encoder's output, averaged over its tokens. How far new pictures are
from those of a training is measured twice: within the few directions that training pictures differ in (Mahalanobis
distance), and across all others, in which they hardly do (reconstruction error; Jackson & Mudholkar 1979). The second
tells other kinds of pictures, which a mean and a spread for each channel do not: those of CT-like and MR-like phantoms
take up real CT and MR.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import ModelError

#: The summary's file in an adapter folder.
SUMMARY_FILE = "image-summary.json"

#: Pictures below which nothing can be said of their spread.
_FEWEST = 8

#: Most main directions; measured with 96 pictures of the demo model, from 12 to 20 made no difference.
_MOST_DIRECTIONS = 16

#: Parts that tell how far pictures are that were not summarized (cross-validation).
_PARTS = 4

#: Up to here a volume is like the training pictures, whose own distances average 1, where these are of too few volumes
#: to tell how these differ. Chosen with the demo model on 67 volumes and pictures; docs/learn.md has figures of others.
LARGEST_DISTANCE = 1.2

#: Training volumes from which on their own differences say how far a new one may be.
_FEWEST_VOLUMES = 5

#: Of new volumes of the same kind this share is to be taken for such.
_SHARE_TAKEN = 0.975

#: No limit is above this, however much training volumes differ: beyond it lies what is nothing like them.
_MOST_DISTANCE = 1.8

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ImageSummary:
    """The pooled features of training pictures.

    Attributes:
        features: what they are of: hash of the base's weights, and edge of its input in pixels.
        pictures: how many there were.
        mean: ``[channel]``.
        spread: standard deviation ``[channel]``.
        directions: ``[direction, channel]``, each of length 1.
        deviations: along each direction.
        residual: root mean square per channel of what lies in no direction.
        scales: root mean squares of the two distances, of pictures that were left out in turn.
        limit: up to this distance a volume counts as one of the same kind.
    """

    features: str
    pictures: int
    mean: Features
    spread: Features
    directions: Features
    deviations: Features
    residual: float
    scales: tuple[float, float]
    limit: float = LARGEST_DISTANCE

    @classmethod
    def of(
        cls,
        pooled: Features,
        features: str,
        groups: Sequence[int] | None = None,
        volumes: Sequence[int] | None = None,
    ) -> ImageSummary | None:
        """Summarize pooled features ``[picture, channel]``; None where there are too few.

        Args:
            groups: a number for each picture; those of one number, such as views of one slice, are left out together.
            volumes: a number for each picture, of the volume that it is from; None where that is not known.
        """
        count = len(pooled)
        if count < _FEWEST:
            return None
        exact = pooled.astype(np.float64)
        most = min(_MOST_DIRECTIONS, count // _PARTS)
        whole = _fit(exact, most)
        _, numbers = np.unique(np.arange(count) if groups is None else groups, return_inverse=True)
        left_out = numbers % _PARTS
        parts = [left_out == part for part in np.unique(left_out)] if numbers.max() > 0 else [np.arange(count) % 2 == 0]
        own = np.concatenate([_distances(exact[part], *_fit(exact[~part], most)) for part in parts])
        within, across = np.sqrt((own**2).mean(axis=0)).clip(1e-6)
        mean, directions, deviations, residual = whole
        scales = (float(within), float(across))
        return cls(
            features,
            count,
            mean.astype(np.float32),
            exact.std(axis=0).astype(np.float32),
            directions.astype(np.float32),
            deviations.astype(np.float32),
            float(residual),
            scales,
            LARGEST_DISTANCE if volumes is None else _limit(exact, np.asarray(volumes), scales),
        )

    def distance(self, pooled: Features) -> float:
        """How far pictures ``[picture, channel]`` are, the median of them; training pictures are at about 1."""
        found = _distances(pooled.astype(np.float64), self.mean, self.directions, self.deviations, self.residual)
        return float(np.median((found / self.scales).max(axis=1)))

    def to_text(self) -> str:
        """JSON."""
        numbers = {name: _rounded(getattr(self, name)) for name in ("mean", "spread", "directions", "deviations")}
        return json.dumps(
            {
                "version": 1,
                "features": self.features,
                "pictures": self.pictures,
                "residual": self.residual,
                "scales": list(self.scales),
                "limit": self.limit,
                **numbers,
            }
        )

    @classmethod
    def load(cls, folder: Path) -> ImageSummary | None:
        """The summary in an adapter folder, or None where there is none.

        Raises:
            ModelError: it is damaged.
        """
        path = folder / SUMMARY_FILE
        if not path.is_file():
            return None
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            arrays = {
                name: np.asarray(values[name], np.float32) for name in ("mean", "spread", "directions", "deviations")
            }
            mean, directions, deviations = arrays["mean"], arrays["directions"], arrays["deviations"]
            within, across = (float(value) for value in values["scales"])
            # Older summaries have none.
            limit = float(values.get("limit", LARGEST_DISTANCE))
            if mean.ndim != 1 or directions.shape != (len(deviations), len(mean)) or deviations.ndim != 1:
                raise ValueError("its numbers do not belong together")
            if (
                not all(np.isfinite(array).all() for array in arrays.values())
                or not 0 < min(within, across, limit) < np.inf
            ):
                raise ValueError("its numbers are none")
            return cls(
                str(values["features"]),
                int(values["pictures"]),
                **arrays,
                residual=float(values["residual"]),
                scales=(within, across),
                limit=min(limit, _MOST_DISTANCE),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                "The summary {path} cannot be read ({why}); restore it or delete it.", path=path, why=str(error)
            ) from None


_Fit = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]


def _fit(pooled: NDArray[np.float64], most: int) -> _Fit:
    """Mean, directions, deviations along them, and what lies in none."""
    mean = pooled.mean(axis=0)
    _, values, directions = np.linalg.svd(pooled - mean, full_matrices=False)
    variances = values**2 / (len(pooled) - 1)
    # Pictures that are all the same differ in no direction.
    least = 1e-12 + 1e-9 * float((mean**2).mean())
    residual = float(np.sqrt(variances[most:].sum() / pooled.shape[1] + least))
    return mean, directions[:most], np.sqrt(variances[:most] + least), residual


def _distances(
    pooled: NDArray[np.float64],
    mean: NDArray[Any],
    directions: NDArray[Any],
    deviations: NDArray[Any],
    residual: float,
) -> NDArray[np.float64]:
    """``[picture, 2]``: within the directions and across them."""
    moved = pooled - mean
    along = moved @ directions.T
    rest = ((moved**2).sum(axis=1) - (along**2).sum(axis=1)).clip(0)
    within = np.sqrt(((along / deviations) ** 2).mean(axis=1))
    return np.stack([within, np.sqrt(rest / moved.shape[1]) / residual], axis=1)


def _limit(pooled: NDArray[np.float64], volumes: NDArray[Any], scales: tuple[float, float]) -> float:
    """How far a new volume of the same kind may be, from how far each training volume is from all others.

    Slices of one volume are more alike than those of two, so pictures that are left out one by one say too little. The
    limit is the upper end of the prediction interval for one more volume (Student's t), which is wider the fewer there
    are.
    """
    from scipy.stats import t

    own = []
    for number in np.unique(volumes):
        here = volumes == number
        rest = pooled[~here]
        if len(rest) >= _FEWEST:
            found = _distances(pooled[here], *_fit(rest, min(_MOST_DIRECTIONS, len(rest) // _PARTS)))
            own.append(float(np.median((found / scales).max(axis=1))))
    if len(own) < _FEWEST_VOLUMES:
        return LARGEST_DISTANCE
    wide = float(t.ppf(_SHARE_TAKEN, len(own) - 1)) * np.std(own, ddof=1) * np.sqrt(1 + 1 / len(own))
    return float(np.clip(np.mean(own) + wide, LARGEST_DISTANCE, _MOST_DISTANCE))


def _rounded(array: Features) -> Any:
    return [_rounded(row) for row in array] if array.ndim > 1 else [float(f"{value:.8g}") for value in array]
