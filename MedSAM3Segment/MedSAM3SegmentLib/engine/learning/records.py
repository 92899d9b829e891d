"""What panel and process tell each other of a learning job: its order, how far it is, and what came of it.

Each is a dataclass with a form in plain JSON values; nothing here needs a package that has to be installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.messages.message import Message, as_message, from_plain, to_plain


class JobStage(StrEnum):
    """What a job is at; but for the first these are ``training.learning.learn.LearnStage``."""

    STARTING = "starting"
    READING = "reading the volumes"
    BEFORE = "looking at held-out slices before"
    TRAINING = "learning"
    AFTER = "looking at held-out slices after"
    INSTALLING = "installing"


@dataclass(frozen=True)
class LearningOrder:
    """What is to be learnt into which adapter.

    Attributes:
        adapter: a new name, or with ``continues`` that of an installed adapter.
        base: of a new adapter, as ``--model`` takes it.
        tune: of a new adapter; ``lora`` or ``detector``.
        modality: of the pictures in words, for the card.
        is_demo: whether the base was made from synthetic pictures alone, which learning does not change.
        parent: what the job ends with, or None where it goes on by itself.
    """

    adapter: str
    base: str = ""
    continues: bool = False
    tune: str = "lora"
    steps: int = 80
    device: str = "auto"
    modality: str = ""
    is_demo: bool = False
    parent: ProcessId | None = None

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> LearningOrder:
        """Raises ValueError, TypeError or KeyError where it is damaged."""
        parent = plain.get("parent")
        known = {**plain, "parent": None if parent is None else ProcessId(int(parent["pid"]), str(parent["started"]))}
        return cls(**known)


@dataclass(frozen=True)
class LearningStatus:
    """How far a job is.

    Attributes:
        done, total: of volumes, tasks or steps, by the stage; a total of 0 where it is not known.
        seconds_left: of the training.
        losses: of the last steps, by name.
    """

    stage: JobStage = JobStage.STARTING
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    losses: Mapping[str, float] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        return {**asdict(self), "stage": self.stage.value}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> LearningStatus:
        """Raises ValueError, TypeError or KeyError where it is damaged."""
        return cls(**{**plain, "stage": JobStage(plain["stage"])})


@dataclass(frozen=True)
class TaskFigures:
    """A task before and after; a figure is None where it cannot be told.

    Attributes:
        is_earlier: whether the adapter had learnt it before.
        held_out: slices that were looked at and not learnt from.
        dice, presence: before and after, as ``training.fine_tuning.validation.ValidationScore`` has them.
    """

    name: str
    concepts: tuple[str, ...]
    is_earlier: bool
    held_out: int
    dice: tuple[float | None, float | None]
    presence: tuple[float | None, float | None]


@dataclass(frozen=True)
class HeldOutPicture:
    """A picture of a held-out slice.

    Attributes:
        file: its name in the job's folder.
        dice: on this slice, before and after.
    """

    file: str
    dice: tuple[float, float]


@dataclass(frozen=True)
class LearningResult:
    """What came of a job.

    Attributes:
        is_installed: whether the adapter was installed.
        is_failure: whether the job broke off, so that nothing was compared.
        reason: why it was installed, why not, or what broke it off.
        messages: what else to know.
    """

    is_installed: bool
    reason: Message
    is_failure: bool = False
    messages: Sequence[Message] = ()
    tasks: Sequence[TaskFigures] = ()
    pictures: Sequence[HeldOutPicture] = ()

    @classmethod
    def failed(cls, reason: str) -> LearningResult:
        """That of a job that broke off."""
        return cls(False, as_message(reason), is_failure=True)

    def to_plain(self) -> dict[str, Any]:
        return {
            "is_installed": self.is_installed,
            "is_failure": self.is_failure,
            "reason": to_plain(self.reason),
            "messages": [to_plain(one) for one in self.messages],
            "tasks": [asdict(task) for task in self.tasks],
            "pictures": [asdict(picture) for picture in self.pictures],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> LearningResult:
        """Raises ValueError, TypeError or KeyError where it is damaged."""
        tasks: list[dict[str, Any]] = [
            {name: tuple(v) if isinstance(v, list) else v for name, v in one.items()} for one in plain["tasks"]
        ]
        pictures = [HeldOutPicture(str(one["file"]), tuple(one["dice"])) for one in plain["pictures"]]
        return cls(
            bool(plain["is_installed"]),
            from_plain(plain["reason"]),
            bool(plain["is_failure"]),
            tuple(from_plain(one) for one in plain["messages"]),
            tuple(TaskFigures(**one) for one in tasks),
            tuple(pictures),
        )
