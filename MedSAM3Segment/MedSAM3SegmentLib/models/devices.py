"""Where a model runs, and in which number format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    import torch

#: What ``--device`` accepts.
DEVICES = ("auto", "cuda", "mps", "cpu")

#: Multiplications in a layer of the image encoder from which on a model is large: SAM 3's layers have 7e10, the demo
#: model's 1e8.
LARGE_LAYER = 1e9

#: In place of a number of pixels: half of the model's own edge, which is faster and sees less.
DRAFT: Literal["draft"] = "draft"

#: Edge of the square input of a model in pixels.
Resolution = int | Literal["draft"]

#: What ``--dtype`` accepts.
DTYPES = ("auto", "float32", "bfloat16", "float16")


def choose_device(name: str = "auto") -> str:
    """The device to run on: the one named, or the best one that is there.

    Raises:
        InputError: the device is not known or not there.
    """
    import torch

    if name not in DEVICES and not name.startswith("cuda:"):
        raise InputError(
            "The device '{name}' is not known; choose one of {names}.", name=name, names=", ".join(DEVICES)
        )
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if name.startswith("cuda"):
        if not cuda:
            raise InputError(
                "The device '{name}' was asked for but PyTorch sees no CUDA GPU here; use --device auto.", name=name
            )
        index = name.partition(":")[2] or "0"
        if not index.isdigit() or int(index) >= torch.cuda.device_count():
            raise InputError(
                "The device '{name}' is not there; this machine has {count} GPUs.",
                name=name,
                count=torch.cuda.device_count(),
            )
    if name == "mps" and not mps:
        raise InputError("The device 'mps' was asked for but PyTorch sees no Apple GPU here; use --device auto.")
    return name


def choose_dtype(name: str, device: str, layer_size: float = 0.0) -> torch.dtype:
    """The number format to run in: the one named, or bfloat16 where the processor multiplies in it, else float32.

    On CPUs that is for large models alone: full-size SAM 3 encodes a slice in 13 s in place of 30 s there, while small
    models, of which the demo model is one, stay with the numbers that float32 gives.

    Args:
        layer_size: multiplications in a layer of the image encoder.

    Raises:
        InputError: the format is not known, or the GPU does not compute in it.
    """
    import torch

    if name not in DTYPES:
        raise InputError(
            "The number format '{name}' is not known; choose one of {names}.", name=name, names=", ".join(DTYPES)
        )
    if name == "auto":
        is_small_on_cpu = device.startswith("cpu") and layer_size < LARGE_LAYER
        return torch.float32 if is_small_on_cpu else training_dtype(device)
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def check_cuda_graphs(wanted: bool, device: str) -> None:
    """Refuse CUDA graphs where there is no CUDA GPU.

    Raises:
        InputError: they are wanted on another device.
    """
    if wanted and not device.startswith("cuda"):
        raise InputError("CUDA graphs need a CUDA GPU, and the model runs on {device}.", device=device)


def computes_beside(device: torch.device) -> bool:
    """Whether a device computes what was queued while Python goes on, so that work can be prepared meanwhile."""
    return device.type == "cuda"


def name_of(dtype: torch.dtype) -> str:
    """A number format as ``--dtype`` names it."""
    return str(dtype).removeprefix("torch.")


def training_dtype(device: str) -> torch.dtype:
    """The number format to train in: bfloat16 where the processor multiplies in it, else float32.

    On a CPU that only imitates bfloat16 a training step takes several times as long as in float32.

    Args:
        device: ``cuda``, ``mps`` or ``cpu``, with or without a number.
    """
    import torch

    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.startswith("cpu") and _cpu_has_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether PyTorch says so, of x86 or of Arm; versions that cannot tell count as no."""
    import torch

    questions = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    if any(bool(ask()) for ask in questions if ask is not None):
        return True
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return str(capabilities.get("architecture")) == "aarch64" and bool(capabilities.get("bf16"))
