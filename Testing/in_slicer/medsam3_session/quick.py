"""The quick checks, which the self-test of the module calls: no model, no network, less than a minute."""

from __future__ import annotations

import time

import slicer

from .drawing import check_partials, check_previews
from .drawn_prompts import check_drawn_concepts
from .lines import Checks
from .oblique_slice import check_oblique_slice
from .session import Session
from .steps import Player, Steps
from .visibility import check_after_closing, check_others


def quick_checks(session: Session) -> Steps:
    """One after the other, with the scene closed in between and at the end."""
    for check in (
        check_previews, check_partials, check_after_closing, check_others, check_drawn_concepts, check_oblique_slice,
    ):  # fmt: skip
        yield from check(session)
    session.close_scene()


def failed_quick_checks() -> list[str]:
    """Play them while the caller waits; the lines of those that failed.

    Raises:
        Exception: what broke off.
    """
    checks = Checks()
    session = Session(checks, "fake")
    ends: list[Exception | None] = []
    Player(quick_checks(session), ends.append)
    try:
        while not ends:
            slicer.app.processEvents()
            time.sleep(0.005)  # threads get on meanwhile
    finally:
        session.close()
    if ends[0] is not None:
        raise ends[0]
    return [str(line) for line in checks.failed]
