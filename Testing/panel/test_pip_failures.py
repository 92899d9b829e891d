"""What pip prints when it fails, as pip 23 and pip 26 do, becomes one sentence that says what to do."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from support.pip_output import CONFLICT, IN_USE, NO_NAME, NO_SPACE, NO_VERSION, READ_ONLY, REFUSED


@pytest.fixture(autouse=True)
def translation():
    from support.scene import boot
    from support.slicer_modules import install_base_classes

    install_base_classes(boot())


def reason(printed):
    from MedSAM3PanelLib.setup.pip_failures import reason_of

    return reason_of(printed.splitlines())


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (REFUSED, "package index cannot be reached; connect this computer to the internet"),
        (NO_NAME, "package index cannot be reached; connect this computer to the internet"),
        (NO_SPACE, "no space is left on the disk; free some"),
        (READ_ONLY, "may not be written to or a file in it is in use; restart Slicer"),
        (IN_USE, "may not be written to or a file in it is in use; restart Slicer"),
        (NO_VERSION, "has no rich>=999 for this Slicer; update Slicer"),
        (CONFLICT, "versions that other extensions need do not fit"),
        ("", "the Python console says why"),
    ],
)
def test_each_failure_is_one_sentence_that_says_what_to_do(printed, said):
    sentence = reason(printed)

    assert said in sentence
    assert sentence.endswith(".")
    assert not re.search(r"[.!?]\s", sentence), "one sentence"
    assert not re.search(r"Errno|WinError|ERROR|jane|/opt|127\.0\.0\.1", sentence)


def test_the_lines_that_complain_are_kept_for_those_who_want_to_know():
    from MedSAM3PanelLib.setup.pip_failures import complaints_of

    assert complaints_of(NO_SPACE.splitlines()) == NO_SPACE.splitlines()[-1]
    assert complaints_of(NO_NAME.splitlines()).count("\n") == 2
    assert complaints_of(["Collecting rich", "Installing collected packages: rich"]) == ""


def test_what_pip_itself_prints_without_a_network_is_known(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--retries", "1",
         "--index-url", "http://127.0.0.1:9/simple", "rich"],
        env={"PIP_CONFIG_FILE": "/dev/null", "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    assert ran.returncode != 0
    assert "cannot be reached" in reason(ran.stdout + ran.stderr)
