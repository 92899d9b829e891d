"""A network from a configuration and exactly the weights it needs: nothing missing, nothing left over, no copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from MedSAM3SegmentLib.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Network = TypeVar("Network", bound=PreTrainedModel)


def empty_network(network_class: type[Network], config: Any, **options: Any) -> Network:
    """A network whose parameters take no memory yet; tables that are computed and not stored are there."""
    with without_memory():
        network: Network = network_class._from_config(config, **options)
    _compute_tables(network, network)
    return network


@contextmanager
def without_memory() -> Iterator[None]:
    """Within, modules are built whose parameters take no memory and are not initialized."""
    from transformers.initialization import no_init_weights

    with _EmptyOnMeta(), no_init_weights():
        yield


class _EmptyOnMeta(TorchFunctionMode):
    """Within, ``torch.empty`` takes no memory; what modules compute (tables, and small weights) is computed.

    ``torch.device("meta")`` sends all of it to the device "meta", whose random numbers and ranges PyTorch computes with
    its compiler: importing that takes longer than to read a small model.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)


def _compute_tables(module: torch.nn.Module, model: PreTrainedModel) -> None:
    """Fill what no checkpoint holds and is empty yet (rotary frequencies, say) by transformers' own rules."""
    from transformers.modeling_utils import PreTrainedModel

    if isinstance(module, PreTrainedModel):
        model = module
    buffers = ((name, module._buffers.get(name)) for name in module._non_persistent_buffers_set)
    tables = [name for name, buffer in buffers if buffer is not None and buffer.is_meta]
    for name in tables:
        module._buffers[name] = torch.empty_like(module._buffers[name], device="cpu")  # type: ignore[arg-type]
    if tables:
        model._init_weights(module)
    for child in module.children():
        _compute_tables(child, model)


def fill_network(
    network: PreTrainedModel,
    weights: Iterable[tuple[str, torch.Tensor]],
    path: Path,
    *,
    dtype: torch.dtype,
    device: str = "cpu",
    stored_name: Callable[[str], str] = str,
) -> None:
    """Put the weights into an empty network; where format and place agree the tensors are taken, not copied.

    Args:
        weights: by the network's own names.
        path: of the file they come from, for messages.
        stored_name: what the file calls a weight of the network.

    Raises:
        ModelError: a weight is missing, unexpected, of the wrong shape or not a number; it names file and key.
    """
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    filled: dict[str, torch.Tensor] = {}
    for name, tensor in weights:
        if name not in shapes:
            raise ModelError(
                "The weight file {path} holds '{name}', which a model of its configuration does not have; give "
                "the file together with its own config.json.",
                path=path,
                name=stored_name(name),
            )
        _check_tensor(stored_name(name), tensor, shapes[name], path)
        filled[name] = tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
    missing = [name for name in shapes if name not in filled]
    if missing:
        name, more = stored_name(missing[0]), len(missing) - 1
        if more:
            raise ModelError(
                "The weight file {path} lacks '{name}' and {count} more; it is incomplete or of another model, so "
                "download it again or give the right one.",
                path=path,
                name=name,
                count=more,
            )
        raise ModelError(
            "The weight file {path} lacks '{name}'; it is incomplete or of another model, so download it again or "
            "give the right one.",
            path=path,
            name=name,
        )
    network.load_state_dict(filled, strict=True, assign=True)
    network.to(device).eval()


def _check_tensor(name: str, tensor: torch.Tensor, shape: tuple[int, ...], path: Path) -> None:
    if tuple(tensor.shape) != shape:
        raise ModelError(
            "The weight '{name}' in {path} has shape {found} where the model needs {expected}; give the file "
            "together with its own config.json.",
            name=name,
            path=path,
            found=str(list(tensor.shape)),
            expected=str(list(shape)),
        )
    # A sum is NaN or infinite if any term is, and needs no second array as large as the weight (but in float16, whose
    # range is soon left).
    wide = torch.float32 if tensor.dtype == torch.float16 else None
    if tensor.is_floating_point() and not torch.isfinite(tensor.sum(dtype=wide)):
        raise ModelError(
            "The weight '{name}' in {path} has values that are not numbers; download the file again.",
            name=name,
            path=path,
        )
