"""Where the real images for tests lie, and the mark for tests that need them."""

from __future__ import annotations

import pytest

from .paths import ROOT

SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"

needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the real images in {DATA}, which are not here")
