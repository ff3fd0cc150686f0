"""The networks: the policy with its critic, and the frozen reference that the KL is measured to.

Dropout is off everywhere, in learning too: a token's probability must be the same at sampling and
at the update, or the ratio between them is noise (Huang et al. 2024). Weights are single precision:
at PPO's small learning rates bfloat16 rounds updates away.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from karma.errors import InputError


class ActorCritic(nn.Module):
    """The policy, and a value head on its own trunk (``trunk`` None) or on another one."""

    def __init__(self, policy: Any, trunk: Any | None, generator: torch.Generator) -> None:
        super().__init__()
        self.policy = policy
        self.trunk = trunk
        self.head = value_head(policy if trunk is None else trunk, generator)
        self.eval()

    def forward(self, ids: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, vocabulary) and values (n,) at the n places that ``where`` marks.

        ``ids`` and ``where`` (rows, tokens), padded on the right; n runs row by row.
        """
        shared = self.trunk is None
        output = self.policy(
            input_ids=ids, logits_to_keep=where, output_hidden_states=shared, use_cache=False
        )
        if shared:
            return output.logits.float(), self.head(output.hidden_states[-1][where]).squeeze(-1)
        return output.logits.float(), self.critic(ids, where)

    def critic(self, ids: Tensor, where: Tensor) -> Tensor:
        """Values (n,) of a critic with a trunk of its own, at the places that ``where`` marks."""
        assert self.trunk is not None
        states = self.trunk(input_ids=ids, use_cache=False).last_hidden_state
        return self.head(states[where]).squeeze(-1)


def value_head(trunk: Any, generator: torch.Generator) -> nn.Linear:
    """A linear map of d hidden units to a value, weights from N(0, 1/(d + 1)), no bias yet.

    Its standard deviation is 1/√(d + 1) (Huang et al. 2024), so that first values are of order 1.
    """
    size = trunk.config.hidden_size
    head = nn.Linear(size, 1)
    with torch.no_grad():
        head.weight.normal_(0, 1 / math.sqrt(size + 1), generator=generator)
        head.bias.zero_()
    return head


def load_policy(folder: Path) -> Any:
    """The causal language model in ``folder``, in single precision."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def load_reference(folder: Path) -> Any:
    """The starting policy once more, frozen."""
    return load_policy(folder).eval().requires_grad_(False)


def load_trunk(sft: Path, reward: Path, tokenizer: Any) -> tuple[Any, str]:
    """The trunk that a separate critic starts from, and whose it was: ``reward`` or ``policy``."""
    classifier = reward / "model"
    if classifier.is_dir():
        vocabulary = AutoTokenizer.from_pretrained(classifier).get_vocab()
        if vocabulary == tokenizer.get_vocab():
            model = AutoModelForSequenceClassification.from_pretrained(
                classifier, dtype=torch.float32
            )
            return model.base_model, "reward"
    return load_policy(sft).base_model, "policy"


def check(policy: Any, tokenizer: Any, name: str) -> None:
    """See that PPO can use policy and tokenizer. Raises InputError."""
    next_step = "Give base a model whose tokenizer has both, pad and end being two tokens."
    if tokenizer.pad_token_id is None:
        raise InputError(name, "its tokenizer has no pad token", next_step)
    if tokenizer.eos_token_id is None:
        raise InputError(name, "its tokenizer has no end-of-text token", next_step)
    rows = policy.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(
            name,
            f"its tokenizer has {len(tokenizer)} tokens, its model {rows}",
            "Give base a model with its own tokenizer.",
        )
