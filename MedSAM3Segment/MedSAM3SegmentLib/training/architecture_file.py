"""A SAM 3's size from a JSON file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import InputError

from .architecture import Architecture


def read_architecture(path: Path) -> Architecture:
    """The architecture in a JSON object whose keys are fields of ``Architecture``; what is left out has its default.

    Raises:
        InputError: the file cannot be read, a field is unknown or no whole number, or the numbers do not fit together.
    """
    try:
        values: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"The architecture {path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"The architecture {path} is not valid JSON ({error}); correct it.") from None
    known = [field.name for field in fields(Architecture)]
    if not isinstance(values, dict):
        raise InputError(f"The architecture {path} is no JSON object; its fields may be {', '.join(known)}.")
    for name, value in values.items():
        if name not in known:
            raise InputError(f"The architecture {path} has an unknown field '{name}'; known are {', '.join(known)}.")
        numbers = value if name == "global_layers" and isinstance(value, list) else [value]
        if not all(type(number) is int and number >= (name != "global_layers") for number in numbers) or (
            isinstance(value, list) != (name == "global_layers")
        ):
            wanted = "a list of layer numbers from 0" if name == "global_layers" else "a whole number from 1"
            raise InputError(f"The architecture {path} has '{name}': {value!r}, which must be {wanted}.")
    if "global_layers" in values:
        values["global_layers"] = tuple(values["global_layers"])
    architecture = Architecture(**values)
    for problem in _problems(architecture):
        raise InputError(f"The architecture {path} does not fit together: {problem}.")
    return architecture


def _problems(size: Architecture) -> list[str]:
    """What a network of this size could not be built for."""
    dividing = {
        "image_size": (size.image_size, size.patch_size * size.window_size, "patch_size times window_size"),
        "vision_width": (size.vision_width, size.vision_heads, "vision_heads"),
        "width": (size.width, size.heads, "heads"),
        "text_width": (size.text_width, size.text_heads, "text_heads"),
    }
    problems = [
        f"{name} {number} is no multiple of {what} ({divisor})"
        for name, (number, divisor, what) in dividing.items()
        if number % divisor
    ]
    if any(layer >= size.vision_layers for layer in size.global_layers):
        problems.append(f"global_layers {list(size.global_layers)} must be below vision_layers {size.vision_layers}")
    return problems
