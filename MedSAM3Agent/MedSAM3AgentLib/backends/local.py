"""A language model on this computer: MedGemma and its like, by transformers' ``AutoModelForImageTextToText``.

Loaded with the first question and unloaded at will, since it shares the memory with the segmenter. Greedy decoding, so
that the same question has the same reply. Nothing is downloaded and no code of a model folder runs.
"""

from __future__ import annotations

import gc
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import Cancelled, ModelError
from MedSAM3SegmentLib.progress import CancelCheck

from .protocol import BackendError, Question, Reply

#: Tokens that a reply may have.
_MOST_TOKENS = 512


class LocalBackend:
    """Asks a model in a folder.

    Args:
        folder: as ``save_pretrained`` writes it: weights as safetensors, tokenizer, image processor, chat template.
        device: where it runs, ``auto`` for a GPU where there is one.
        votes: how often a verdict is asked for; greedy decoding gives the same each time, so one is enough.

    Raises:
        ModelError: the folder is none, or holds weights that could run code when they are read.
    """

    sees_pictures = True
    answers = True
    sends_to = ""

    def __init__(self, folder: Path, device: str = "auto", votes: int = 1) -> None:
        if not (folder / "config.json").is_file():
            raise ModelError(
                "{folder} is no language model's folder: it has no config.json; give one that transformers reads.",
                folder=folder,
            )
        if not any(folder.glob("*.safetensors")):
            raise ModelError(
                "{folder} holds no weights as safetensors; others are not read, since reading them can run code.",
                folder=folder,
            )
        self.name = f"model in {folder.name}"
        self.votes = votes
        self._folder, self._device = folder, device
        self._loaded: tuple[Any, Any] | None = None

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """The reply to a question; the model is loaded for the first one.

        Raises:
            BackendError: the model cannot be loaded, has no room, or failed.
            Cancelled: ``cancel`` said so, between two tokens.
        """
        started = time.monotonic()
        try:
            processor, model = self._load()
            text = self._generate(processor, model, question, cancel)
        except (Cancelled, BackendError):
            raise
        except Exception as error:  # whatever a model's code raises ends the questions, not the session
            self.unload()
            raise BackendError(f"The {self.name} failed ({type(error).__name__}).") from None
        milliseconds = round(1000 * (time.monotonic() - started))
        return Reply(text, self._folder.name, None, milliseconds, {"do_sample": False, "max_new_tokens": _MOST_TOKENS})

    def unload(self) -> None:
        """Give the model's memory back; the next question loads it again."""
        self._loaded = None
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor

            from MedSAM3SegmentLib.models.devices import choose_device

            device = choose_device(self._device)
            options = {"local_files_only": True, "trust_remote_code": False}
            try:
                processor = AutoProcessor.from_pretrained(self._folder, **options)
                model = AutoModelForImageTextToText.from_pretrained(
                    self._folder,
                    use_safetensors=True,
                    dtype=torch.bfloat16 if str(device).startswith("cuda") else torch.float32,
                    **options,
                )
                model = model.to(device).eval()
            except ImportError as error:
                raise BackendError(f"The {self.name} needs a package that is not installed ({error.name}).") from None
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise BackendError(f"The {self.name} cannot be loaded ({type(error).__name__}).") from None
            self._loaded = processor, model
        return self._loaded

    def _generate(self, processor: Any, model: Any, question: Question, cancel: CancelCheck | None) -> str:
        import torch
        from PIL import Image
        from transformers import StoppingCriteria, StoppingCriteriaList

        class StopOnCancel(StoppingCriteria):  # type: ignore[misc]
            """Ends the reply where the user does not want it any more."""

            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                del scores
                ended = cancel is not None and cancel()
                return torch.full((len(input_ids),), ended, dtype=torch.bool, device=input_ids.device)

        content: list[dict[str, Any]] = [{"type": "text", "text": f"{question.instructions}\n\n{question.text}"}]
        if question.picture:
            content.insert(0, {"type": "image", "image": Image.open(BytesIO(question.picture)).convert("RGB")})
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(model.device)
        with torch.inference_mode():
            tokens = model.generate(
                **inputs,
                max_new_tokens=_MOST_TOKENS,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([StopOnCancel()]),
            )
        if cancel is not None and cancel():
            raise Cancelled
        said = tokens[0, inputs["input_ids"].shape[1] :]
        return str(processor.decode(said, skip_special_tokens=True))
