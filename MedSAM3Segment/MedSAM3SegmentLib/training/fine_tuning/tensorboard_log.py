"""The learning curve for TensorBoard, beside the one in a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import PackageError


def tensorboard_folder(output: Path) -> Path:
    """Where the log of a training into ``output`` is; it stays when the training is done."""
    return output.with_name(output.name + ".tensorboard")


class TensorBoardLog:
    """Event files that ``tensorboard --logdir`` shows.

    Args:
        folder: to write into.
        step: what was logged beyond it is done again and not shown.

    Raises:
        PackageError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self._writer = _import_writer()(str(folder), purge_step=step + 1)

    def add_step(self, step: int, rate: float, losses: Mapping[str, float]) -> None:
        """What a step has in the learning curve."""
        self._writer.add_scalar("learning rate", rate, step)
        self._writer.add_scalar("loss/sum", sum(losses.values()), step)
        for name, value in losses.items():
            self._writer.add_scalar(f"loss/{name}", value, step)

    def add_validation(self, step: int, figures: Mapping[str, float]) -> None:
        """What validation says of a step."""
        for name, value in figures.items():
            self._writer.add_scalar(f"validation/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def check_tensorboard() -> None:
    """Find out before a long run whether there is a TensorBoard.

    Raises:
        PackageError: the package is not installed.
    """
    _import_writer()


def _import_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise PackageError(
            "--tensorboard needs the package tensorboard, which is not installed; install it with 'pip install "
            "tensorboard', or leave the option out (the learning curve is in a table as well)."
        ) from None
    return SummaryWriter
