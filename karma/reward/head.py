"""The layer that gives the reward."""

from typing import Any

import torch
from torch import Tensor, nn

from karma.errors import InputError


def keep_single(model: Any) -> None:
    """Have the last layer of a classifier compute in single precision under autocast too: in
    bfloat16 a reward would have 8 bits. Raises InputError if there is no such layer."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    head: Any = next((layer for layer in reversed(layers) if layer.out_features == 1), None)
    if head is None:
        raise InputError(
            "reward.backbone",
            "its classifier has no linear layer of one output",
            "Name another backbone.",
        )

    def forward(states: Tensor) -> Tensor:
        with torch.autocast(states.device.type, enabled=False):
            return nn.functional.linear(states.float(), head.weight, head.bias)

    head.forward = forward
