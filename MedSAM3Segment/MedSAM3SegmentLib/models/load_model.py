"""From what a user names (the demo, a folder, a file, a hub id) to a model that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .devices import DRAFT, Resolution, check_cuda_graphs, choose_device, choose_dtype
from .threads import layer_size

if TYPE_CHECKING:
    from MedSAM3SegmentLib.provenance import ModelIdentity

    from .detector import Sam3Detector


def load_model(
    source: str = "demo",
    device: str = "auto",
    *,
    dtype: str = "auto",
    resolution: Resolution | None = None,
    adapters: Sequence[str] = (),
    cuda_graphs: bool = False,
) -> Sam3Detector:
    """Load a model, whole or not at all.

    Args:
        source: ``demo``, a folder, a file, an installed model's name or hub id; ``BASE+ADAPTER`` for an adapter on top.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        dtype: ``auto`` (see ``devices.choose_dtype``), ``float32``, ``bfloat16`` or ``float16``.
        resolution: edge of the square input in pixels, ``draft`` for half of the model's own, or None for its own.
        adapters: more adapters to read; the first of all is merged, the others can be switched to
            (``model.adapters.use``).
        cuda_graphs: record parts of the network on a CUDA GPU (see ``network.graph_replay``).

    Raises:
        InputError: the device or format is not there, or the resolution does not fit.
        ModelError: the model is missing, incomplete, corrupted or of an unsupported kind.
    """
    from MedSAM3SegmentLib.checkpoints.checkpoint import Checkpoint
    from MedSAM3SegmentLib.checkpoints.config import (
        detector_config,
        image_size_of,
        read_configuration,
        set_draft_resolution,
        set_resolution,
    )
    from MedSAM3SegmentLib.checkpoints.hashing import check_files, file_sha256, files_sha256
    from MedSAM3SegmentLib.checkpoints.lora import load_adapter
    from MedSAM3SegmentLib.checkpoints.networks import load_networks
    from MedSAM3SegmentLib.checkpoints.tokenizer import matching_tokenizer
    from MedSAM3SegmentLib.model_store.resolve import name_of_folder, resolve
    from MedSAM3SegmentLib.provenance import ModelIdentity

    from .detector import Sam3Detector
    from .lora_manager import LoraManager, check_base
    from .network.graph_replay import GraphReplay

    device = choose_device(device)
    choose_dtype(dtype, device)  # refused before anything is read
    check_cuda_graphs(cuda_graphs, device)
    base, adapter_paths = resolve(source, adapters)
    checkpoint = Checkpoint.open(base.weights)
    hashes = {path: file_sha256(path) for path in checkpoint.file.files}
    check_files(base.folder, {path.name: value for path, value in hashes.items()})
    config = read_configuration(checkpoint, base.folder)
    own_size = image_size_of(config)
    if resolution == DRAFT:
        set_draft_resolution(config)
    elif resolution is not None:
        set_resolution(config, int(resolution))
    torch_dtype = choose_dtype(dtype, device, layer_size(detector_config(config)))
    networks = load_networks(checkpoint, base.folder, device=device, dtype=torch_dtype, config=config)
    tokenizer = matching_tokenizer(base.tokenizer_folders(), detector_config(networks.config), base.weights)
    card = base.card
    switch = LoraManager(networks.detector, checkpoint)
    for path in adapter_paths:
        check_files(path if path.is_dir() else path.parent)
        switch.add(load_adapter(path))
    identity = ModelIdentity(card.name, files_sha256(hashes), card.is_demo)
    check_base(switch.adapters.values(), identity)
    model = Sam3Detector(networks.detector, tokenizer, card, device, identity, networks.tracker, switch, own_size)
    model.source = name_of_folder(base.folder)
    if cuda_graphs:
        model.graphs = GraphReplay(networks.detector.parameters())
    if adapter_paths:
        switch.merge(next(iter(switch.adapters)))
    return model


def identify_model(source: str = "demo") -> ModelIdentity:
    """Which weights ``load_model`` would load, from the hashes of their files; the network is not built.

    Raises:
        ModelError: the model is missing or cannot be read.
    """
    from MedSAM3SegmentLib.checkpoints.checkpoint import Checkpoint
    from MedSAM3SegmentLib.checkpoints.hashing import file_sha256, files_sha256
    from MedSAM3SegmentLib.checkpoints.lora import load_adapter
    from MedSAM3SegmentLib.model_store.resolve import resolve
    from MedSAM3SegmentLib.provenance import ModelIdentity

    base, adapter_paths = resolve(source, ())
    hashes = {path: file_sha256(path) for path in Checkpoint.open(base.weights).file.files}
    identity = ModelIdentity(base.card.name, files_sha256(hashes), base.card.is_demo)
    if not adapter_paths:
        return identity
    return replace(identity, adapters=(load_adapter(adapter_paths[0]).identity,))
