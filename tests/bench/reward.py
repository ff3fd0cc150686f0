"""``make bench-reward``: training a reward model against TRL's ``RewardTrainer``, in one run.

The same pairs, drawn with seed 0, the same tiny Llama from the same weights, the same Bradley-Terry
loss, optimiser and steps of 16 replies; nobody writes checkpoints. TRL sees every pair once; ours
as many epochs as make the same number of tokens. Peers: TRL with its defaults (on a CPU without
bf16 and checkpointing, which its documentation says to leave out there), and with its best
documented option for speed, batches grouped by length. A token counts if it is no padding and went
through the model: ours sees a reply of several pairs once an epoch, TRL once a pair, so the rate of
pairs differs by more than the rate of tokens. Processor time on a CPU, wall time on a card; the
three take turns, and the fastest try of each counts.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
)
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import SaveStrategy
from trl import RewardConfig, RewardTrainer

from karma.jobs import Job
from karma.reward.objectives import pad, schedule
from karma.reward.recipe import Objective, RewardRecipe
from karma.reward.train import arguments
from karma.reward.trainer import Collator, ValuationTrainer
from tests.bench.measure import Row, conclude

VOCABULARY, LONGEST, LR, ROWS = 2048, 512, 1e-3, 16
PAD, END = 0, 1
# The first words are worth a point each, the next ones cost one; all others say nothing.
GOOD, BAD = range(2, 66), range(66, 130)
TRIES = 3


@dataclass
class Pairs:
    """Replies as token ids, and pairs of them, the better first."""

    ids: list[list[int]] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)


def draw(parents: int, rng: random.Random) -> Pairs:
    """Parents with two to five replies that share a context, up to five pairs each.

    Lengths are as skewed as Reddit's: a twentieth of the texts is three times as long as the median
    one, or longer.
    """
    made = Pairs()
    for _ in range(parents):
        context = _words(rng, 40, 1.0, 300)
        first, worths = len(made.ids), []
        for _ in range(rng.randint(2, 5)):
            reply = _words(rng, 15, 0.9, 150)
            made.ids.append([*context, *reply, END])
            worths.append(sum((w in GOOD) - (w in BAD) for w in reply) + rng.gauss(0, 0.5))
        found = [
            (first + a, first + b)
            for a in range(len(worths))
            for b in range(len(worths))
            if worths[a] > worths[b]
        ]
        made.pairs += sorted(rng.sample(found, min(5, len(found))))
    return made


def _words(rng: random.Random, middle: int, spread: float, most: int) -> list[int]:
    count = min(most, max(3, round(middle * rng.lognormvariate(0, spread))))
    return [rng.randrange(2, 130) if rng.random() < 0.2 else rng.randrange(130, VOCABULARY)
            for _ in range(count)]  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    """The peers ask for one, although the pairs are tokens already."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {"<pad>": PAD, "<eos>": END, **{f"w{n}": n for n in range(2, VOCABULARY)}}
    made = Tokenizer(WordLevel(words, unk_token="w2"))
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>")


def model(hidden: int, layers: int) -> LlamaForSequenceClassification:
    """The same weights at every call."""
    torch.manual_seed(0)
    return LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=4 * hidden,
            num_hidden_layers=layers, num_attention_heads=max(2, hidden // 64),
            max_position_embeddings=LONGEST, num_labels=1,
            pad_token_id=PAD, bos_token_id=None, eos_token_id=END,
        )
    )  # fmt: skip


@dataclass(frozen=True)
class Done:
    """One training: what went through the model, the time, and how good it became."""

    tokens: int
    pairs: int
    seconds: float
    accuracy: float

    @property
    def rate(self) -> float:
        """Real tokens a second."""
        return self.tokens / self.seconds


def ours(train: Pairs, heldout: Pairs, work: Path, size: tuple[int, int]) -> Done:
    """This project's trainer, pairs alone."""
    once = sum(map(len, train.ids))
    twice = sum(len(train.ids[a]) + len(train.ids[b]) for a, b in train.pairs)
    epochs = max(1, round(twice / once))
    recipe = RewardRecipe(
        objective=Objective(pairs=1, regression=0, margin=0, center=0),
        lr=LR, batch=ROWS, epochs=epochs,
    )  # fmt: skip
    steps = schedule(
        [len(row) for row in train.ids], train.pairs,
        unpaired=False, rows_a_step=ROWS, epochs=epochs, seed=0,
    )  # fmt: skip
    job = Job({}, {}, work, work, "cuda" if torch.cuda.is_available() else "cpu")
    settings = arguments(job, recipe, 0, work)
    settings.save_strategy = SaveStrategy.NO
    trainer = ValuationTrainer(
        model=model(*size),
        args=settings,
        train_dataset=Dataset.from_dict(
            {"rows": [step.rows for step in steps], "pairs": [step.pairs for step in steps]}
        ),
        processing_class=tokenizer(),
        data_collator=Collator(train.ids, np.zeros(len(train.ids)), PAD),
    )
    trainer.plan(recipe.objective, steps)
    tokens = sum(len(train.ids[row]) for step in steps for row in step.rows)
    return _timed(trainer, tokens, epochs * len(train.pairs), heldout)


def trl(train: Pairs, heldout: Pairs, work: Path, size: tuple[int, int], grouped: bool) -> Done:
    """TRL's own trainer; ``grouped``: batches of pairs of like length."""
    chosen = [train.ids[a] for a, _ in train.pairs]
    rejected = [train.ids[b] for _, b in train.pairs]
    longer = [max(len(a), len(b)) for a, b in zip(chosen, rejected, strict=True)]
    card = torch.cuda.is_available()
    trainer = RewardTrainer(
        model=model(*size),
        args=RewardConfig(
            str(work), learning_rate=LR, num_train_epochs=1, seed=0, warmup_steps=0.05,
            per_device_train_batch_size=ROWS // 2, max_length=LONGEST,
            bf16=card, use_cpu=not card, activation_checkpointing=card,
            gradient_checkpointing=None, dataloader_pin_memory=card,
            train_sampling_strategy="group_by_length" if grouped else "random",
            length_column_name="longer", remove_unused_columns=False, save_strategy="no",
            report_to="none", disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict(
            {"chosen_ids": chosen, "rejected_ids": rejected, "longer": longer}
        ),
        processing_class=tokenizer(),
    )  # fmt: skip
    tokens = sum(map(len, chosen)) + sum(map(len, rejected))
    return _timed(trainer, tokens, len(train.pairs), heldout)


def _timed(trainer: Trainer, tokens: int, pairs: int, heldout: Pairs) -> Done:
    trainer.remove_callback(PrinterCallback)
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    began = clock()
    trainer.train()
    seconds = clock() - began
    made = trainer.accelerator.unwrap_model(trainer.model).float().eval()
    return Done(tokens, pairs, seconds, _accuracy(made, heldout))


@torch.no_grad()
def _accuracy(made: torch.nn.Module, heldout: Pairs) -> float:
    """Share of held-out pairs whose better reply gets the higher reward."""
    device = next(made.parameters()).device
    rewards = np.zeros(len(heldout.ids))
    order = sorted(range(len(heldout.ids)), key=lambda row: len(heldout.ids[row]))
    for start in range(0, len(order), 64):
        part = order[start : start + 64]
        tokens, mask = pad([heldout.ids[row] for row in part], PAD)
        output = made(input_ids=tokens.to(device), attention_mask=mask.to(device))
        rewards[part] = output.logits.squeeze(-1).cpu().numpy()
    return float(np.mean([rewards[a] > rewards[b] for a, b in heldout.pairs]))


def best(runs: dict[str, Callable[[Path], Done]]) -> dict[str, Done]:
    """The fastest of several tries of each, in turns: whatever disturbs one only adds to it."""
    found: dict[str, list[Done]] = {name: [] for name in runs}
    for _ in range(TRIES):
        for name, run in runs.items():
            with tempfile.TemporaryDirectory(prefix="karma-bench-") as folder:
                found[name].append(run(Path(folder)))
    return {name: max(tries, key=lambda done: done.rate) for name, tries in found.items()}


def matrix_rate() -> float:
    """What the card reaches on products of large bf16 matrices, in operations a second."""
    size = 8192
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        a @ b
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * size**3 / (time.perf_counter() - began)


def _share(done: Done, size: tuple[int, int]) -> str:
    """Six operations a weight and token, as a share of the card's rate on matrices."""
    weights = sum(p.numel() for p in model(*size).model.layers.parameters())
    return f"{6 * weights * done.rate / matrix_rate():.1%} of the card's measured matrix rate"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parents", type=int, default=300, help="with two to five replies each")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    asked = parser.parse_args()
    size = (asked.hidden, asked.layers)
    torch.set_num_threads(1)
    rng = random.Random(0)
    train, heldout = draw(asked.parents, rng), draw(max(asked.parents // 3, 50), rng)
    done = best(
        {
            "ours": lambda work: ours(train, heldout, work, size),
            "trl, defaults": lambda work: trl(train, heldout, work, size, grouped=False),
            "trl, by length": lambda work: trl(train, heldout, work, size, grouped=True),
        }
    )
    mine, first, second = done.values()
    lengths = sorted(map(len, train.ids))
    spots = ", ".join(f"{q} %: {lengths[len(lengths) * q // 100]}" for q in (5, 25, 50, 75, 95))
    notes = [
        f"{len(train.pairs)} pairs of {len(train.ids)} replies; tokens a reply, {spots}.",
        *(
            f"{name}: {it.tokens} tokens in {it.seconds:.1f} s, {it.pairs / it.seconds:.0f}"
            f" pairs a second, held-out pair accuracy {it.accuracy:.3f}"
            for name, it in done.items()
        ),
    ]
    if torch.cuda.is_available():
        notes.append(f"ours: {_share(mine, size)}")
    conclude(
        "reward",
        [
            _row("tokens_vs_trl", mine.rate, first.rate, 1.5),
            _row("tokens_vs_trl_by_length", mine.rate, second.rate, 1.0),
            _row("pairs_vs_trl", mine.pairs / mine.seconds, first.pairs / first.seconds, None),
            _row(
                "pairs_vs_trl_by_length",
                mine.pairs / mine.seconds,
                second.pairs / second.seconds,
                None,
            ),
        ],
        notes,
    )


def _row(name: str, own: float, peer: float, target: float | None) -> Row:
    unit = name.split("_")[0]
    words = f"{own:.0f} {unit}/s", f"{peer:.0f} {unit}/s"
    return Row(name, *words, own / peer, target, at_least=True)


if __name__ == "__main__":
    main()
