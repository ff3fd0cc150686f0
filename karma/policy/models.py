"""The networks: the policy with its critic, and the frozen reference that the KL is measured to.

Dropout is off everywhere, in learning too: a token's probability must be the same at sampling and
at the update, or the ratio between them is noise (Huang et al. 2024). Weights are single precision:
at PPO's small learning rates bfloat16 rounds updates away.

With LoRA the reference is the policy with its adapter switched off; otherwise it is a frozen copy,
which with the critic ``hydra`` shares the frozen lower layers.
What leaves the stage is a plain model either way (``plain``).
"""

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.pytorch_utils import Conv1D

from karma.errors import InputError
from karma.policy import hydra
from karma.policy.prompts import generator
from karma.policy.recipe import LoraRecipe, PolicyRecipe


class ActorCritic(nn.Module):
    """The policy, and a value head on its own trunk (``trunk`` None) or on another one.

    ``half`` has both compute in bfloat16; their weights stay as they are. ``lower`` are the
    policy's frozen layers, whose states are given to learning.
    """

    def __init__(
        self,
        policy: Any,
        trunk: Any | None,
        generator: torch.Generator,
        *,
        half: bool = False,
        lower: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.half_precision = half
        self.lower = tuple(lower)
        self.policy = policy
        self.trunk = trunk
        self.head = value_head(policy if trunk is None else trunk, generator)
        self.eval()

    def forward(
        self, ids: Tensor, where: Tensor, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, vocabulary) and values (n,) at the n places that ``where`` marks.

        ``ids`` and ``where`` (rows, tokens), padded on the right; n runs row by row. ``states``
        (rows, tokens, hidden units): what the lower layers make of ``ids``, where it is known.
        """
        shared = self.trunk is None
        with hydra.above(self.lower, states):
            output = self.policy(
                input_ids=ids, logits_to_keep=where, output_hidden_states=shared, use_cache=False
            )
        if shared:
            values = self.head(output.hidden_states[-1][where]).squeeze(-1)
            return output.logits.float(), values.float()
        return output.logits.float(), self.critic(ids, where)

    def critic(self, ids: Tensor, where: Tensor) -> Tensor:
        """Values (n,) of a critic with a trunk of its own, at the places that ``where`` marks."""
        assert self.trunk is not None
        states = self.trunk(input_ids=ids, use_cache=False).last_hidden_state
        return self.head(states[where]).squeeze(-1).float()

    def computing(self) -> torch.autocast:
        """The context in which the networks compute; the reference shares it."""
        device = self.head.weight.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.half_precision)

    @contextmanager
    def cast_once(self) -> Iterator[None]:
        """Within ``computing`` and without gradients: each weight of the policy is cast once.

        Autocast keeps what it casts of weights that learn. Frozen ones, as beside adapters or below
        a hydra's upper layers, it would cast again at every token that is sampled.
        """
        frozen = [p for p in self.policy.parameters() if not p.requires_grad]
        if not self.half_precision:
            frozen = []
        try:
            for weight in frozen:
                weight.requires_grad_(True)
            yield
        finally:
            for weight in frozen:
                weight.requires_grad_(False)

    def learned(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that learning moves, by name."""
        return ((name, p) for name, p in self.named_parameters() if p.requires_grad)


def actor_critic(
    policy: Any, trunk: Any | None, recipe: PolicyRecipe, seed: int, *, half: bool = False
) -> ActorCritic:
    """The networks as the recipe wants them: with adapters or frozen layers, if it names any.

    Raises InputError if the policy has no more layers than are to be learned.
    """
    if recipe.lora is not None:
        policy = adapted(policy, recipe.lora, generator(seed, "adapter"))
        if trunk is not None:
            trunk = adapted(trunk, recipe.lora, generator(seed, "critic's adapter"))
    lower = hydra.freeze(policy, recipe.unfrozen_layers) if recipe.critic == "hydra" else ()
    return ActorCritic(policy, trunk, generator(seed, "value head"), half=half, lower=lower)


class SwitchedOff:
    """The starting policy: the policy with its adapter switched off, no second copy of it."""

    def __init__(self, policy: PeftModel) -> None:
        self.policy = policy

    def __call__(self, **inputs: Any) -> Any:
        """What the starting policy makes of ``inputs``."""
        with self.policy.disable_adapter():
            return self.policy(**inputs)


def adapted(model: Any, lora: LoraRecipe, generator: torch.Generator) -> PeftModel:
    """``model`` frozen, with an adapter that changes nothing yet and learns."""
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT draws an adapter's first weights from the global random state, and asks transformers
        # under a name that will be gone.
        torch.manual_seed(generator.initial_seed())
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, settings)


def plain(policy: Any) -> Any:
    """The policy as a plain model; an adapter is merged into a copy of it."""
    return copy.deepcopy(policy).merge_and_unload() if isinstance(policy, PeftModel) else policy


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


def reference(policy: Any, folder: Path, device: str, lower: Sequence[nn.Module] = ()) -> Any:
    """The starting policy, frozen: ``policy`` without its adapter, else the one in ``folder``.

    With ``lower`` layers that are frozen in ``policy``, which has not learned yet, they are shared.
    """
    if isinstance(policy, PeftModel):
        return SwitchedOff(policy)
    if lower:
        return hydra.reference(policy, lower)
    return load_policy(folder).to(device).eval().requires_grad_(False)


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
