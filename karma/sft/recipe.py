"""The recipe's section ``sft``."""

from pydantic import Field

from karma.section import Section, how


class SftRecipe(Section):
    """How the starting policies are fine-tuned; the loss is on replies only."""

    epochs: float = Field(default=1.0, gt=0)
    """How often each reply is learned from."""

    lr: float = Field(default=1e-5, gt=0)
    """The highest learning rate; it warms up, then falls linearly to zero."""

    warmup: float = Field(default=0.03, ge=0, lt=1)
    """The share of steps in which the learning rate rises."""

    batch: int = Field(default=8, ge=1)
    """Replies per step and device."""

    accumulate: int = Field(default=1, ge=1)
    """How many batches are gathered for one update."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of the weights (AdamW)."""

    count: int = Field(default=20_000, ge=1)
    """The most replies to learn from, chosen by a hash of their ids."""

    max_tokens: int = Field(default=512, ge=16)
    """The longest prompt and reply, in tokens. Of a longer prompt the oldest turns are left out (a
    title stays); a reply that does not fit with what it answers is left out and counted."""

    checkpoint_steps: int = how(500, ge=1)
    """Steps between checkpoints, from which interrupted work goes on."""
