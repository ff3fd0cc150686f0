"""All that a run works with, and what it does between steps, whatever the algorithm."""

from dataclasses import dataclass, field
from typing import Any

from karma.memory import Budget
from karma.policy import ppo
from karma.policy.checkpoint import Progress
from karma.policy.faults import NotFiniteError
from karma.policy.models import ActorCritic
from karma.policy.prompts import Prompt, generator
from karma.policy.recipe import PolicyRecipe
from karma.policy.rewards import Reward
from karma.policy.sample import Sampling, sample, uniform
from karma.policy.team import ALONE, Team


@dataclass
class Study:
    """All that a run works with; ``reward`` is learned from, ``gold`` only reported."""

    recipe: PolicyRecipe
    seed: int
    model: ActorCritic
    reference: Any
    tokenizer: Any
    prompts: list[Prompt]
    reward: Reward
    gold: Reward
    device: str = "cpu"
    team: Team = ALONE
    tokens: Budget = field(init=False)
    """Of one pass of learning, or of reading."""
    rows: Budget = field(init=False)
    """Replies that are sampled at once."""

    def __post_init__(self) -> None:
        self.tokens = Budget("tokens", self.recipe.micro_tokens)
        self.rows = Budget("replies", self.recipe.batch)

    @property
    def sampling(self) -> Sampling:
        """How replies are drawn."""
        return Sampling(
            self.tokenizer.eos_token_id,
            self.tokenizer.pad_token_id,
            self.recipe.temperature,
            self.recipe.max_new_tokens,
        )

    def texts(self, replies: list[list[int]]) -> list[str]:
        """Replies as the rewards read them."""
        decoded = self.tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [text.strip() for text in decoded]


def kept_samples(study: Study, step: int) -> list[dict[str, Any]]:
    """Replies to a fixed set of prompts, drawn with the same random numbers at every step."""
    prompts = study.prompts[: study.recipe.samples]
    draw = generator(study.seed, "samples")
    draws = uniform(len(prompts), study.recipe.max_new_tokens, draw)

    def sampled(rows: int) -> list[list[int]]:
        found = []
        for start in range(0, len(prompts), rows):
            ids = [prompt.ids for prompt in prompts[start : start + rows]]
            some = draws[start : start + rows]
            found += sample(study.model, ids, study.sampling, some).replies
        return found

    try:
        texts = study.texts(study.rows.fit(sampled))
    except NotFiniteError as error:
        print(f"policy: no sample replies after step {step}: {error}", flush=True)
        return []
    return [
        {"step": step, "prompt": prompt.text, "reply": text}
        for prompt, text in zip(prompts, texts, strict=True)
    ]


def tell_and_steer(recipe: PolicyRecipe, progress: Progress, row: dict[str, Any]) -> None:
    """Print a line of a step now and then, and set the price of KL for the next one."""
    step = row["step"]
    if step % max(1, recipe.steps // 20) == 0:
        shown = ("reward/raw", "gold", "kl", "kl/coef", "length")
        line = ", ".join(f"{name} {row[name]:.3f}" for name in shown)
        print(f"policy: step {step} of {recipe.steps}: {line}", flush=True)
    if recipe.kl_target is not None:
        progress.kl_coef = ppo.next_coefficient(
            progress.kl_coef, row["kl"], recipe.kl_target, recipe.kl_horizon, recipe.batch
        )
