"""``python -m MedSAM3SegmentLib`` is ``medsam3``."""

from __future__ import annotations

import sys

from MedSAM3SegmentLib.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
