"""``python -m MedSAM3SegmentLib`` is ``medsam3``."""

from __future__ import annotations

import sys

from MedSAM3SegmentLib.cli.start import start

if __name__ == "__main__":
    sys.exit(start())
