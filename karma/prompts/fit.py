"""Makes a conversation and its reply fit into a model's context, and turns them into tokens.

Nothing is cut inside a turn: whole turns go, the oldest first, and whoever calls counts it.
"""

from typing import Any

from karma.text import Turn, render


def prompt_tokens(turns: list[Turn], tokenizer: Any) -> list[int]:
    """The token ids of ``render(turns)``, begun by what the tokenizer begins a text with (<bos>).

    Text that spells a special token is text: nobody ends a prompt by writing ``<eos>`` in a post.
    """
    ids: list[int] = tokenizer(render(turns), split_special_tokens=True)["input_ids"]
    return ids


def reply_tokens(reply: str, tokenizer: Any) -> list[int]:
    """The token ids of ``" " + reply`` and the end of text."""
    ids: list[int] = tokenizer(" " + reply, add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ]
    return [*ids, tokenizer.eos_token_id]


def fit(turns: list[Turn], reply_tokens: int, tokenizer: Any, limit: int) -> list[Turn] | None:
    """``turns`` without the oldest that do not fit into ``limit`` tokens beside the reply.

    ``reply_tokens`` is the room that the reply takes, its end included. A title and the last turn,
    which is the one to answer, are never dropped: where even they do not fit the answer is None.
    """
    kept = list(turns)
    while len(prompt_tokens(kept, tokenizer)) + reply_tokens > limit:
        oldest = next((i for i, turn in enumerate(kept[:-1]) if turn["role"] != "title"), None)
        if oldest is None:
            return None
        del kept[oldest]
    return kept
