"""A real vision-language architecture (Gemma 3) with a quarter million random weights, for tests without a download."""

from __future__ import annotations

from pathlib import Path

#: Short, with an image token where a picture is.
_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {% for c in m.content %}"
    "{% if c.type == 'image' %}<boi>{% else %}{{ c.text }}{% endif %}{% endfor %}\n{% endfor %}model: "
)


def make_tiny_language_model(folder: Path) -> None:
    """Write the model as ``save_pretrained`` does."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
        PreTrainedTokenizerFast,
    )

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<bos>", "<eos>", "<unk>", "<boi>", "<eoi>", "<image>"]
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens={"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image>"},
    )
    fast.chat_template = _TEMPLATE
    config = Gemma3Config(
        text_config={
            "vocab_size": len(vocabulary), "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 8192,
            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 112, "patch_size": 14,
        },
        mm_tokens_per_image=16,
        boi_token_index=4,
        eoi_token_index=5,
        image_token_index=6,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config)
    model.save_pretrained(folder)
    size = {"height": 112, "width": 112}
    processor = Gemma3Processor(Gemma3ImageProcessor(size=size), fast, chat_template=_TEMPLATE, image_seq_length=16)
    processor.save_pretrained(folder)
