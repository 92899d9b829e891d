"""What the command ``medsam3`` calls first: here packages that cannot be loaded become one sentence.

Nothing that needs a package is imported before that.
"""

from __future__ import annotations

import sys

from MedSAM3SegmentLib.errors import PackageError
from MedSAM3SegmentLib.exit_codes import BAD_PACKAGE
from MedSAM3SegmentLib.reporting.packages import check_versions, find_broken_package


def start() -> int:
    """Run the words after ``medsam3``; returns the exit code, as ``main`` has them."""
    try:
        check_versions()
        from .import_networks import begin_own_process
        from .main import main

        begin_own_process()
        return main()
    except Exception as error:
        broken = error if isinstance(error, PackageError) else find_broken_package()
        if broken is None:
            raise
        print(f"medsam3: {broken}", file=sys.stderr)
        return BAD_PACKAGE
