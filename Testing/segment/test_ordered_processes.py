"""Work in other processes comes back in order, with its errors, also where a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.ordered_processes import processes_in_order
from support.paths import ROOT, TESTING


def double(shared: int, number: int) -> tuple[int, int]:
    # The later ones end first.
    time.sleep(0.02 * (number % 3))
    return shared, 2 * number


def fail_at_three(_: object, number: int) -> int:
    if number == 3:
        raise InputError("The file {name} is bad; export it again.", name="three.nii")
    return number


def die_elsewhere(parent: int, number: int) -> int:
    if number == 2 and os.getpid() != parent:
        os._exit(9)
    return number


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_what_is_made_comes_in_order(processes: int) -> None:
    with processes_in_order(processes, 7) as scored:
        made = [one for number in range(12) for one in scored.add(str(number), double, number)]
        made += list(scored.rest())
    assert made == [(str(number), (7, 2 * number)) for number in range(12)]


@pytest.mark.parametrize("processes", [0, 2])
def test_an_error_comes_after_what_was_before_it(processes: int) -> None:
    made = []

    def work() -> None:
        with processes_in_order(processes) as scored:
            for number in range(8):
                for one in scored.add(str(number), fail_at_three, number):
                    made.append(one)
            made.extend(scored.rest())

    with pytest.raises(InputError) as raised:
        work()
    assert [name for name, _ in made] == ["0", "1", "2"]
    assert str(raised.value) == "The file three.nii is bad; export it again."
    assert raised.value.message.facts == {"name": "three.nii"}


def test_a_process_that_dies_costs_nothing() -> None:
    with processes_in_order(2, os.getpid()) as scored:
        made = [one for number in range(8) for one in scored.add(str(number), die_elsewhere, number)]
        made += list(scored.rest())
    assert made == [(str(number), number) for number in range(8)]


@pytest.mark.skipif(os.name == "nt", reason="Windows: a killed process takes its children's handles with it")
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys, time\nsys.path[:0] = [{str(TESTING)!r}, {str(ROOT / 'MedSAM3Segment')!r}]\n"
        "from MedSAM3SegmentLib.ordered_processes import processes_in_order\n"
        "if __name__ == '__main__':\n"
        "    with processes_in_order(2) as scored:\n"
        "        list(scored.add('a', print, 'working'))\n        list(scored.rest())\n        time.sleep(120)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    children: list[psutil.Process] = []
    while len(children) < 2 and time.monotonic() < deadline:
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.05)
    assert children
    assert process.stdout is not None
    assert "working" in process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, gone
