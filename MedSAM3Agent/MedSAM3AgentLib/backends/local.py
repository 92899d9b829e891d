"""A language model on this computer: MedGemma and its like, in this process or in that of an engine.

Greedy decoding, so that the same question has the same reply. An engine shares its memory between the model and SAM 3;
in this process the model is loaded with the first question.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import Cancelled, MedSAM3Error
from MedSAM3SegmentLib.language.constrained import is_installed
from MedSAM3SegmentLib.language.kept_model import KeptLanguageModel
from MedSAM3SegmentLib.language.model import check_folder
from MedSAM3SegmentLib.language.question import LanguageAnswer, LanguageQuestion
from MedSAM3SegmentLib.progress import CancelCheck

from .protocol import BackendError, Question, Reply
from .waiting import wait_for

if TYPE_CHECKING:
    from MedSAM3SegmentLib.engine.client.remote_segmenter import RemoteSegmenter

#: Tokens that a reply may have.
_MOST_TOKENS = 512


class LocalBackend:
    """Asks a model in a folder.

    Args:
        folder: as ``save_pretrained`` writes it: weights as safetensors, tokenizer, image processor, chat template.
        device: where it runs, ``auto`` for a GPU where there is one.
        votes: how often a verdict is asked for; greedy decoding gives the same each time, so one is enough.
        engine: this computer's engine, which loads the model beside SAM 3; None for this process.

    Raises:
        ModelError: the folder is none, or holds weights that could run code when they are read.
    """

    sees_pictures = True
    answers = True
    sends_to = ""

    def __init__(
        self, folder: Path, device: str = "auto", votes: int = 1, engine: RemoteSegmenter | None = None
    ) -> None:
        check_folder(folder)
        self.name = f"model in {folder.name}"
        self.votes = votes
        self._folder, self._device, self._engine = folder, device, engine
        self._kept = KeptLanguageModel()
        # A question that nobody waits for any more may still be answered.
        self._lock = threading.Lock()

    @property
    def is_constrained(self) -> bool:
        """Whether replies in this process are held to their form while they are written."""
        return is_installed()

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """The reply to a question; the model is loaded for the first one.

        Raises:
            BackendError: the model cannot be loaded, has no room, or failed.
            Cancelled: ``cancel`` said so.
        """
        started = time.monotonic()
        try:
            answer = self._answer(
                LanguageQuestion(
                    question.instructions,
                    question.text,
                    question.picture,
                    json.dumps(dict(question.schema)) if question.schema else "",
                    _MOST_TOKENS,
                ),
                cancel,
            )
        except Cancelled:
            raise
        except MedSAM3Error as error:
            raise BackendError(str(error)) from None
        except Exception as error:  # whatever a model's code raises ends the questions, not the session
            self.unload()
            raise BackendError(
                "The language model in {folder} failed ({kind}).", folder=self._folder.name, kind=type(error).__name__
            ) from None
        return Reply(
            answer.text,
            self._folder.name,
            (answer.tokens_in, answer.tokens_out),
            round(1000 * (time.monotonic() - started)),
            {"do_sample": False, "max_new_tokens": _MOST_TOKENS, "schema": answer.is_constrained},
        )

    def unload(self) -> None:
        """Give the model's memory in this process back; the next question loads it again."""
        with self._lock:
            self._kept.clear()

    def _answer(self, question: LanguageQuestion, cancel: CancelCheck | None) -> LanguageAnswer:
        if self._engine is not None:
            return self._engine.answer(question, self._folder, self._device, cancel)

        def work(given_up: threading.Event) -> LanguageAnswer:
            with self._lock:
                return self._kept.get(self._folder, self._device).answer(question, given_up.is_set)

        return wait_for(work, cancel)
