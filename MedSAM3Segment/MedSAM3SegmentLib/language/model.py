"""An image-text model in this process: MedGemma and its like, by transformers' ``AutoModelForImageTextToText``.

Greedy decoding, so that the same question has the same answer. Nothing is downloaded and no code of a model's folder
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError, PackageError
from MedSAM3SegmentLib.progress import CancelCheck

from .constrained import SchemaConstraint, is_installed
from .question import LanguageAnswer, LanguageQuestion

if TYPE_CHECKING:
    import torch
    from PIL import Image

#: Longest edge of a picture, pixels; a small file can hold a huge picture.
_LONGEST_EDGE = 4096

#: Told how many tokens of the answer there are, and how many there may be.
TokenCallback = Callable[[int, int], None]


def check_folder(folder: Path) -> None:
    """Make sure that a folder may hold a model that can be read without running code.

    Raises:
        ModelError: it does not.
    """
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


class LanguageModel:
    """A loaded model.

    Args:
        folder: as ``save_pretrained`` writes it: weights as safetensors, tokenizer, image processor, chat template.
        device: where it runs.
        dtype: number format of its weights.

    Attributes:
        name: of its folder, for people.
        size: bytes of its weights.

    Raises:
        ModelError: the folder is none, holds weights that could run code when they are read, or cannot be read.
        PackageError: the model's processor needs a package that is not installed.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        check_folder(folder)
        self.name = folder.name
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor = AutoProcessor.from_pretrained(folder, **options)
            model = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, dtype=dtype, **options)
            self._model = model.to(device).eval()
        except ImportError as error:
            raise PackageError(
                "The language model in {folder} needs a package that is not installed ({package}); install it, or "
                "use another model.",
                folder=folder.name,
                package=error.name or str(error).strip().partition("\n")[0],
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            from MedSAM3SegmentLib.models.memory import is_out_of_memory

            if is_out_of_memory(error):
                raise
            raise ModelError(
                "The language model in {folder} cannot be loaded ({kind}); give a folder with weights, tokenizer, "
                "image processor and chat template of an image-text model.",
                folder=folder,
                kind=type(error).__name__,
            ) from None
        self.size = sum(value.numel() * value.element_size() for value in self._model.parameters())
        self._constraint: SchemaConstraint | None = None

    def answer(
        self, question: LanguageQuestion, cancel: CancelCheck | None = None, on_token: TokenCallback | None = None
    ) -> LanguageAnswer:
        """Answer a question.

        Args:
            cancel: asked before each layer of the network, so that a long question ends soon too.
            on_token: told of each token.

        Raises:
            Cancelled: ``cancel`` said so.
            InputError: the picture cannot be read.
        """
        import torch
        from transformers import LogitsProcessorList

        content: list[dict[str, Any]] = [{"type": "text", "text": f"{question.instructions}\n\n{question.text}"}]
        if question.picture:
            content.insert(0, {"type": "image", "image": _opened(question.picture)})
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._model.device)
        length = inputs["input_ids"].shape[1]
        processor = self._processor_for(question.schema)
        with torch.inference_mode(), self._watched(cancel):
            tokens = self._model.generate(
                **inputs,
                max_new_tokens=question.most_tokens,
                do_sample=False,
                logits_processor=LogitsProcessorList([] if processor is None else [processor]),
                stopping_criteria=_counting(length, question.most_tokens, on_token),
            )
        said = tokens[0, length:]
        text = str(self._processor.decode(said, skip_special_tokens=True))
        return LanguageAnswer(text, int(length), len(said), processor is not None)

    def _processor_for(self, schema: str) -> Any | None:
        if not schema or not is_installed():
            return None
        if self._constraint is None:
            tokenizer = getattr(self._processor, "tokenizer", self._processor)
            size = int(self._model.config.get_text_config().vocab_size)
            try:
                self._constraint = SchemaConstraint(tokenizer, size)
            except ValueError:
                return None
        return self._constraint.processor(schema)

    @contextmanager
    def _watched(self, cancel: CancelCheck | None) -> Iterator[None]:
        """Within, the network stops before the next of its layers once ``cancel`` says so."""
        if cancel is None:
            yield
            return
        import torch

        def stop_if_wanted(*_: Any) -> None:
            if cancel():
                raise Cancelled

        with ExitStack() as hooks:
            for module in self._model.modules():
                if isinstance(module, torch.nn.ModuleList):
                    for layer in module:
                        hooks.callback(layer.register_forward_pre_hook(stop_if_wanted).remove)
            stop_if_wanted()
            yield


def _opened(picture: bytes) -> Image.Image:
    """A picture of a question in RGB.

    Raises:
        InputError: it is damaged or too large.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(picture), formats=["PNG"]) as opened:
            if max(opened.size) <= _LONGEST_EDGE:
                return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError("The picture of a question is a damaged PNG; draw another one.") from None
    raise InputError(
        "The picture of a question has an edge of more than {most} pixels; draw a smaller one.", most=_LONGEST_EDGE
    )


def _counting(length: int, most: int, on_token: TokenCallback | None) -> Any:
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class TokenCounter(StoppingCriteria):  # type: ignore[misc]
        """Counts the tokens of the answer, and never ends it."""

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            del scores
            if on_token is not None:
                on_token(input_ids.shape[1] - length, most)
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([TokenCounter()])
