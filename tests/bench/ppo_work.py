"""The inputs of the PPO benchmark: random models of one shape, a word tokenizer, prompts.

    python -m tests.bench.ppo_work FOLDER WORKLOAD

Workload A: replies of up to 48 tokens that end by themselves after about 18. Workload B: the same,
and no reply ends.
"""

import random
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

VOCABULARY, PAD, BOS, EOS, UNKNOWN = 2048, 0, 1, 2, 3
PROMPTS, SHORTEST, LONGEST, REPLY = 32, 24, 96, 48
# With this chance of an end after every token, replies have about 18 tokens.
END = 1 / 24
EPOCHS = 4


def write(folder: Path, workload: str) -> None:
    """Make ``policy``, ``reward`` and ``critic`` in ``folder``, each with the tokenizer."""
    torch.manual_seed(0)
    policy = LlamaForCausalLM(shape())
    _end(policy, END if workload == "A" else 0.0)
    policy.save_pretrained(folder / "policy")
    for name in ("reward", "critic"):
        LlamaForSequenceClassification(shape(num_labels=1)).save_pretrained(folder / name)
    for name in ("policy", "reward", "critic"):
        tokenizer().save_pretrained(folder / name)


def shape(**more: Any) -> LlamaConfig:
    """About 1.1 M weights."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        **more,
    )


@torch.no_grad()
def _end(policy: LlamaForCausalLM, chance: float) -> None:
    """Have a reply end after every token with about this chance."""
    # Every hidden state points the same way a little, and the end's row of the head follows it.
    policy.model.embed_tokens.weight[:, 0] = 0.2
    row = policy.lm_head.weight[EOS]
    row.zero_()
    if not chance:
        row[0] = -1e4
        return
    low, high = 0.0, 10.0
    ids = torch.randint(4, VOCABULARY, (8, 48))
    for _ in range(30):
        row[0] = (low + high) / 2
        found = policy(ids).logits.softmax(-1)[..., EOS].mean().item()
        low, high = (row[0].item(), high) if found < chance else (low, row[0].item())


def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token: ``w7`` is token 7."""
    special = {PAD: "<pad>", BOS: "<bos>", EOS: "<eos>", UNKNOWN: "<unk>"}
    words = {special.get(n, f"w{n}"): n for n in range(VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {f"{key}_token": special[n] for key, n in (("pad", PAD), ("bos", BOS), ("eos", EOS))}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", padding_side="left", **names
    )


def prompts() -> list[list[int]]:
    """Prompts of 24 to 96 tokens."""
    draw = random.Random(0)
    sizes = [draw.randint(SHORTEST, LONGEST) for _ in range(PROMPTS)]
    return [[draw.randrange(4, VOCABULARY) for _ in range(size)] for size in sizes]


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2])
