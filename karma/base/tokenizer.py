"""The tokenizer of a tiny model: byte-level BPE, so that every text has tokens and comes back."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"


def train(texts: Iterable[str], vocab: int, context: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``vocab`` tokens learned from ``texts``; the same texts, the same one.

    It puts <bos> before a text and nothing after it. ``context`` is the model's longest sequence.
    """
    tokenizer = Tokenizer(models.BPE())
    # No space is put before a text: a reply brings its own, so the tokens of a prompt and of a
    # reply are those of the two together.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
