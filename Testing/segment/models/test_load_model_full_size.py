"""Memory and time of loading: a middle-sized model always, full-size SAM 3 on request (``-m slow``)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from MedSAM3SegmentLib.checkpoints.build import empty_network
from MedSAM3SegmentLib.training.architecture import new_network, train_tokenizer
from support.checkpoint_files import TINY, to_meta, write_clip_tokenizer, write_model_folder

needs_linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="measures resident memory as Linux tells it"
)


def _load(small: Path, source: Path, dtype: str, *options: str) -> dict[str, Any]:
    """What ``measure_load.py`` prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "support.measure_load", str(small), str(source), dtype, *options],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@needs_linux
def test_loading_takes_little_more_than_the_weights(tmp_path: Path) -> None:
    small = write_model_folder(tmp_path / "small")
    size = replace(TINY, vision_width=512, vision_layers=12, vision_heads=8, vision_mlp=2048, global_layers=(5, 11))
    middle = tmp_path / "middle"
    tokenizer = train_tokenizer(["liver"], 5, middle)
    new_network(size, tokenizer, 0).save_pretrained(str(middle))
    meta = tmp_path / "meta"
    shutil.copytree(middle, meta)
    state = {f"detector_model.{name}": value for name, value in load_file(meta / "model.safetensors").items()}
    (meta / "model.safetensors").unlink()
    torch.save({"model": to_meta(state)}, meta / "checkpoint.pt")
    window = str(8 * 2**20)  # In proportion to the model.
    for source in (middle, meta):
        for dtype in ("float32", "bfloat16"):
            facts = _load(small, source, dtype, window)
            assert facts["weights"] > 70e6
            assert facts["peak"] <= 1.3 * facts["weights"] + 8e6, (source.name, dtype, facts)


def _full_size_state() -> dict[str, torch.Tensor]:
    """Random weights for all of SAM 3 as published, bfloat16, named as ``Sam3VideoModel`` names them."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    network = empty_network(Sam3VideoModel, Sam3VideoConfig())
    generator = torch.Generator().manual_seed(11)
    state = {}
    for name, value in network.state_dict().items():
        if "norm" in name and name.endswith("weight"):
            state[name] = torch.ones(value.shape, dtype=torch.bfloat16)
        elif name == "tracker_model.prompt_encoder.shared_embedding.positional_embedding":
            state[name] = state["tracker_model.shared_image_embedding.positional_embedding"].clone()
        else:
            state[name] = torch.empty(value.shape, dtype=torch.bfloat16).normal_(std=0.02, generator=generator)
    return state


@needs_linux
@pytest.mark.slow
def test_full_size_in_every_layout(tmp_path: Path) -> None:
    """840 million random weights: written in each layout, loaded, run on one slice; the same answer each time."""
    from transformers import Sam3VideoConfig

    small = write_model_folder(tmp_path / "small")
    config = Sam3VideoConfig()
    state = _full_size_state()
    detector = {name: value for name, value in state.items() if name.startswith("detector_model.")}
    answers: dict[str, str] = {}
    for layout in ("sam3_video folder", "sam3.pt", "fine-tune", "plain folder", "own folder"):
        folder = tmp_path / layout.replace(" ", "-")
        write_clip_tokenizer(folder)
        if layout == "sam3_video folder":
            config.save_pretrained(str(folder))
            save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        elif layout == "sam3.pt":
            meta = to_meta(state)
            torch.save(
                {n if n.startswith("tracker.") else f"detector.{n}": v for n, v in meta.items()}, folder / layout
            )
            del meta
        elif layout == "fine-tune":
            torch.save({"model": to_meta(detector), "optimizer": {"lr": 1e-4}}, folder / "checkpoint_2D.pt")
        elif layout == "plain folder":
            config.detector_config.save_pretrained(str(folder))
            plain = {name.removeprefix("detector_model."): value for name, value in detector.items()}
            save_file(plain, folder / "model.safetensors", metadata={"format": "pt"})
        else:
            source = tmp_path / "plain-folder"
            shutil.rmtree(folder)
            code = (
                "import sys; from pathlib import Path; from MedSAM3SegmentLib.models.load_model import load_model;"
                "from MedSAM3SegmentLib.models.save_model import save_model;"
                "save_model(load_model(sys.argv[1], 'cpu', dtype='bfloat16'), Path(sys.argv[2]))"
            )
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            subprocess.run([sys.executable, "-c", code, str(source), str(folder)], check=True, env=environment)
        facts = _load(small, folder, "bfloat16", "detect")
        print(layout, facts)
        assert 840e6 < facts["parameters"] < 841e6
        assert facts["shape"] == [1, 200, 288, 288]
        assert facts["finite"]
        assert facts["peak"] <= 1.3 * facts["weights"], layout
        assert facts["working"] <= facts["estimate"], layout
        answers[layout] = facts["answer"]
        if layout != "plain folder":
            shutil.rmtree(folder)
    assert len(set(answers.values())) == 1, answers
