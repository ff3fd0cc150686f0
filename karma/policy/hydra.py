"""The hydra: policy, critic and reference on one trunk whose lower layers are frozen.

What the lower layers make of a text never changes, so it is computed once a rollout, by the pass
that reads the reference, and learning passes through the upper layers alone. The reference shares
the lower layers and has a frozen copy of the upper ones (trlX, Havrilla et al. 2023, EMNLP).

A model's own code runs in every pass, so that its masks and positions are what they always are; the
lower layers step aside within it. That suits any model of transformers that has one list of layers,
each called with hidden states first and returning new ones, as Llama's, Qwen's and GPT-2's are.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from karma.errors import InputError


def freeze(policy: Any, unfrozen: int) -> list[nn.Module]:
    """Freeze all layers of ``policy`` but the last ``unfrozen``, and the embeddings; the former.

    Learned are the other layers, what comes after them, and the last linear map unless its weights
    are those of the embeddings. Raises InputError if no layer would be frozen.
    """
    layers = next(part for part in policy.base_model.children() if isinstance(part, nn.ModuleList))
    if unfrozen >= len(layers):
        raise InputError(
            "policy.unfrozen_layers",
            f"it is {unfrozen}, and the model has {len(layers)} layers in all",
            "Lower it, or set policy.critic: shared.",
        )
    lower = list(layers)[:-unfrozen]
    embeddings = [part for part in policy.base_model.children() if isinstance(part, nn.Embedding)]
    for part in (*lower, *embeddings):
        part.requires_grad_(False)
    return lower


def reference(policy: Any, lower: Sequence[nn.Module]) -> Any:
    """The policy as it is now, frozen: what is frozen in both is one, the rest is copied."""
    frozen = [weight for weight in policy.parameters() if not weight.requires_grad]
    kept = {id(part): part for part in (*lower, *frozen)}
    return copy.deepcopy(policy, kept).requires_grad_(False)


@contextmanager
def above(lower: Sequence[nn.Module], states: Tensor | None) -> Iterator[None]:
    """Within, the ``lower`` layers are not computed: the last one gives ``states``.

    ``states`` (rows, tokens, hidden units) of the texts that are read; None leaves all as it is.
    """
    if states is None:
        yield
        return

    def pass_on(hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden

    def give(*_: Any, **__: Any) -> Tensor:
        return states

    # In place of the class's method, for these objects alone.
    for layer in lower:
        layer.__dict__["forward"] = give if layer is lower[-1] else pass_on
    try:
        yield
    finally:
        for layer in lower:
            del layer.__dict__["forward"]


@contextmanager
def caught(lower: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """A list of what the last of the ``lower`` layers gives, pass by pass; none without layers."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: Any, states: Tensor) -> None:
        found.append(states.detach())

    if not lower:
        yield found
        return
    hook = lower[-1].register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()
