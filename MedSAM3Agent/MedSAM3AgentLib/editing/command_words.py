"""Commands in words, so that whoever typed one sees how it was understood."""

from __future__ import annotations

from MedSAM3AgentLib.targets import Pick
from MedSAM3SegmentLib.messages.message import Message, message

from .commands import (
    BeyondSegment,
    BeyondSlice,
    Combine,
    Command,
    FillHoles,
    Hollow,
    IntensityRange,
    KeepLargest,
    KeepPart,
    KeepSide,
    Margin,
    Operation,
    Recut,
    RemoveSmall,
    Rename,
    SelectObject,
    ShellMode,
    SliceRange,
    Smooth,
    SmoothingMethod,
    SplitObjects,
)


def command_words(command: Command) -> Message:
    """What a command does, in a few words without a full stop."""
    match command:
        case Margin(mm=mm):
            return message("grow by {mm:g} mm", mm=mm) if mm > 0 else message("shrink by {mm:g} mm", mm=-mm)
        case KeepLargest(count=count):
            return message("keep the largest piece") if count == 1 else message("keep the {n} largest pieces", n=count)
        case RemoveSmall(least=least, unit=unit):
            return message("remove pieces below {least:g} {unit}", least=least, unit=unit)
        case SelectObject():
            return _select(command)
        case SplitObjects():
            return message("split into pieces")
        case Smooth():
            return _smooth(command)
        case FillHoles(per_slice=per_slice):
            return message("fill holes on each slice") if per_slice else message("fill holes")
        case Hollow():
            return _hollow(command)
        case Combine():
            return _combine(command)
        case KeepSide(side=side, keep=keep):
            said = message("keep the {part} part", part=side.value)
            return said if keep else message("remove the {part} part", part=side.value)
        case KeepPart():
            return _part(command)
        case SliceRange() | BeyondSlice() | BeyondSegment():
            return _slices(command)
        case IntensityRange():
            return _intensities(command)
        case Recut(threshold=threshold, more=more):
            if threshold is not None:
                return message("cut at threshold {threshold:g}", threshold=threshold)
            return message("cut at a lower threshold") if more else message("cut at a higher threshold")
        case Rename(name=name):
            return message("rename to '{name}'", name=name)
    return message("measure")


def _select(command: SelectObject) -> Message:
    if command.number < 0:
        return message("keep the smallest piece") if command.keep else message("remove the smallest piece")
    said = message("keep piece {n}", n=command.number)
    return said if command.keep else message("remove piece {n}", n=command.number)


def _smooth(command: Smooth) -> Message:
    match command.method:
        case SmoothingMethod.MEDIAN:
            return message("smooth by a median of {mm:g} mm", mm=command.mm)
        case SmoothingMethod.GAUSSIAN:
            return message("smooth by a Gaussian of {mm:g} mm", mm=command.mm)
        case SmoothingMethod.OPENING:
            return message("remove what is thinner than {mm:g} mm", mm=command.mm)
        case SmoothingMethod.CLOSING:
            return message("close gaps of up to {mm:g} mm", mm=command.mm)


def _hollow(command: Hollow) -> Message:
    match command.mode:
        case ShellMode.INSIDE:
            return message("make a shell of {mm:g} mm around it", mm=command.mm)
        case ShellMode.MEDIAL:
            return message("make a shell of {mm:g} mm along its surface", mm=command.mm)
        case ShellMode.OUTSIDE:
            return message("make a shell of {mm:g} mm inside of its surface", mm=command.mm)


def _combine(command: Combine) -> Message:
    other = command.other
    match command.operation:
        case Operation.COPY:
            return message("become a copy of '{other}'", other=other)
        case Operation.UNION:
            return message("add '{other}'", other=other)
        case Operation.SUBTRACT:
            return message("take '{other}' away", other=other)
        case Operation.INTERSECT:
            return message("keep what is inside of '{other}'", other=other)
        case Operation.INVERT:
            return message("invert")
        case Operation.CLEAR:
            return message("clear")
        case Operation.FILL:
            return message("fill all")


def _part(command: KeepPart) -> Message:
    part = {Pick.UPPER: message("upper"), Pick.LOWER: message("lower"), Pick.FRONT: message("front")}.get(
        command.part, message("back")
    )
    return message("keep the {part} part", part=part) if command.keep else message("remove the {part} part", part=part)


def _slices(command: SliceRange | BeyondSlice | BeyondSegment) -> Message:
    match command:
        case SliceRange(first=first, last=last, keep=keep):
            if first is None:
                said = message("keep slices up to {last}", last=last or 0)
                return said if keep else message("remove slices up to {last}", last=last or 0)
            if last is None:
                said = message("keep slices from {first} on", first=first)
                return said if keep else message("remove slices from {first} on", first=first)
            said = message("keep slices {first} to {last}", first=first, last=last)
            return said if keep else message("remove slices {first} to {last}", first=first, last=last)
        case BeyondSlice(index=index, above=above):
            said = message("remove what is above slice {index}", index=index)
            return said if above else message("remove what is below slice {index}", index=index)
        case BeyondSegment(other=other, above=above):
            said = message("remove what is above '{other}'", other=other)
            return said if above else message("remove what is below '{other}'", other=other)


def _intensities(command: IntensityRange) -> Message:
    low, high = command.low, command.high
    if low is not None and high is not None:
        said = message("keep intensities of {low:g} to {high:g}", low=low, high=high)
        return said if command.keep else message("remove intensities of {low:g} to {high:g}", low=low, high=high)
    if low is not None:
        said = message("keep intensities from {low:g} on", low=low)
        return said if command.keep else message("remove intensities from {low:g} on", low=low)
    said = message("keep intensities up to {high:g}", high=high or 0.0)
    return said if command.keep else message("remove intensities up to {high:g}", high=high or 0.0)
