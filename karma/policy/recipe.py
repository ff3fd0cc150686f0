"""The recipe's section ``policy``."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from karma.section import Chosen, Section, how


class LoraRecipe(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on every linear layer but the last."""

    rank: int = Field(default=16, ge=1)
    """The rank of what is added to each weight matrix."""

    alpha: float = Field(default=32.0, gt=0)
    """What is added is scaled by alpha / rank."""


class PolicyRecipe(Section):
    """How policies are tuned by PPO on a reward model."""

    exposures: Chosen = "all"
    """The exposures whose starting policies are tuned (``reddit``, ``unexposed``), or ``all``."""

    variants: Chosen = "all"
    """The reward variants that policies are tuned on, or ``all`` that ``reward`` declares."""

    episodes: int = Field(default=20_000, ge=1)
    """How many replies are sampled in all; prompts repeat in a new order when they run out."""

    batch: int = Field(default=64, ge=1)
    """Prompts per step: one reply to each is sampled, scored and learned from."""

    epochs: int = Field(default=1, ge=1)
    """How often a step's replies are learned from."""

    minibatches: int = Field(default=2, ge=1)
    """Updates per epoch; a step makes ``epochs`` × ``minibatches`` of them."""

    lr: float = Field(default=3e-6, gt=0)
    """The learning rate of the first step; it falls linearly to zero over all steps."""

    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients of a larger norm are scaled down to it."""

    kl_coef: float = Field(default=0.05, ge=0)
    """The reward lost per nat of KL from the starting policy: fixed, or where steering begins."""

    kl_target: float | None = Field(default=6.0, gt=0)
    """The KL in nats per reply that ``kl_coef`` is steered to; null leaves ``kl_coef`` fixed."""

    kl_horizon: int = Field(default=1000, ge=1)
    """Episodes over which steering moves ``kl_coef`` by at most a fifth, more or less."""

    kl_grid: tuple[float, ...] = ()
    """KLs in nats per reply. The policy that first reaches one is kept, a whole model each, in the
    artefact's folder ``kl/``."""

    evaluate: Literal["final"] | Annotated[float, Field(gt=0)] = "final"
    """Which policy is evaluated: that of the last step, or the one kept at this KL of
    ``kl_grid``."""

    kl_stop: float | None = Field(default=None, gt=0)
    """The KL in nats per reply at which the run ends; null: none."""

    kl_stop_update: float | None = Field(default=None, gt=0)
    """The KL in nats per token from the policy at sampling that ends a step's updates; null:
    none."""

    gamma: float = Field(default=1.0, gt=0, le=1)
    """What a reward one token later is worth."""

    lam: float = Field(default=0.95, ge=0, le=1)
    """The λ of generalised advantage estimation: 0 trusts the critic, 1 the sampled rewards."""

    clip: float = Field(default=0.2, gt=0)
    """How far a token's probability ratio may move from 1 and still be pushed."""

    value_clip: float = Field(default=0.2, gt=0)
    """How far a value may move from the one at sampling and still be pushed."""

    vf_coef: float = Field(default=0.1, ge=0)
    """The weight of the value loss."""

    entropy_coef: float = Field(default=0.0, ge=0)
    """The weight of the entropy bonus."""

    critic: Literal["shared", "separate", "hydra"] = "shared"
    """``shared``: a value head on the policy's own trunk. ``separate``: a trunk of its own, which
    starts as the reward model's if that is trained on the same vocabulary, else as the policy's.
    ``hydra``: shared, and only the upper layers learn."""

    unfrozen_layers: int = Field(default=2, ge=1)
    """With ``critic: hydra``, how many of the policy's last layers learn; the others are frozen."""

    lora: LoraRecipe | None = None
    """Adapters to learn in place of weights, in policy and separate critic; null: all weights."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the policy and the critic compute in; weights and losses stay in single precision.
    ``auto`` is bfloat16 on a GPU and float32 on a CPU."""

    temperature: float = Field(default=1.0, gt=0)
    """All logits are divided by it, in sampling and in learning, the reference's too."""

    max_new_tokens: int = Field(default=128, ge=1)
    """The longest reply in tokens, its end-of-text token included."""

    max_prompt_tokens: int = Field(default=512, ge=1)
    """The longest prompt in tokens. Of a longer one the oldest turns are left out (a title stays);
    one that is too long even so is left out and counted."""

    reward_clip: float | None = Field(default=5.0, gt=0)
    """Rewards are held between minus and plus this; null lets all pass."""

    missing_eos_penalty: float = Field(default=1.0, ge=0)
    """What a reply loses that did not end by itself."""

    length_penalty: float = Field(default=0.0, ge=0)
    """What a reply loses for each of its tokens."""

    whiten_rewards: bool = False
    """Whether a step's rewards by token are divided by their standard deviation."""

    micro_tokens: int = how(16_384, ge=1)
    """Tokens, padding included, in one pass of learning; it sets memory and speed, no result. It
    is halved where memory runs out."""

    processes: int = how(1, ge=1)
    """Processes that share a step's replies, one per GPU. They make what one would, to rounding."""

    samples: int = Field(default=8, ge=1)
    """The first prompts, whose replies are kept from the start, now and then, and from the end."""

    samples_every: int = Field(default=25, ge=1)
    """Steps between replies that are kept."""

    checkpoint_every: int = how(50, ge=1)
    """Steps between checkpoints, from which interrupted work goes on."""

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.minibatches > self.batch:
            raise ValueError(f"minibatches ({self.minibatches}) exceeds batch ({self.batch})")
        if self.batch > self.episodes:
            raise ValueError(f"batch ({self.batch}) exceeds episodes ({self.episodes})")
        if self.processes > self.batch:
            raise ValueError(f"processes ({self.processes}) exceeds batch ({self.batch})")
        if self.critic == "hydra" and self.lora is not None:
            raise ValueError("critic hydra learns whole layers; leave lora out, or take another")
        if self.critic != "hydra" and self.unfrozen_layers != 2:
            raise ValueError(f"unfrozen_layers is for critic hydra, and critic is {self.critic}")
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError(
                "kl_coef is 0, which steering to kl_target cannot move; set kl_coef above 0, or "
                "kl_target: null"
            )
        if self.kl_target is not None and self.batch >= 5 * self.kl_horizon:
            raise ValueError(
                f"a step of batch {self.batch} could move kl_coef to 0 or below with kl_horizon "
                f"{self.kl_horizon}; set kl_horizon above {self.batch // 5}, or kl_target: null"
            )
        if any(point <= 0 for point in self.kl_grid):
            raise ValueError("kl_grid holds a KL that is not above zero")
        names = [f"{point:g}" for point in self.kl_grid]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"kl_grid holds {', '.join(twice)} more than once, to the six digits that count; "
                "leave one"
            )
        if self.evaluate != "final" and self.evaluate not in self.kl_grid:
            raise ValueError(f"evaluate is {self.evaluate:g}, a KL that kl_grid does not keep")
        return self

    @property
    def steps(self) -> int:
        """How many steps the episodes make; what is left over makes none."""
        return self.episodes // self.batch
