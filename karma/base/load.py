"""Loads a model that exists: from the hub at a full revision, or from a local folder.

No code from the model is run, and no pickle is read: weights must be safetensors.
"""

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from karma.errors import InputError
from karma.pretrained import SAFE, WEIGHTS, loading, narrow

# Tokens that a vocabulary keeps in reserve for padding, in order of preference.
RESERVED = (
    "<|finetune_right_pad_id|>",
    "<pad>",
    "<|pad|>",
    "[PAD]",
    "<|reserved_special_token_0|>",
)


def local(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a local folder. Raises InputError if it is not in the format."""
    if not folder.is_dir():
        raise InputError(str(folder), "there is no such folder", "Check base.folder.")
    if not (folder / "config.json").is_file():
        raise InputError(
            str(folder),
            "it holds no config.json",
            "Give a folder as save_pretrained of transformers writes it.",
        )
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            str(folder),
            "it holds no *.safetensors, and pickled weights are not read",
            "Save the model again with save_pretrained, which writes safetensors.",
        )
    return _load(str(folder), None, "Check that it holds a causal language model and a tokenizer.")


def hub(model: str, revision: str) -> tuple[Any, Any]:
    """Model and tokenizer of the hub. Raises InputError if they cannot be had."""
    return _load(
        model,
        revision,
        "Check base.model, base.revision, the network and, for a gated model, your access token "
        "(hf auth login); or download it and name base.folder.",
    )


def _load(name: str, revision: str | None, next_step: str) -> tuple[Any, Any]:
    """Load in the precision that the weights are stored in."""
    where = {} if revision is None else {"revision": revision}
    with loading(name, next_step):
        tokenizer = AutoTokenizer.from_pretrained(name, **SAFE, **where)
        model = AutoModelForCausalLM.from_pretrained(name, dtype="auto", **WEIGHTS, **where)
    return model, tokenizer


def prepare(model: Any, tokenizer: Any, name: str) -> None:
    """See to it that the pad token is not the end of text, and that both know it.

    A reward is read at the last token before the padding: if pad and end were one, it would be read
    at the wrong one. Raises InputError for a model or a tokenizer that a later stage could not use.
    """
    if (reason := narrow(model.config)) is not None:
        raise InputError(
            name,
            f"{reason}, so evals could not ask it",
            "Choose one with full attention, as Llama, Qwen, OLMo, OPT, Phi and GPT-2 have.",
        )
    next_step = "Choose a causal language model with an ordinary tokenizer."
    if tokenizer.eos_token_id is None:
        raise InputError(name, "its tokenizer has no end-of-text token", next_step)
    if tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id:
        raise InputError(name, "its tokenizer ends every text, prompts too", next_step)
    give_pad(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def give_pad(tokenizer: Any) -> bool:
    """Give a tokenizer a pad token that is not its end token; False if it has one.

    The token is one that the vocabulary keeps in reserve, or a new one at its end.
    """
    if tokenizer.pad_token_id not in (None, tokenizer.eos_token_id):
        return False
    known = tokenizer.get_vocab()
    reserved = next((token for token in RESERVED if token in known), "<pad>")
    tokenizer.add_special_tokens({"pad_token": reserved})
    return True
