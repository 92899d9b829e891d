"""Constrained decoding: a model's next tokens are limited to those that a JSON schema allows.

Optional: it takes the package ``llguidance``. Without it answers are free text, which whoever asks has to read anyway.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any


def is_installed() -> bool:
    """Whether the package is there."""
    return find_spec("llguidance") is not None


class SchemaConstraint:
    """Compiles schemas for one model's tokens; made once for a model, since that takes about a second.

    Args:
        tokenizer: of the model, a fast one.
        vocabulary_size: columns of the model's scores.

    Raises:
        ValueError: the tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: Any, vocabulary_size: int) -> None:
        from llguidance.hf import from_tokenizer

        self._tokens = from_tokenizer(tokenizer, n_vocab=vocabulary_size)

    def processor(self, schema: str) -> Any | None:
        """A ``LogitsProcessor`` for one answer of one sequence; None where the schema cannot be compiled.

        Args:
            schema: JSON schema, as text.
        """
        import numpy as np
        import torch
        from llguidance import LLMatcher
        from transformers import LogitsProcessor

        grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
        matcher = LLMatcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            return None

        class AllowedTokens(LogitsProcessor):  # type: ignore[misc]
            """Gives tokens that would leave the schema no chance."""

            read = 0

            def __call__(self, input_ids: Any, scores: Any) -> Any:
                # The first call has the question alone, which the schema knows nothing of.
                new = input_ids[0, self.read :].tolist() if self.read else []
                self.read = input_ids.shape[1]
                matcher.consume_tokens(new)
                if matcher.is_error():
                    return scores
                allowed = np.frombuffer(matcher.compute_logit_bias(), np.uint8)[: scores.shape[1]] > 0
                barred = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device)
                barred[: len(allowed)] = torch.from_numpy(~allowed).to(scores.device)
                return scores.masked_fill(barred, float("-inf"))

        return AllowedTokens()
