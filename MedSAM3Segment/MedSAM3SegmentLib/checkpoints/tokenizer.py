"""The tokenizer that belongs to a model, found and checked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import ModelError

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, PretrainedConfig

#: Either of these makes a tokenizer.
_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))

#: Size of CLIP's vocabulary, and how it writes one sentence (between its start and end marks).
_CLIP_SIZE, _CLIP_TEXT, _CLIP_NUMBERS = 49408, "a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]


def has_tokenizer(folder: Path) -> bool:
    return any(all((folder / name).is_file() for name in names) for names in _FILES)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The CLIP tokenizer saved in ``folder``, without asking any hub.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    if not has_tokenizer(folder):
        raise ModelError(
            "The model folder {folder} has no tokenizer.json; copy the one that came with the model there.",
            folder=folder,
        )
    try:
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the tokenizers library raises plain Exception
        reason = " ".join(str(error).split())
        raise ModelError(
            "The tokenizer in {folder} cannot be read ({why}); download it again.", folder=folder, why=reason
        ) from error
    return tokenizer


def matching_tokenizer(folders: Iterable[Path], config: PretrainedConfig, weights: Path) -> CLIPTokenizer:
    """The tokenizer of the first folder that has one, checked against the model's text encoder.

    Raises:
        ModelError: there is none, or it is not the model's.
    """
    for folder in folders:
        if has_tokenizer(folder):
            tokenizer = load_tokenizer(folder)
            check_tokenizer(tokenizer, config, folder)
            return tokenizer
    raise ModelError(
        "The model {path} has no tokenizer beside it; copy tokenizer.json of the model it was trained from "
        "there, or install that with 'medsam3 models add'.",
        path=weights,
    )


def check_tokenizer(tokenizer: CLIPTokenizer, config: PretrainedConfig, folder: Path) -> None:
    """Refuse a tokenizer that would give the text encoder other numbers than it was trained on.

    Raises:
        ModelError: naming what differs.
    """
    text = config.text_config
    if len(tokenizer) != text.vocab_size:
        raise ModelError(
            "The tokenizer in {folder} has {count} entries where the model has {expected}; copy the model's own there.",
            folder=folder,
            count=len(tokenizer),
            expected=text.vocab_size,
        )
    if len(tokenizer) == _CLIP_SIZE:
        if tokenizer(_CLIP_TEXT)["input_ids"] != _CLIP_NUMBERS:
            raise ModelError(
                "The tokenizer in {folder} is not CLIP's, which the model was trained with; copy CLIP's there.",
                folder=folder,
            )
        return
    for key in ("bos_token_id", "eos_token_id"):
        expected = getattr(text, key, None)
        if expected is not None and getattr(tokenizer, key) != expected:
            raise ModelError(
                "The tokenizer in {folder} has {key} {value} where the model has {expected}; copy the model's "
                "own there.",
                folder=folder,
                key=key,
                value=str(getattr(tokenizer, key)),
                expected=expected,
            )
