"""Runs the scripts of this folder in a Slicer, each in a fresh one, and counts what they say.

``python Testing/in_slicer/run.py /path/to/Slicer`` runs all of them, ``... /path/to/Slicer tutorial exits`` some.
Needs no package. Slicer's settings are left alone, and an engine that is running already is not used. Exit code: 0,
or 1 where a check failed or Slicer ended in another way than it should.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from medsam3_session.lines import Line, read_line
from medsam3_session.ways import STAGES, WAYS

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]

#: The scripts, with how many minutes they may take on a slow computer.
SCRIPTS = {
    "tutorial": 10,
    "agent": 10,
    "drawing": 5,
    "visibility": 10,
    "prompts": 10,
    "drawn_slices": 20,
    "oblique": 5,
    "gaps": 40,
    "agent_life": 10,
    "agent_gaps": 30,
    "commands": 20,
    "learn": 30,
    "exits": 5,
}

#: How often each stage is left in each way.
TIMES = 2


@dataclass(frozen=True)
class Run:
    """One start of Slicer.

    Attributes:
        code: its exit code; None where it did not end by itself.
        lines: what the script said.
        said: all that Slicer printed.
    """

    code: int | None
    lines: tuple[Line, ...]
    said: str


def start(slicer: Sequence[str], script: str, *arguments: str, minutes: float) -> Run:
    """Start Slicer with a script and wait for its end."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "lines.txt")
        command = [
            *slicer, "--no-splash", "--disable-settings", "--ignore-slicerrc",
            "--additional-module-paths", str(_ROOT / "MedSAM3Segment"), str(_ROOT / "MedSAM3Agent"),
            "--python-script", str(_HERE / f"{script}.py"), "--lines", str(said), *arguments,
        ]  # fmt: skip
        # An engine of its own, whose files go with the folder.
        environment = {**os.environ, "MEDSAM3_RUN": str(Path(folder, "run"))}
        # Slicer's launcher starts Slicer as a process of its own, which has to end with it.
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            output, _ = process.communicate(timeout=60 * minutes)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            code = None
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            output, _ = process.communicate()
        text = said.read_text("utf-8") if said.exists() else ""
    lines = tuple(line for line in map(read_line, text.splitlines()) if line is not None)
    return Run(code, lines, output.decode(errors="replace"))


def count_exits(runs: Sequence[tuple[str, Run]]) -> list[Line]:
    """A line for each way out of each stage, and one for all."""
    lines = []
    for what in dict.fromkeys(what for what, _ in runs):
        codes = [run.code for other, run in runs if other == what]
        lines.append(Line("ok" if not any(code != 0 for code in codes) else "FAILED", f"exit codes {what}", f"{codes}"))
    good = sum(run.code == 0 for _, run in runs)
    lines.append(Line("ok" if good == len(runs) else "FAILED", "exits with code 0", f"{good} of {len(runs)}"))
    return lines


def _exits(slicer: Sequence[str], arguments: Sequence[str], minutes: float) -> list[Line]:
    runs = []
    for stage, way, _ in product(STAGES, WAYS, range(TIMES)):
        run = start(slicer, "exits", "--stage", stage, "--way", way, *arguments, minutes=minutes)
        runs.append((f"after stage {stage} by {way}", run))
        for line in run.lines:
            print(line, flush=True)
    return count_exits(runs)


def _script(slicer: Sequence[str], script: str, arguments: Sequence[str], minutes: float) -> list[Line]:
    run = start(slicer, script, *arguments, minutes=minutes)
    # A script that failed ends with 1; any other code is Slicer's.
    wanted = 1 if any(line.verdict == "FAILED" for line in run.lines) else 0
    ended = Line("ok" if run.code == wanted else "FAILED", f"{script} ends as it should", f"exit code {run.code}")
    if run.code != wanted or not run.lines:
        print(run.said, file=sys.stderr)
    return [*run.lines, ended]


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slicer", help="Slicer's executable, in quotes with arguments of its own")
    parser.add_argument("scripts", nargs="*", metavar="script", help=f"all, or some of {', '.join(SCRIPTS)}")
    parser.add_argument("--model", choices=("demo", "fake"), help="the demo model where it can run, if left out")
    given = parser.parse_args()
    if not set(given.scripts) <= set(SCRIPTS):
        parser.error(f"the scripts are {', '.join(SCRIPTS)}")
    slicer = [given.slicer] if Path(given.slicer).exists() else shlex.split(given.slicer)
    arguments = ["--model", given.model] if given.model else []
    every: list[Line] = []
    for script in given.scripts or SCRIPTS:
        print(f"\n{script}", flush=True)
        lines = (
            _exits(slicer, arguments, SCRIPTS[script])
            if script == "exits"
            else _script(slicer, script, arguments, SCRIPTS[script])
        )
        for line in lines:
            print(line, flush=True)
        every += lines
    counts = {verdict: sum(line.verdict == verdict for line in every) for verdict in ("ok", "FAILED")}
    print(f"\n{counts['ok']} ok, {counts['FAILED']} failed")
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
