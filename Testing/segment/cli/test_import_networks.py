"""SAM 3 imported without what segmenting does not use: the same numbers, and nothing is missing afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.cli_runs import LIBRARY, Shell, start
from support.tiny_model import TINY_SCORE

#: What another program would do in a process in which SAM 3 was imported so.
_AFTERWARDS = """
import sys
from MedSAM3SegmentLib.cli.import_networks import begin_own_process, import_networks
begin_own_process()
import_networks()
left_out = ("torch._dynamo", "torch.nn.attention.flex_attention", "scipy.optimize", "transformers.processing_utils")
assert not any(name in sys.modules for name in left_out), [name for name in left_out if name in sys.modules]
import torch
from transformers.loss.loss_for_object_detection import linear_sum_assignment
assert linear_sum_assignment(torch.eye(3).numpy(), maximize=True)[1].tolist() == [0, 1, 2]
import transformers
from transformers import AutoProcessor, Sam3Model
from transformers.models.sam3.modeling_sam3 import Sam3Model as Imported
assert Sam3Model is Imported and transformers.Sam3Model is Imported
assert AutoProcessor.__name__ == "AutoProcessor" and transformers.__version__
from transformers.masking_utils import BlockMask
import torch.nn.attention.flex_attention as flex_attention
assert not isinstance(torch.eye(3), BlockMask)
assert torch._dynamo.is_compiling() is False
assert torch.compiler.disable(lambda: 3)() == 3
assert callable(flex_attention.create_block_mask)
"""


def test_what_was_left_out_is_there_when_it_is_used() -> None:
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    subprocess.run([sys.executable, "-c", _AFTERWARDS], check=True, env=environment)


def test_the_command_gives_what_a_process_gives_that_imports_all(
    segment: Shell, image: Path, here: Path, tiny_model_folder: Path
) -> None:
    assert segment("--concept", "liver", "--output", "all.seg.nrrd") == 0
    options = ("--model", str(tiny_model_folder), "--threshold", str(TINY_SCORE), "--concept", "liver")
    command = start("segment", str(image), *options, "--output", "own.seg.nrrd", cwd=here)
    assert command.wait(300) == 0, command.stderr.read() if command.stderr else ""
    (one,), _ = read_segmentation("all.seg.nrrd")
    (other,), _ = read_segmentation("own.seg.nrrd")
    assert one.mask.any()
    assert (one.mask == other.mask).all()
