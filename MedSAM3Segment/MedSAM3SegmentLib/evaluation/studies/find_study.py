"""Studies by name; the agent's comes from its own library where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from MedSAM3SegmentLib.errors import InputError

from .demo import demo_study
from .drawn_slices import DRAWN_SLICES
from .next_slice import NEXT_SLICE
from .propagation import PROPAGATION
from .study import Study

#: Of this library.
_OWN: dict[str, Callable[[], Study]] = {
    "demo": demo_study,
    "propagation": lambda: PROPAGATION,
    "drawn-slices": lambda: DRAWN_SLICES,
    "next-slice": lambda: NEXT_SLICE,
}

#: The library that brings the study of this name; the engine knows it by name only and runs without it.
_AGENT, _AGENTS_LIBRARY = "agent", "MedSAM3AgentLib"


def find_study(name: str) -> Study:
    """The study of a name.

    Raises:
        InputError: it belongs to a library that is not installed.
    """
    if name in _OWN:
        return _OWN[name]()
    if find_spec(_AGENTS_LIBRARY) is None:
        raise InputError(f"The study {name} needs {_AGENTS_LIBRARY}, which is not here; install the agent too.")
    study: Study = import_module(f"{_AGENTS_LIBRARY}.evaluation.agent_study").AGENT
    return study
