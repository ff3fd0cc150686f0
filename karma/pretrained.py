"""How a model of the user's is loaded, from a folder or a hub: no code of it runs, no pickle is
read, and what is wrong with it is told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from karma.errors import InputError, words

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
