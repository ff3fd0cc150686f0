"""The algorithms that tune policies, by name, and the recipe's section ``policy`` for all of them.

An algorithm is a module that is named here as a string: adding one leaves the cells of the others
fresh, because their code does not include it.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from karma.policy.recipe import PolicyRecipe

ALGORITHMS = {"ppo": "karma.policy.job:run", "rloo": "karma.policy.rloo:run"}

# Fields that an algorithm has no use for.
UNUSED = {
    "ppo": ("replies",),
    "rloo": (
        "kl_stop",
        "kl_stop_update",
        "gamma",
        "lam",
        "value_clip",
        "vf_coef",
        "entropy_coef",
        "critic",
        "unfrozen_layers",
        "whiten_rewards",
        "processes",
    ),
}


class TuningRecipe(PolicyRecipe):
    """How policies are tuned on a reward model, by whichever algorithm."""

    algorithm: Literal["ppo", "rloo"] = "ppo"
    """``ppo``, or ``rloo``: REINFORCE with the other replies to a prompt as the baseline."""

    replies: int = Field(default=4, ge=2)
    """With ``rloo``, replies to each prompt; ``batch`` counts all replies of a step."""

    @model_validator(mode="after")
    def _fields_belong_to_the_algorithm(self) -> Self:
        idle = [
            name
            for name in UNUSED[self.algorithm]
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if idle:
            fields = type(self).model_fields
            usual = ", ".join(f"{name}={fields[name].default}" for name in idle)
            raise ValueError(
                f"algorithm {self.algorithm} has no use for {', '.join(idle)}; leave that out, or "
                f"with --set put the default back: {usual}"
            )
        if self.algorithm == "rloo":
            for name in ("replies", "minibatches"):
                if self.batch % getattr(self, name):
                    raise ValueError(
                        f"with algorithm rloo, batch ({self.batch}) must be a multiple of {name} "
                        f"({getattr(self, name)})"
                    )
            if self.kl_coef == 0:
                raise ValueError("with algorithm rloo, kl_coef must be above 0: else no KL is read")
        return self

    def result(self, *without: str) -> dict[str, Any]:
        """The settings that can change a result, as JSON; none that is not used."""
        idle = () if self.critic == "hydra" else ("unfrozen_layers",)
        return super().result(*without, *UNUSED[self.algorithm], *idle)
