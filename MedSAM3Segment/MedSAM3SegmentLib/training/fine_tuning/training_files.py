"""What a training keeps beside its output while it runs: where it is, and its learning curve."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_draft
from MedSAM3SegmentLib.training.loop import LoopState
from MedSAM3SegmentLib.training.processes import Processes

#: Of the learning curve.
CURVE_FILE = "learning-curve.csv"

_SETTINGS = "settings.json"

_LOSSES = (
    "presence",
    "classification",
    "semantic",
    "semantic dice",
    "box",
    "giou",
    "mask",
    "mask dice",
    "auxiliary",
    "one-to-many",
)
_COLUMNS = ("step", "learning rate", "loss", *_LOSSES, "validation dice", "validation presence")


@dataclass(frozen=True, eq=False)
class SavedState:
    """A training as it was kept.

    Attributes:
        loop: weights, their average and the optimiser.
        draws: state of the generator that batches are drawn from.
        best: validation score of what the output folder holds, or None.
    """

    loop: LoopState
    draws: dict[str, Any]
    best: float | None


class TrainingFiles:
    """The folder that a training keeps beside its output; it is gone when the training is done.

    Args:
        output: what is trained into.
        folder: another place for it.
    """

    def __init__(self, output: Path, folder: Path | None = None) -> None:
        self.folder = folder or output.with_name(output.name + ".training")
        self._output = output
        self._rows: list[dict[str, str]] = []

    @property
    def has_begun(self) -> bool:
        """Whether there is a training to go on with."""
        return (self.folder / _SETTINGS).is_file()

    @property
    def curve(self) -> Path:
        return self.folder / CURVE_FILE

    def begin(self, settings: Mapping[str, Any], resume: bool) -> SavedState | None:
        """Make the folder, or find where a training was broken off.

        Args:
            settings: JSON that says how it is trained; the same when it goes on.

        Raises:
            InputError: there is nothing to go on from, something that would be lost, or it was trained otherwise.
        """
        path = self.folder / _SETTINGS
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        if not resume:
            if path.exists():
                raise InputError(
                    "A training of {output} was broken off; add --resume to go on with it, or delete {folder}.",
                    output=self._output,
                    folder=self.folder,
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_draft(path) as draft:
                draft.write_text(text, encoding="utf-8")
            self._write_curve()
            return None
        if not path.is_file():
            raise InputError(
                "There is no training of {output} to go on with ({folder} is not there); leave --resume out.",
                output=self._output,
                folder=self.folder,
            )
        before = json.loads(path.read_bytes())
        changed = [
            key for key in sorted({*before, *settings}) if before.get(key) != json.loads(json.dumps(settings.get(key)))
        ]
        if changed:
            raise InputError(
                "The training in {folder} was begun with other settings ({names}); give the same to go on with it.",
                folder=self.folder,
                names=", ".join(changed),
            )
        state = self._load()
        self._read_curve(0 if state is None else state.loop.step)
        return state

    def begin_on_all(self, processes: Processes, settings: Mapping[str, Any], resume: bool) -> SavedState | None:
        """As ``begin``, where several processes train together: the first makes the folder for all."""
        saved = self.begin(settings, resume) if processes.is_first else None
        if processes.count > 1:
            torch.distributed.barrier()
            if not processes.is_first:
                saved = self.begin(settings, True)
        return saved

    def keep(self, state: SavedState) -> None:
        """Replace what was kept, whole or not at all."""
        loop = state.loop
        content = {
            "step": loop.step,
            "trained": loop.trained,
            "average": loop.average,
            "optimiser": loop.optimiser,
            "draws": json.dumps(state.draws),
            "best": state.best,
        }
        with atomic_draft(self.folder / "state.pt") as draft:
            torch.save(content, draft)

    def read_note(self, name: str) -> str | None:
        """A text that was kept with the training; None where there is none."""
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def write_note(self, name: str, text: str) -> None:
        """Keep a text with the training, whole or not at all."""
        with atomic_draft(self.folder / name) as draft:
            draft.write_text(text, encoding="utf-8")

    def add_row(self, step: int, rate: float, losses: Mapping[str, float]) -> None:
        """A step of the learning curve."""
        values = {"step": step, "learning rate": rate, "loss": sum(losses.values()), **losses}
        self._rows.append({name: repr(values[name]) for name in _COLUMNS if name in values})
        with self.curve.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, _COLUMNS, lineterminator="\n").writerow(self._rows[-1])

    def add_validation(self, figures: Mapping[str, float]) -> None:
        """What validation says of the last step."""
        if self._rows:
            self._rows[-1].update({f"validation {name}": repr(value) for name, value in figures.items()})
            self._write_curve()

    def remove(self) -> None:
        """Of a training that is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self) -> SavedState | None:
        path = self.folder / "state.pt"
        if not path.exists():
            return None
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
            loop = LoopState(kept["step"], kept["trained"], kept["average"], kept["optimiser"])
            return SavedState(loop, json.loads(kept["draws"]), kept["best"])
        except Exception as error:  # torch.load raises whatever it meets.
            raise InputError(
                "What was kept of the training, {path}, cannot be read ({why}); delete {folder} and train anew.",
                path=path,
                why=str(error).splitlines()[0] if str(error) else type(error).__name__,
                folder=self.folder,
            ) from None

    def _read_curve(self, step: int) -> None:
        """Steps after ``step`` will be done again."""
        if self.curve.exists():
            text = self.curve.read_text(encoding="utf-8")
            # A row that was being written when the process was killed has no end.
            lines = text[: text.rfind("\n") + 1].splitlines()
            rows = [row for row in csv.DictReader(lines) if (row.get("step") or "").isdecimal()]
            self._rows = [
                {name: row[name] for name in _COLUMNS if row.get(name)} for row in rows if int(row["step"]) <= step
            ]
        self._write_curve()

    def _write_curve(self) -> None:
        with atomic_draft(self.curve) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)
