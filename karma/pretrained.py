"""How a model of the user's is loaded, from a folder or a hub: no code of it runs, no pickle is
read, and what is wrong with it is told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from karma.errors import InputError, words

# Their positions are counted from behind the pad token's id.
OFFSET = ("camembert", "roberta", "xlm-roberta")
# For every from_pretrained.
SAFE: dict[str, Any] = {"trust_remote_code": False}
# For those of models.
WEIGHTS: dict[str, Any] = {**SAFE, "use_safetensors": True}
# The way out for who named a folder or a model of the hub.
SAVED = (
    "Give a folder as save_pretrained of transformers writes it, with its tokenizer and weights as "
    "safetensors, or a model of the hub that can be reached."
)


@contextmanager
def loading(thing: str, next_step: str) -> Iterator[None]:
    """Around what loads ``thing``. Raises InputError for whatever the libraries raise."""
    try:
        yield
    except Exception as error:
        # transformers, tokenizers and safetensors have types of their own with nothing in common.
        raise InputError(thing, f"it cannot be loaded ({words(error)})", next_step) from error


def positions(config: Any) -> int | None:
    """The longest text that a model takes, in tokens; None if it counts no positions."""
    try:
        limit = int(config.get_text_config().max_position_embeddings)
    except AttributeError:
        return None
    return limit - config.pad_token_id - 1 if config.model_type in OFFSET else limit


def narrow(config: Any) -> str | None:
    """Why a causal model cannot be continued from a padded cache (``karma.evals.prefix``), as the
    end of a sentence; None for the many that can: they count positions that they are told, and each
    token reaches every token before it."""
    from transformers import DynamicCache

    told = config.to_dict()
    if positions(config) is None:
        return "it has no max_position_embeddings"
    if told.get("alibi"):
        return "its attention counts places by itself (ALiBi)"
    if any(DynamicCache(config=config).is_sliding) or "local" in (
        told.get("attention_layers") or ()
    ):
        return "its attention reaches a window only (sliding or local)"
    return None
