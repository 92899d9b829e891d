"""What a person typed about a round: commands on its masks, what does not belong to it, or more to look for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3AgentLib.editing.commands import AddressedCommand, Combine, Rename
from MedSAM3AgentLib.editing.grammar import parse_addressed, parse_commands
from MedSAM3AgentLib.planning.seeds import Seeds, TargetSeed
from MedSAM3AgentLib.planning.sentence import plan_by_rules
from MedSAM3AgentLib.targets import Plan, Structure, Target
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.vocabulary.phrases import key_of
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume

_WITHOUT = re.compile(
    r"^(?:but\s+)?(?:without|not|except(?:\s+for)?|exclud(?:e|ing)|leave out|take out|remove|minus|no)\s+(?P<rest>.+)",
    re.I,
)
_INSIDE = re.compile(r"^(?:but\s+)?(?:only\s+)?(?:inside(?:\s+of)?|within|in)\s+(?P<rest>.+)", re.I)
_INSTEAD = re.compile(r"^(?:instead|rather)[\s,:]+(?P<rest>.+)|^(?P<first>.+?)\s+instead$", re.I)
_ALSO = re.compile(r"^(?:also|and|plus|add|then|as well as|in addition)[\s,:]+(?P<rest>.+)", re.I)


#: What begins a command, so that one that is not understood is no request for a structure of that name.
_ORDER = re.compile(
    r"^(?:please\s+)?(?:grow|expand|dilate|shrink|erode|keep|remove|delete|drop|split|smooth|gaussian|median|close|fill"
    r"|make|nothing|invert|clear|rename|call|undo|redo|cut|erase|threshold|more|less)\b|\d\s*(?:mm|cm|ml|hu|voxels?)\b",
    re.I,
)


def with_text(seeds: Seeds, volume: Volume, vocabulary: Vocabulary) -> Seeds:
    """The seeds after what was typed.

    A command whose segments are there is done to them as they stand. ``without the cyst`` takes a structure that is no
    segment out of all targets, ``only inside the liver`` puts them into one, ``instead the spleen`` replaces them, and
    any other request is looked for as well.

    Raises:
        InputError: it is neither, or a command does not say which segment it means.
    """
    text = seeds.text.strip()
    if not text:
        return seeds
    commands = _commands(text, seeds.targets)
    if commands is not None:
        return _after_commands(seeds, commands, volume)
    if found := _WITHOUT.match(text):
        excluded = plan_by_rules(f"liver without {found['rest']}", vocabulary).targets[0].without
        if not excluded:
            raise InputError("What does not belong to it was not recognized; name a structure.")
        return _changed(seeds, lambda one: replace(one, without=tuple(dict.fromkeys((*one.without, *excluded)))))
    if found := _INSIDE.match(text):
        inside = _structure(found["rest"], vocabulary)
        return _changed(seeds, lambda one: replace(one, inside=inside))
    if found := _INSTEAD.match(text):
        plan = plan_by_rules(found["rest"] or found["first"], vocabulary)
        return replace(seeds, plan=plan, targets={name: seeds.targets[name] for name in _known(seeds, plan)})
    found = _ALSO.match(text)
    if _ORDER.search(text) and not found:
        # What it names is no segment; the grammar says so better than a search for it would.
        parse_commands(text)
        raise InputError("'{text}' names a segment that the round does not hold; name one that it does.", text=text)
    return _with_more(seeds, plan_by_rules(found["rest"] if found else text, vocabulary).targets)


def _with_more(seeds: Seeds, more: Sequence[Target]) -> Seeds:
    """The seeds with more to look for; what they have by the same name is looked for as it was said now."""
    said = {target.name: target for target in more}
    plan = replace(
        seeds.plan,
        targets=(
            *(said.get(target.name, target) for target in seeds.plan.targets),
            *(target for name, target in said.items() if name not in seeds.targets),
        ),
    )
    again = {
        name: replace(seed, target=said[name], is_sought=True) for name, seed in seeds.targets.items() if name in said
    }
    return replace(seeds, plan=plan, targets={**seeds.targets, **again})


def _commands(text: str, targets: Mapping[str, TargetSeed]) -> tuple[AddressedCommand, ...] | None:
    """The commands that a text is, or None where it is none, or speaks of what is no segment yet.

    Raises:
        InputError: it begins like one, or holds a length, and is not understood.
    """
    try:
        commands = parse_addressed(text, list(targets))
    except InputError:
        if _ORDER.search(text):
            raise
        return None
    others = [one.command.other for one in commands if isinstance(one.command, Combine) and one.command.other]
    names = {key_of(name) for name in targets}
    return commands if all(key_of(name) in names for name in others) else None


def _after_commands(seeds: Seeds, commands: tuple[AddressedCommand, ...], volume: Volume) -> Seeds:
    targets = dict(seeds.targets)
    there = [name for name, seed in targets.items() if seed.mask.any()]
    name: str | None = None
    for addressed in commands:
        # What names no segment is said of the one before.
        name = next((one for one in targets if one.casefold() == (addressed.segment or "").casefold()), name)
        if name is None:
            if len(there) != 1:
                raise InputError(
                    "The round holds {count} segments; name one in the command, such as 'shrink the {name} 2 mm'.",
                    count=len(there),
                    name=there[0] if there else "liver",
                )
            name = there[0]
        if isinstance(addressed.command, Rename):
            raise InputError(
                "A command does not rename what a round holds; rename its segment, which asks for it anew."
            )
        seed = targets[name]
        others = {one: other.mask for one, other in targets.items() if one != name}
        edited = apply_commands(seed.mask, volume.grid, (addressed.command,), volume=volume, others=others)
        targets[name] = replace(seed, mask=edited.mask, command=seeds.text.strip())
    return replace(seeds, targets=targets)


def _changed(seeds: Seeds, change: Callable[[Target], Target]) -> Seeds:
    """The seeds with every target changed, and looked for anew."""
    plan = replace(seeds.plan, targets=tuple(change(target) for target in seeds.plan.targets))
    targets = {}
    for before, after in zip(seeds.plan.targets, plan.targets, strict=True):
        if before.name in seeds.targets:
            targets[after.name] = replace(seeds.targets[before.name], target=after, is_sought=True)
    return replace(seeds, plan=plan, targets=targets)


def _known(seeds: Seeds, plan: Plan) -> list[str]:
    return [target.name for target in plan.targets if target.name in seeds.targets]


def _structure(text: str, vocabulary: Vocabulary) -> Structure:
    (target, *_) = plan_by_rules(text, vocabulary).targets
    return target.structure


def renamed(target: Target, name: str, vocabulary: Vocabulary) -> Target:
    """What is asked for where a segment was given another name: by that name alone, as a request would say it.

    Args:
        target: what the segment was made for; what does not belong to it still does not.
    """
    try:
        (new, *_) = plan_by_rules(name, vocabulary).targets
    except InputError:
        new = Target(Structure(name.strip().lower()))
    return replace(new, without=new.without or target.without)
