"""What drawing the suggested slice is worth, against a random wrong one, on 20 phantoms and without a model.

Figures of one run stand in docs/drawn-slices.md. Nothing is asserted.
"""

from __future__ import annotations

import numpy as np
from MedSAM3SegmentLib.evaluation.mode_comparison import organs_of, phantom_with_slices
from MedSAM3SegmentLib.evaluation.next_slice import gain_of_next_slice

from MedSAM3SegmentLib.without_model import ShapeSegmenter

#: Phantoms that the demo model was not trained on, and millimeters between their slices.
SEEDS, SPACING_MM = range(300, 320), 5.0


def main() -> None:
    """Measure and print."""
    segmenter, rng = ShapeSegmenter(), np.random.default_rng(0)
    gains = []
    for seed in SEEDS:
        phantom, stack = phantom_with_slices(seed, SPACING_MM)
        for number, organ in enumerate(organs_of(phantom)):
            truth = stack.extract(phantom.masks[organ])
            there = np.flatnonzero(truth.any(axis=(1, 2)))
            if len(there) < 9:
                continue
            # Two, three or four slices, not quite to the organ's ends.
            drawn = np.linspace(there[0] + 1, there[-1] - 1, 2 + number % 3).round().astype(int).tolist()
            gain = gain_of_next_slice(segmenter, phantom.volume, stack, truth, drawn, rng)
            if gain is not None:
                gains.append((gain.suggested, gain.random))
        means = np.mean(gains, axis=0)
        print(f"to seed {seed}: {len(gains)} organs, suggested +{means[0]:.4f}, random +{means[1]:.4f}", flush=True)


if __name__ == "__main__":
    main()
