"""Steps of the stage ``policy``, and what each of its parts takes: one line of JSON.

python -m tests.bench.ppo_ours FOLDER CRITIC STEPS
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from karma.policy import models
from karma.policy.prompts import Prompt
from karma.policy.recipe import PolicyRecipe
from karma.policy.rollout import roll_out
from karma.policy.sample import sample, uniform
from karma.policy.step import learn, look
from karma.policy.study import Study
from karma.reward.score import Model, RewardModel
from karma.reward.views import View
from karma.text import Turn
from tests.bench import ppo_work as work


def study(folder: Path, critic: str, steps: int) -> Study:
    """The stage's study, with one epoch of 32 prompts a step."""
    recipe = PolicyRecipe(
        episodes=work.PROMPTS * steps,
        batch=work.PROMPTS,
        epochs=work.EPOCHS,
        minibatches=1,
        max_new_tokens=work.REPLY,
        kl_target=None,
        critic=critic,
        # Prompts of 24 to 96 tokens in few pieces would be mostly padding.
        micro_tokens=1024,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    policy = models.load_policy(folder / "policy")
    trunk = None
    if critic == "separate":
        whole = AutoModelForSequenceClassification.from_pretrained(folder / "critic")
        trunk = whole.base_model
    model = models.actor_critic(policy, trunk, recipe, 0)
    view = View(True, (), 256, {})
    return Study(
        recipe=recipe,
        seed=0,
        model=model,
        reference=models.reference(model.policy, folder / "policy", "cpu", model.lower),
        tokenizer=tokenizer,
        prompts=[
            Prompt([Turn(role="comment", text=tokenizer.decode(ids))], ids, None)
            for ids in work.prompts()
        ],
        reward=RewardModel("ours", Model(folder / "reward", view, "cpu"), 0.0, 1.0).explained,
        gold=lambda _, replies, __: ([0.0] * len(replies), {}),
    )


def took(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of ``work``, and what it returns."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def main() -> None:
    """Print the seconds of every step after the first, and of the parts of one."""
    folder, critic, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    given = study(folder, critic, steps + 1)
    learned = [p for _, p in given.model.learned()]
    optimizer = torch.optim.Adam(learned, lr=given.recipe.lr, eps=1e-5)
    seconds, lengths = [], []
    for step in range(1, steps + 2):
        looking, seen = took(lambda step=step: look(given, 0.05, step))
        learning, _ = took(lambda step=step, seen=seen: learn(given, optimizer, seen, step))
        seconds.append(looking + learning)
        lengths.append(seen.row["length"])
    ids = [prompt.ids for prompt in given.prompts]
    draws = uniform(len(ids), work.REPLY, torch.Generator().manual_seed(0))
    sampling, _ = took(lambda: sample(given.model, ids, given.sampling, draws))
    rolling, _ = took(
        lambda: roll_out(given.model, given.reference, ids, given.sampling, given.tokens, draws)
    )
    parts = {
        "sample": sampling,
        "read": rolling - sampling,
        "reward and targets": looking - rolling,
        "update": learning,
    }
    print(json.dumps({"steps": seconds[1:], "length": sum(lengths) / len(lengths), "parts": parts}))


if __name__ == "__main__":
    main()
