"""A BERT of few dimensions in the layout of a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from modelkit.contracts import BaseModelRef

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def tiny_tokenizer(words: list[str]) -> Tokenizer:
    """A word-level tokenizer over `words` that frames texts as BERT does and knows CJK characters one by one."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *dict.fromkeys(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def write_encoder(
    folder: Path,
    words: list[str],
    *,
    width: int = 64,
    layers: int = 2,
    positions: int = 64,
    dropout: float = 0.1,
    seed: int = 0,
) -> BaseModelRef:
    """Write the folder and return a reference to it."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer(words)
    # Files of real models come with fixed padding; whoever reads them must cope.
    tokenizer.enable_padding(length=positions, pad_id=0, pad_token="[PAD]")
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return BaseModelRef(id=folder.name, path=folder, revision="tiny")
