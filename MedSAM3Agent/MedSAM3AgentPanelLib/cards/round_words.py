"""A round in words, as its card says it."""

from __future__ import annotations

from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound, TargetVerdict
from MedSAM3AgentSceneLib.translation.translate import translated

#: Marks that tell verdicts apart without a color.
_MARKS = {"accepted": "\u2713", "unsure": "?", "rejected": "\u2717"}

#: Changes of a volume below this are none, milliliters.
_LEAST_CHANGE_ML = 0.05


def round_title(one: SceneRound) -> str:
    """The heading of a round's card."""
    marks = ", ".join(f"{verdict.name} {_MARKS.get(verdict.verdict, '')}".strip() for verdict in one.verdicts)
    return str(_("Round {number}: {targets}").format(number=one.number, targets=marks or _("nothing")))


def verdict_words(verdict: TargetVerdict) -> str:
    """``✓ accepted``, in the user's language."""
    words = {"accepted": _("accepted"), "unsure": _("unsure"), "rejected": _("rejected")}
    return f"{_MARKS.get(verdict.verdict, '')} {words.get(verdict.verdict, verdict.verdict)}".strip()


def size_words(verdict: TargetVerdict) -> str:
    """The volume, or that there is none."""
    return str(_("{size} mL").format(size=f"{verdict.volume_ml:.1f}") if verdict.phrase else _("not found"))


def target_words(verdict: TargetVerdict, has_parent: bool) -> str:
    """What a round came to for one target, in a few lines.

    Args:
        has_parent: whether there is a round before to compare with.
    """
    size = size_words(verdict)
    if has_parent:
        size = f"{size} ({change_words(verdict.change_ml)})"
    head = _("{name}: {verdict}, {size}").format(name=verdict.name, verdict=verdict_words(verdict), size=size)
    asked, in_favor = verdict.votes
    votes = _("{in_favor} of {asked} votes in favor.").format(in_favor=in_favor, asked=asked) if asked else ""
    return "\n".join(filter(None, (head, " ".join(filter(None, (translated(verdict.why), votes))))))


def change_words(change_ml: float) -> str:
    """A change of volume against the round before."""
    if abs(change_ml) < _LEAST_CHANGE_ML:
        return str(_("as before"))
    # A minus that is as wide as the plus.
    sign = "+" if change_ml > 0 else "\u2212"
    return str(_("{change} mL against the round before").format(change=f"{sign}{abs(change_ml):.1f}"))


def cost_words(one: SceneRound) -> str:
    """What a round took."""
    seconds = one.seconds.get("all", 0.0)
    return str(_("{seconds} s; questions asked: {calls}").format(seconds=f"{seconds:.1f}", calls=one.calls))
