"""Steps of TRL's last PPOTrainer: one line of JSON.

PYTHONPATH=folder/of/trl-1.12.0 python -m tests.bench.ppo_stock FOLDER STEPS
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from tests.bench import ppo_work as work


class Clock(TrainerCallback):
    """Notes the processor time at the end of every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        self.times.append(time.process_time())


def main() -> None:
    """Print the seconds of every step after the first."""
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32)
        for _ in range(2)
    )
    reward, critic = (
        AutoModelForSequenceClassification.from_pretrained(folder / name, dtype=torch.float32)
        for name in ("reward", "critic")
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        trainer = PPOTrainer(
            args=PPOConfig(
                output_dir=out,
                per_device_train_batch_size=work.PROMPTS,
                gradient_accumulation_steps=1,
                num_mini_batches=1,
                num_ppo_epochs=work.EPOCHS,
                total_episodes=work.PROMPTS * (steps + 1),
                response_length=work.REPLY,
                stop_token="eos",
                temperature=1.0,
                missing_eos_penalty=1.0,
                learning_rate=3e-6,
                adam_epsilon=1e-5,
                num_sample_generations=0,
                bf16=False,
                gradient_checkpointing=False,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            ),
            processing_class=tokenizer,
            model=policy,
            ref_model=reference,
            reward_model=reward,
            value_model=critic,
            train_dataset=Dataset.from_list([{"input_ids": ids} for ids in work.prompts()]),
            eval_dataset=Dataset.from_list([{"input_ids": ids} for ids in work.prompts()]),
            callbacks=[clock],
        )
        trainer.train()
    seconds = [end - start for start, end in zip(clock.times, clock.times[1:], strict=False)]
    print(json.dumps({"steps": seconds}))


if __name__ == "__main__":
    main()
