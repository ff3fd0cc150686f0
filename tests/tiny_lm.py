"""A small random Llama with a byte-level tokenizer, for the tests of evaluation."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from karma.evals.model import LanguageModel, wrap

TEXT = [
    "Question: is this a joke, yes or no? Answer: no",
    "The cat sat on the mat and said that the dog was negative, neutral or positive.",
    "I can't believe it's not butter! Reply: indeed, what a strange thing to say.",
]


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that begins every text with ``<bos>``."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXT, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def tiny(positions: int = 512, seed: int = 0) -> LanguageModel:
    """Two layers of 32, random but always the same, with weights large enough to have opinions."""
    torch.manual_seed(seed)
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return wrap(LlamaForCausalLM(config).eval(), words)


def saved(folder: Path) -> Path:
    """The same model as a Hugging Face folder."""
    made = tiny()
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder
