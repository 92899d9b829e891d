"""Choosing the installed adapter that was trained on such pictures and for such concepts, or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.adapters.image_summary import LARGEST_DISTANCE, ImageSummary
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.messages.message import Message, joined, message
from MedSAM3SegmentLib.model_store.store import InstalledModel, installed_adapters
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume

from .pooled_features import features_name, pool_volume

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import Sam3Detector

#: DICOM's codes of kinds of images, by what people write into cards.
_KINDS = {"CT": "CT", "MR": "MR", "MRI": "MR", "US": "US", "ULTRASOUND": "US", "PT": "PT", "PET": "PT"}


@dataclass(frozen=True)
class AdapterFit:
    """Whether an adapter fits a volume.

    Attributes:
        name: of the adapter.
        distance: of the volume from its training pictures, whose own is about 1; None where it was not measured.
        fits: whether it may be used.
        reason: why, or why not.
    """

    name: str
    distance: float | None
    fits: bool
    reason: Message


@dataclass(frozen=True)
class AdapterChoice:
    """What was chosen.

    Attributes:
        adapter: its name, or None where none fits.
        fits: of all installed adapters, the best first.
    """

    adapter: str | None
    fits: tuple[AdapterFit, ...]

    @property
    def sentence(self) -> Message:
        """What was chosen and why, or why none was."""
        if self.adapter is not None:
            return message(
                "The adapter '{adapter}' was picked: it {reason}.", adapter=self.adapter, reason=self.fits[0].reason
            )
        if not self.fits:
            return message("No adapter is installed that could be picked.")
        reasons = (message("'{name}' {reason}", name=one.name, reason=one.reason) for one in self.fits)
        return message("No installed adapter fits this volume: {reasons}.", reasons=joined(reasons, "; "))


def require_adapter(choice: AdapterChoice) -> str:
    """The adapter that was chosen.

    Raises:
        ModelError: none was.
    """
    if choice.adapter is None:
        raise ModelError(
            "{sentence} Name a model instead, such as the base that you would use without adapters.",
            sentence=choice.sentence,
        )
    return choice.adapter


def pick_adapter(
    volume: Volume,
    concepts: Sequence[str],
    device: str = "auto",
    *,
    load: Callable[[str, str], Sam3Detector] = load_model,
) -> AdapterChoice:
    """Choose the installed adapter that is for all ``concepts`` and whose training pictures a volume is most like.

    Bases are loaded one after another, and only those of adapters that are for the concepts.

    Args:
        concepts: what will be segmented; none where only drawings say it.
        load: gives the base that a name stands for, on a device.

    Raises:
        ModelError: a card cannot be read.
        InputError: the device is not there.
    """
    vocabulary = Vocabulary.load()
    fits: list[AdapterFit] = []
    by_base: dict[str, list[tuple[InstalledModel, ImageSummary]]] = {}
    for one in installed_adapters():
        refusal = _refuse_unseen(one, volume, concepts, vocabulary)
        summary = None if refusal is not None else ImageSummary.load(one.folder)
        if refusal is None and summary is None:
            refusal = message("does not say what pictures it was trained on; train it anew to have it picked")
        if refusal is not None or summary is None:
            fits.append(AdapterFit(one.name, None, False, refusal or message("cannot be compared")))
        else:
            by_base.setdefault(one.card.base, []).append((one, summary))
    for base, adapters in by_base.items():
        fits += _compare(volume, base, adapters, device, load)
    fits.sort(key=lambda fit: (not fit.fits, fit.distance is None, fit.distance or 0.0))
    return AdapterChoice(fits[0].name if fits and fits[0].fits else None, tuple(fits))


def _refuse_unseen(
    one: InstalledModel, volume: Volume, concepts: Sequence[str], vocabulary: Vocabulary
) -> Message | None:
    """Why an adapter is not for a volume, as far as its card says; None where it may be."""
    card = one.card
    if not card.base:
        return message("does not say on which base it goes")
    known = {prompt_for(name) for name in card.concepts}
    for concept in concepts:
        asked = prompt_for(concept)
        if asked not in known and not any(vocabulary.is_same(asked, name) for name in known):
            return message("was not trained to find '{concept}'", concept=concept)
    kinds = {_KINDS[word] for word in re.findall(r"[A-Z]+", card.modality.upper()) if word in _KINDS}
    own = _KINDS.get(volume.modality.upper())
    if own is not None and kinds and own not in kinds:
        return message("was trained on {kinds}, and this is {own}", kinds=", ".join(sorted(kinds)), own=own)
    return None


def _compare(
    volume: Volume,
    base: str,
    adapters: Sequence[tuple[InstalledModel, ImageSummary]],
    device: str,
    load: Callable[[str, str], Sam3Detector],
) -> list[AdapterFit]:
    """How near a volume is to the training pictures of adapters of one base."""
    try:
        model = load(base, device)
    except ModelError:
        return [
            AdapterFit(one.name, None, False, message("goes on the base '{base}', which is not here", base=_name(base)))
            for one, _ in adapters
        ]
    own, pooled, found = features_name(model), None, []
    for one, summary in adapters:
        if summary.features != own:
            reason = message("was trained on other weights than those of its base '{base}' now", base=_name(base))
            found.append(AdapterFit(one.name, None, False, reason))
            continue
        pooled = pool_volume(model, volume) if pooled is None else pooled
        distance = summary.distance(pooled)
        fits = distance <= LARGEST_DISTANCE
        far, most = f"{distance:.2f}", f"{LARGEST_DISTANCE:g}"
        if fits:
            reason = message(
                "was trained on pictures like these (distance {distance}, at most {most})", distance=far, most=most
            )
        else:
            reason = message(
                "was trained on other pictures (distance {distance}, at most {most})", distance=far, most=most
            )
        found.append(AdapterFit(one.name, distance, fits, reason))
    return found


def _name(base: str) -> str:
    """A base without where it lies on this computer."""
    return Path(base).name
