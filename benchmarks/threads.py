"""What the choice of CPU threads is worth: ``medsam3 demo`` as a user types it, beside fixed numbers of threads.

Wall and CPU seconds of the whole command, taken in turns. With ``--busy N`` so many other processes compute meanwhile.
Nothing is asserted: speed is not what a test is for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from markdown_table import MarkdownTable
from MedSAM3SegmentLib.models.threads import count_usable_cores

REPEATS = 3


def seconds_of(options: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one ``medsam3 demo``."""
    with tempfile.TemporaryDirectory() as folder:
        before, started = os.times(), time.perf_counter()
        command = [sys.executable, "-m", "MedSAM3SegmentLib", "demo", "--quiet", "--output", f"{folder}/out", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=0, help="other processes that compute meanwhile")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(parser.parse_args().busy)]
    ways = {"as chosen": []} | {f"--threads {n}": ["--threads", str(n)] for n in range(1, count_usable_cores() + 1)}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    try:
        for _ in range(REPEATS):
            for name, options in ways.items():
                measured[name].append(seconds_of(options))
    finally:
        for process in busy:
            process.kill()
    about = f"`medsam3 demo`, {len(busy)} busy processes beside it"
    table = MarkdownTable("threads", ("", "seconds", "CPU seconds"), about)
    for name, pairs in measured.items():
        wall, cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
        table.add_row(name, f"{wall:.1f}", f"{cpu:.1f}")
    table.print()


if __name__ == "__main__":
    main()
