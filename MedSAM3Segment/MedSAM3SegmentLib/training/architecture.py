"""How large a SAM 3 to train: its configuration, its first weights, its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, Sam3Config, Sam3Model


@dataclass(frozen=True)
class Architecture:
    """The numbers that set a SAM 3's size; the defaults are the demo model's.

    Attributes:
        image_size: edge of the square input in pixels; a multiple of ``patch_size`` times ``window_size``.
        vision_width, vision_layers, vision_heads, vision_mlp: the ViT.
        global_layers: which of its layers see the whole picture instead of one window.
        width: of the detector and of the pyramid.
        queries: the most objects of one concept on one slice.
    """

    image_size: int = 224
    patch_size: int = 14
    window_size: int = 8
    vision_width: int = 192
    vision_layers: int = 6
    vision_heads: int = 6
    vision_mlp: int = 576
    global_layers: tuple[int, ...] = (2, 5)
    width: int = 64
    heads: int = 4
    mlp: int = 256
    encoder_layers: int = 2
    decoder_layers: int = 2
    geometry_layers: int = 1
    queries: int = 8
    text_width: int = 96
    text_layers: int = 2
    text_heads: int = 4
    text_mlp: int = 384
    context_length: int = 32

    def configuration(self, tokenizer: CLIPTokenizer) -> Sam3Config:
        """transformers' configuration; Meta's layer norm epsilon of 1e-5 in the ViT."""
        from transformers import Sam3Config

        grid = self.image_size // self.patch_size
        detector = {
            "hidden_size": self.width,
            "num_attention_heads": self.heads,
            "intermediate_size": self.mlp,
            "dropout": 0.0,
        }
        return Sam3Config(
            vision_config={
                "model_type": "sam3_vision_model",
                "backbone_config": {
                    "model_type": "sam3_vit_model",
                    "hidden_size": self.vision_width,
                    "intermediate_size": self.vision_mlp,
                    "num_hidden_layers": self.vision_layers,
                    "num_attention_heads": self.vision_heads,
                    "image_size": self.image_size,
                    "pretrain_image_size": self.image_size,
                    "patch_size": self.patch_size,
                    "window_size": self.window_size,
                    "global_attn_indexes": list(self.global_layers),
                    "layer_norm_eps": 1e-5,
                },
                "fpn_hidden_size": self.width,
                "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
                "scale_factors": [4.0, 2.0, 1.0, 0.5],
            },
            text_config={
                "model_type": "clip_text_model",
                "vocab_size": len(tokenizer),
                "hidden_size": self.text_width,
                "intermediate_size": self.text_mlp,
                "projection_dim": self.width,
                "num_hidden_layers": self.text_layers,
                "num_attention_heads": self.text_heads,
                "max_position_embeddings": self.context_length,
                "hidden_act": "gelu",
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            geometry_encoder_config={**detector, "num_layers": self.geometry_layers},
            detr_encoder_config={**detector, "num_layers": self.encoder_layers},
            detr_decoder_config={**detector, "num_layers": self.decoder_layers, "num_queries": self.queries},
            mask_decoder_config={
                "hidden_size": self.width,
                "num_attention_heads": self.heads,
                "num_upsampling_stages": 3,
            },
        )


def new_network(architecture: Architecture, tokenizer: CLIPTokenizer, seed: int) -> Sam3Model:
    """A network with first weights from ``seed``.

    transformers draws every weight with the same small spread, which suits a width of 1024; in a narrow network the
    picture then fades to nothing on its way to the masks. Weights are drawn by fan-in and fan-out instead (Glorot and
    Bengio 2010; He et al. 2015), queries and their reference boxes start spread over the picture, and masks start
    empty.
    """
    from transformers import Sam3Model

    torch.manual_seed(seed)
    network: Sam3Model = Sam3Model._from_config(architecture.configuration(tokenizer))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            else:
                continue
            if module.bias is not None:
                module.bias.zero_()
        network.vision_encoder.backbone.embeddings.position_embeddings.normal_(std=0.2)
        decoder = network.detr_decoder
        # The picture enters the decoder unnormalised and many times larger than its queries: drawn like the rest, it
        # would drown the phrase in them and fix their attention on one spot.
        for layer in network.vision_encoder.neck.fpn_layers:
            layer.proj2.weight.mul_(0.5)
        for layer in decoder.layers:
            layer.vision_cross_attn.k_proj.weight.mul_(0.25)
            layer.vision_cross_attn.v_proj.weight.mul_(0.25)
        # Boxes start at their reference boxes.
        decoder.box_head.layer3.weight.zero_()
        decoder.query_embed.weight.normal_()
        boxes = torch.cat(
            [torch.rand(architecture.queries, 2) * 0.7 + 0.15, torch.rand(architecture.queries, 2) * 0.3 + 0.1], dim=1
        )
        decoder.reference_points.weight.copy_(torch.logit(boxes))
        network.mask_decoder.semantic_projection.bias.fill_(-2.0)
    return network


def train_tokenizer(texts: Iterable[str], merges: int, folder: Path) -> CLIPTokenizer:
    """A byte-level CLIP tokenizer with at most ``merges`` merges learned from ``texts``, saved into ``folder``.

    Any text can be written with it: what no merge covers falls apart into bytes.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    draft = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    draft.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    draft.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    draft.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=2 * len(alphabet) + merges,
            initial_alphabet=alphabet,
            # The trainer numbers what it is not told in an order that changes from run to run.
            special_tokens=[letter + "</w>" for letter in alphabet],
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    import json

    learned = [tuple(merge) for merge in json.loads(draft.to_str())["model"]["merges"]][:merges]
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in learned)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    tokenizer: CLIPTokenizer = CLIPTokenizer(vocab=vocabulary, merges=learned)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(folder))
    return tokenizer
