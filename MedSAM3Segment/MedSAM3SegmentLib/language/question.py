"""A question to an image-text model and its answer, as they are asked in this process and sent to an engine."""

from __future__ import annotations

import json
from dataclasses import dataclass

from MedSAM3SegmentLib.errors import InputError

#: Most characters of a question's words, most bytes of its picture, and most tokens of an answer.
MOST_CHARACTERS = 50_000
MOST_PICTURE_BYTES = 16 * 2**20
MOST_TOKENS = 4096

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class LanguageQuestion:
    """One question, which stands alone: nothing is remembered between two.

    Attributes:
        instructions: who answers and how.
        text: what is asked.
        picture: PNG bytes of at most one page, or empty.
        schema: JSON schema that the answer should have, as text, or empty.
        most_tokens: that the answer may have.

    Raises:
        InputError: something is longer than a model is asked, the picture is no PNG, or the schema is no JSON object.
    """

    instructions: str
    text: str
    picture: bytes = b""
    schema: str = ""
    most_tokens: int = 512

    def __post_init__(self) -> None:
        if len(self.instructions) + len(self.text) + len(self.schema) > MOST_CHARACTERS:
            raise InputError("A question has more than {most} characters; ask a shorter one.", most=MOST_CHARACTERS)
        if not 1 <= self.most_tokens <= MOST_TOKENS:
            raise InputError(
                "An answer cannot have {count} tokens; choose 1 to {most}.", count=self.most_tokens, most=MOST_TOKENS
            )
        if self.picture and (not self.picture.startswith(_PNG) or len(self.picture) > MOST_PICTURE_BYTES):
            raise InputError(
                "The picture of a question is no PNG of at most {most} MB; draw another one.",
                most=MOST_PICTURE_BYTES // 2**20,
            )
        if self.schema and not _is_object(self.schema):
            raise InputError("The schema of a question is no JSON object; leave it out or correct it.")


@dataclass(frozen=True)
class LanguageAnswer:
    """What a model says.

    Attributes:
        text: without special tokens.
        tokens_in, tokens_out: of the question, the picture's included, and of the answer.
        is_constrained: whether the schema was held to while decoding.
    """

    text: str
    tokens_in: int
    tokens_out: int
    is_constrained: bool = False


def _is_object(schema: str) -> bool:
    try:
        return isinstance(json.loads(schema), dict)
    except (ValueError, RecursionError):
        return False
