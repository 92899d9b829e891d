"""From labeled stacks to training batches: which slices, asked for what, moved how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.detector import PADDING_LABEL
from MedSAM3SegmentLib.preprocessing.model_input import to_model_input
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.vocabulary.phrases import VISUAL_PHRASE

from .batch_plan import Batch, BatchPlan, Run, ViewKey
from .dataset import LabelledStack
from .mask_objects import target_of
from .text_augmentation import negative_prompt_text, positive_prompt_text

__all__ = ["Batch", "BatchMaker", "BatchPlan", "Run", "ViewKey", "known_slices"]

#: A pixel of a mask teaches nothing where more than this part of it is ignored; a little, since the rest of it says
#: nothing of the whole.
_IGNORED_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class _Question:
    phrase: str
    mask: BoolMask | None
    with_box: bool


class BatchMaker:
    """Draws batches from stacks, reproducibly from a seed.

    Args:
        stacks: what to draw from.
        plan: how.
        image_size: edge of the network's input in pixels.
        mask_size: edge of the network's masks in pixels.
        seed: of all choices.
    """

    def __init__(
        self, stacks: Sequence[LabelledStack], plan: BatchPlan, image_size: int, mask_size: int, seed: int
    ) -> None:
        self.stacks = stacks
        self.plan = plan
        self.image_size = image_size
        self.mask_size = mask_size
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        places = [(s, i) for s, stack in enumerate(stacks) for i in known_slices(stack)]
        first_replayed = len(stacks) - plan.replay_stacks
        self._places = [place for place in places if place[0] < first_replayed]
        self._replay_places = [place for place in places if place[0] >= first_replayed]
        if not self._places:
            raise InputError("Nobody looked at a slice of the training data; name slices that are labelled.")
        showing: dict[str, list[tuple[int, int]]] = {name: [] for name in plan.focus}
        self._missing: list[list[str]] = []
        for s, stack in enumerate(stacks):
            seen: set[str] = set()
            for i in known_slices(stack):
                present = stack.present(i)
                seen.update(present)
                for name in showing.keys() & set(present):
                    showing[name].append((s, i))
            self._missing.append([name for name in stack.concepts if name not in seen])
        self._focus_places = [places for places in showing.values() if places]

    def draw(self) -> Batch:
        """The next batch."""
        pictures: list[Callable[[], torch.Tensor]] = []
        views, masks, questions, runs = [], [], [], []
        ignored: list[torch.Tensor | None] = []
        for _ in range(self.plan.slices):
            stack_number, index = self._place()
            stack, rng = self.stacks[stack_number], self.rng
            if self.plan.views:
                views.append(ViewKey(stack_number, index, int(rng.integers(self.plan.views))))
                # Neighbors are moved together, so with them a whole stack is moved in as many ways.
                moved_as = views[-1] if self.plan.neighbors == 0 else (stack_number, views[-1].view)
                rng = np.random.default_rng([self.seed, *moved_as])
            window = stack.random_window(rng)
            empty = self.rng.random() < self.plan.empty_probability
            picture = self._empty_picture() if empty else None
            asked = self._questions(stack, index, empty, self._missing[stack_number])
            shape = stack.codes.shape[1:]
            layers = [np.zeros(shape, bool) if q.mask is None else q.mask for q in asked]
            unknown = None if empty else stack.ignored_on(index)
            layers.append(np.zeros(shape, bool) if unknown is None else unknown)
            theta = _movement(rng)
            pictures.append(self._picture(stack, index, window, theta, picture))
            if self.plan.neighbors:
                runs.append(self._run(views[-1], window, theta))
            moved = self._move_masks(torch.from_numpy(np.stack(layers)).float()[None], theta)[0]
            masks.append(moved[:-1])
            ignored.append(None if unknown is None else moved[-1] > _IGNORED_SHARE)
            questions.append(asked)
        boxes, labels, targets = [], [], []
        for asked, moved, hidden in zip(questions, masks, ignored, strict=True):
            for question, mask in zip(asked, moved, strict=True):
                # What a phrase of something else means is nowhere, and so not under the ignored pixels either.
                target = target_of(torch.zeros_like(mask)) if question.mask is None else target_of(mask, hidden)
                box, label = torch.zeros(4), PADDING_LABEL
                if question.with_box and len(target.boxes):
                    chosen = target.boxes[int(self.rng.integers(len(target.boxes)))]
                    box, label = self._jittered(chosen), 1
                boxes.append(box)
                labels.append(label)
                targets.append(target)
        return Batch(
            pictures,
            [question.phrase for asked in questions for question in asked],
            torch.stack(boxes)[:, None],
            torch.tensor(labels)[:, None],
            targets,
            tuple(views),
            tuple(runs),
        )

    def _place(self) -> tuple[int, int]:
        """The number of a stack, and of a slice in it."""
        places = self._places
        if self._replay_places and self.rng.random() < self.plan.replay_probability:
            places = self._replay_places
        elif self._focus_places and self.rng.random() < self.plan.focus_probability:
            places = self._focus_places[int(self.rng.integers(len(self._focus_places)))]
        stack, index = places[int(self.rng.integers(len(places)))]
        return stack, index

    def _empty_picture(self) -> torch.Tensor:
        level = float(self.rng.uniform(-1, 0.5))
        noise = float(self.rng.choice([0.0, 0.02, 0.2]))
        grain = torch.from_numpy(self.rng.normal(0, noise, (1, 1, self.image_size, self.image_size)).astype(np.float32))
        return (level + grain).clamp(-1, 1).expand(-1, 3, -1, -1)

    def _questions(self, stack: LabelledStack, index: int, empty: bool, missing: list[str]) -> list[_Question]:
        """What is asked of a slice.

        Args:
            missing: the concepts that are on no slice of the stack. To say no to the spleen of a patient without one is
                harder than on a slice that does not reach it, so every other absent concept is one of these.
        """
        rng, plan = self.rng, self.plan
        present = [] if empty else list(stack.present(index))
        # Whether a concept that is not seen is under the ignored pixels, nobody knows.
        is_sure = empty or stack.ignored_on(index) is None
        absent = [name for name in stack.concepts if is_sure and name not in present]
        missing = missing if is_sure else []
        asked: list[_Question] = []
        for slot in range(plan.phrases):
            draw = rng.random()
            positive = slot < plan.phrases // 2 or draw < 0.25
            if positive and present:
                weights = np.array([plan.focus_weight if name in plan.focus else 1.0 for name in present])
                concept = str(rng.choice(present, p=weights / weights.sum()))
                mask = stack.mask(index, concept)
                phrase = positive_prompt_text(concept, plan.synonyms, rng)
                # Around what may go on under ignored pixels nobody can draw a box.
                with_box = rng.random() < plan.box_probability and is_sure
                if with_box and rng.random() < plan.box_alone_probability:
                    phrase = VISUAL_PHRASE
                asked.append(_Question(phrase, mask, with_box))
            elif absent and (slot == plan.phrases // 2 or draw < 0.5):
                concept = str(
                    rng.choice(self._confusable(missing if missing and rng.random() < 0.5 else absent, present))
                )
                asked.append(_Question(positive_prompt_text(concept, plan.synonyms, rng), None, False))
            else:
                asked.append(_Question(negative_prompt_text(plan.others, rng), None, False))
        return asked

    def _confusable(self, absent: list[str], present: list[str]) -> list[str]:
        """Of absent concepts, now and then only those in focus, or with a word in common with one in view, if any."""
        if self.plan.near_probability == 0 or self.rng.random() >= self.plan.near_probability:
            return absent
        words = {word for name in present for word in name.split()}
        near = [name for name in absent if name in self.plan.focus or not words.isdisjoint(name.split())]
        return near or absent

    def _picture(
        self, stack: LabelledStack, index: int, window: Window, theta: torch.Tensor, given: torch.Tensor | None
    ) -> Callable[[], torch.Tensor]:
        """Gives a slice as the network sees it, moved, or the picture that is ``given`` in place of it."""

        def picture() -> torch.Tensor:
            shown = to_model_input(stack.slices[index : index + 1], window, self.image_size) if given is None else given
            return self._move_picture(shown, theta)

        return picture

    def _run(self, center: ViewKey, window: Window, theta: torch.Tensor) -> Run:
        """A slice among its neighbors, seen and moved as it is."""
        stack, reach = self.stacks[center.stack], self.plan.neighbors
        around = range(center.slice_index - reach, center.slice_index + reach + 1)
        return tuple(
            (center._replace(slice_index=index), self._picture(stack, index, window, theta, None))
            if 0 <= index < len(stack.slices)
            else None
            for index in around
        )

    def _move_picture(self, picture: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        padding = picture.amin()
        grid = functional.affine_grid(theta, [1, 1, self.image_size, self.image_size], align_corners=False)
        color = picture.shape[1] == 3 and not torch.equal(picture[:, 0], picture[:, 1])
        shown = picture if color else picture[:, :1]
        moved = functional.grid_sample(shown - padding, grid, align_corners=False) + padding
        return moved.expand(-1, 3, -1, -1).clamp(-1, 1)

    def _move_masks(self, masks: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        # Twice the mask resolution, then averaged: soft edges that say where within a mask pixel the border runs.
        grid = functional.affine_grid(theta, [1, 1, 2 * self.mask_size, 2 * self.mask_size], align_corners=False)
        return functional.avg_pool2d(functional.grid_sample(masks, grid, align_corners=False), 2)

    def _jittered(self, box: torch.Tensor) -> torch.Tensor:
        """A box as a person draws it, as center and size."""
        size = box[2:] - box[:2]
        noise = torch.from_numpy(self.rng.normal(0, 0.06, 4).astype(np.float32))
        corners = box + noise * torch.cat([size, size])
        centre, extent = (corners[:2] + corners[2:]) / 2, (corners[2:] - corners[:2]).clamp(min=0.01)
        return torch.cat([centre, extent]).clamp(0, 1)


def known_slices(stack: LabelledStack) -> list[int]:
    """The slices that somebody looked at; of the others it is not known what they show."""
    return [index for index in range(len(stack.slices)) if stack.is_known(index)]


def _movement(rng: np.random.Generator) -> torch.Tensor:
    """Shift, scale and turn, ``[1, 2, 3]``; never mirror, since left and right have names."""
    angle = np.deg2rad(rng.normal(0, 3))
    scale = rng.uniform(0.92, 1.1)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    shift = rng.normal(0, 0.04, 2)
    return torch.tensor([[[cos, -sin, shift[0]], [sin, cos, shift[1]]]], dtype=torch.float32)
