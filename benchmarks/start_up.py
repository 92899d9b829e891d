"""How long one slice takes from the shell: as a command, as all imports would make it, and through a running engine.

CPU seconds in alternation, demo model. Run with ``make bench``; figures stand in docs/performance.md, and nothing is
asserted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK

from markdown_table import MarkdownTable
from MedSAM3SegmentLib.synthetic.phantom import make_phantom

#: ``main`` by itself imports all of transformers: only a process that was started for the command leaves parts out.
ALL_IMPORTS = "import sys; from MedSAM3SegmentLib.cli.main import main; sys.exit(main(sys.argv[1:]))"


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process and its children."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run (default: 3)")
    rounds = parser.parse_args(argv).rounds
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "slice.nrrd")
        SimpleITK.WriteImage(
            SimpleITK.GetImageFromArray(np.ascontiguousarray(make_phantom(24).volume.array[20:21])), image
        )
        words = ["segment", str(image), "--concept", "liver", "--output", str(Path(folder, "out.seg.nrrd"))]
        python = sys.executable
        ways = {
            "PyTorch imported, and nothing else": [python, "-c", "import torch"],
            "medsam3 segment": [python, "-m", "MedSAM3SegmentLib", *words],
            "the same with all imports": [python, "-c", ALL_IMPORTS, *words],
            "medsam3 segment --engine auto": [python, "-m", "MedSAM3SegmentLib", *words, "--engine", "auto"],
        }
        serve = subprocess.Popen([python, "-m", "MedSAM3SegmentLib", "serve"], stdout=subprocess.PIPE, text=True)
        try:
            assert serve.stdout is not None
            serve.stdout.readline()  # it listens
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for command in ways.values():
                cpu_seconds(command)  # fills the file cache, and loads the engine's model
            for _ in range(rounds):
                for name, command in ways.items():
                    seconds[name].append(cpu_seconds(command))
        finally:
            serve.terminate()
            serve.wait()
    headings = ("", "seconds", "share of all imports")
    table = MarkdownTable("start_up", headings, f"CPU seconds, median of {rounds} runs in alternation, demo model")
    whole = statistics.median(seconds["the same with all imports"])
    for name, times in seconds.items():
        table.add_row(name, f"{statistics.median(times):.1f}", f"{statistics.median(times) / whole:.2f}")
    table.print()


if __name__ == "__main__":
    main()
