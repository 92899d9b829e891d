"""What pictures an adapter was trained on, in numbers: mean, main directions and spread of their pooled features.

A picture's pooled features are the frozen image encoder's output, averaged over its tokens. How far new pictures are
from those of a training is their Mahalanobis distance (as Lee et al. 2018 tell pictures of other kinds), with a
covariance that is drawn towards a ball by as much as fits the number of pictures (Ledoit & Wolf 2004): few pictures say
little of the many directions in which they hardly differ, and there other kinds of pictures show.
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

#: Parts that tell how far pictures are that were not summarized (cross-validation).
_PARTS = 4

#: Up to here a volume is like the training pictures, whose own distances average 1. Chosen with the demo model on
#: volumes and pictures that are none of those in docs/learn.md.
LARGEST_DISTANCE = 1.2

#: Of the file. Those of another version say something else and count as none.
_VERSION = 2

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ImageSummary:
    """The pooled features of training pictures.

    Attributes:
        features: what they are of: hash of the base's weights, and edge of its input in pixels.
        pictures: how many there were.
        mean: ``[channel]``.
        directions: ``[direction, channel]``, each of length 1.
        deviations: along each direction.
        residual: along all other directions.
        scale: root mean square of the distances of pictures that were left out in turn.
    """

    features: str
    pictures: int
    mean: Features
    directions: Features
    deviations: Features
    residual: float
    scale: float

    @classmethod
    def of(cls, pooled: Features, features: str, groups: Sequence[int] | None = None) -> ImageSummary | None:
        """Summarize pooled features ``[picture, channel]``; None where there are too few.

        Args:
            groups: a number for each picture; those of one number, such as views of one slice, are left out together.
        """
        count = len(pooled)
        if count < _FEWEST:
            return None
        exact = pooled.astype(np.float64)
        _, numbers = np.unique(np.arange(count) if groups is None else groups, return_inverse=True)
        left_out = numbers % _PARTS
        parts = [left_out == part for part in np.unique(left_out)] if numbers.max() > 0 else [np.arange(count) % 2 == 0]
        own = np.concatenate([_distances(exact[part], *_fit(exact[~part])) for part in parts])
        mean, directions, deviations, residual = _fit(exact)
        return cls(
            features,
            count,
            mean.astype(np.float32),
            directions.astype(np.float32),
            deviations.astype(np.float32),
            float(residual),
            float(np.sqrt((own**2).mean()).clip(1e-6)),
        )

    def distance(self, pooled: Features) -> float:
        """How far pictures ``[picture, channel]`` are, the median of them; training pictures are at about 1."""
        found = _distances(pooled.astype(np.float64), self.mean, self.directions, self.deviations, self.residual)
        return float(np.median(found / self.scale))

    def to_text(self) -> str:
        """JSON."""
        numbers = {name: _rounded(getattr(self, name)) for name in ("mean", "directions", "deviations")}
        return json.dumps(
            {
                "version": _VERSION,
                "features": self.features,
                "pictures": self.pictures,
                "residual": self.residual,
                "scale": self.scale,
                **numbers,
            }
        )

    @classmethod
    def load(cls, folder: Path) -> ImageSummary | None:
        """The summary in an adapter folder, or None where there is none of this version.

        Raises:
            ModelError: it is damaged.
        """
        path = folder / SUMMARY_FILE
        if not path.is_file():
            return None
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            if int(values["version"]) != _VERSION:
                return None
            arrays = {name: np.asarray(values[name], np.float32) for name in ("mean", "directions", "deviations")}
            mean, directions, deviations = arrays["mean"], arrays["directions"], arrays["deviations"]
            residual, scale = float(values["residual"]), float(values["scale"])
            if mean.ndim != 1 or directions.shape != (len(deviations), len(mean)) or deviations.ndim != 1:
                raise ValueError("its numbers do not belong together")
            is_finite = all(np.isfinite(array).all() for array in arrays.values())
            if not is_finite or min(residual, scale, *deviations.tolist()) <= 0:
                raise ValueError("its numbers are none")
            return cls(
                str(values["features"]),
                int(values["pictures"]),
                **arrays,
                residual=residual,
                scale=scale,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                "The summary {path} cannot be read ({why}); restore it or delete it.", path=path, why=str(error)
            ) from None


_Fit = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]


def _fit(pooled: NDArray[np.float64]) -> _Fit:
    """Mean, directions, deviations along them, and along all others, of a covariance drawn towards a ball."""
    count, channels = pooled.shape
    mean = pooled.mean(axis=0)
    moved = pooled - mean
    _, values, directions = np.linalg.svd(moved, full_matrices=False)
    variances = values**2 / count
    middle = variances.sum() / channels
    # By eigenvalues: how far the covariance is from the ball, and how much of that may be chance.
    away = (variances**2).sum() - channels * middle**2
    chance = (((moved**2).sum(axis=1) ** 2).sum() / count - (variances**2).sum()) / count
    share = 1.0 if away <= 0 else float(np.clip(chance / away, 0, 1))
    # Pictures that are all the same differ in no direction.
    least = 1e-12 + 1e-9 * float((mean**2).mean())
    # The last direction of as many pictures is none.
    shrunk = (1 - share) * variances[: count - 1] + share * middle
    return mean, directions[: count - 1], np.sqrt(shrunk + least), float(np.sqrt(share * middle + least))


def _distances(
    pooled: NDArray[np.float64],
    mean: NDArray[Any],
    directions: NDArray[Any],
    deviations: NDArray[Any],
    residual: float,
) -> NDArray[np.float64]:
    """Mahalanobis distances ``[picture]``, by the number of channels."""
    moved = pooled - mean
    along = moved @ directions.T
    rest = ((moved**2).sum(axis=1) - (along**2).sum(axis=1)).clip(0)
    squares = ((along / deviations) ** 2).sum(axis=1) + rest / residual**2
    return np.asarray(np.sqrt(squares / moved.shape[1]))


def _rounded(array: Features) -> Any:
    return [_rounded(row) for row in array] if array.ndim > 1 else [float(f"{value:.6g}") for value in array]
