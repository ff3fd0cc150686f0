"""Trains every variant on real comments with a small encoder; the table of docs/rewards.md.

    python -m tests.bench.reward_real DATA ENCODER OUT

DATA holds ``RC_2006-01.zst``, ``RS_2006-01.bz2`` and ``csv_export/``; ENCODER is a folder in the
Hugging Face format; OUT keeps what was made, so that an interrupted call goes on.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from karma.markdown import table
from karma.recipe import Recipe
from tests.stages import make

VARIANTS = ("metadata", "context", "reply", "random", "length")
BASELINES = ("length", "metadata", "words", "shuffled")
MEASURES = ("spearman", "pearson", "pair_accuracy", "f1", "calibration_error")
LEANS = ("explained_length", "explained_time", "explained_subreddit", "swapped_change")


def recipe(data: Path, encoder: Path) -> Recipe:
    """Both sources together, all training threads for the reward, one seed."""
    columns = {"id": "commentID", "link_id": "linkID", "parent_id": "parentID"}
    posts = {"id": "postID", "title": "title", "selftext": "body"}
    both = {"author": "author", "created_utc": "timestamp", "score": "score"}
    return Recipe.model_validate(
        {
            "dumps": {
                "comments": [str(data / "RC_2006-01.zst"), str(data / "csv_export/comments.csv")],
                "submissions": [str(data / "RS_2006-01.bz2"), str(data / "csv_export/posts.csv")],
                "csv": {
                    "comments": {**columns, **both, "body": "body"},
                    "submissions": {**posts, **both},
                    "constants": {"subreddit": "leagueoflegends"},
                },
            },
            "threads": {
                # The comments of 2006 were read soon after they were written.
                "min_age_hours": 0,
                "split": {"validation": 0.15, "test": 0.25},
                "uses": {"sft": 0, "reward": 1, "gold": 0, "ppo": 0},
            },
            # Asked for by every recipe; nothing here depends on them.
            "prompts": {"unexposed": {"instructions": "world"}},
            "base": {"tiny": {"sequences": 64}},
            "evals": {"data": "world"},
            "reward": {
                "backbone": {"folder": str(encoder)},
                "variants": {name: {} for name in VARIANTS},
                "lr": 5e-5,
                "batch": 16,
                "epochs": 1,
                "max_tokens": 96,
            },
        }
    )


def interval(metrics: dict[str, float], name: str) -> str:
    """A number with its interval; a dash if there is none."""
    if name not in metrics:
        return "–"
    low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
    return f"{metrics[name]:.3f} [{low:.3f}, {high:.3f}]"


def tell(found: dict[str, dict[str, Any]]) -> None:
    """Print both tables: how well each predicts, what each leans on."""
    rows = [[name, *(interval(found[name], m) for m in MEASURES)] for name in VARIANTS]
    one = found[VARIANTS[0]]
    rows += [
        [f"({base} alone)", *(interval(one, f"{base}_{measure}") for measure in MEASURES)]
        for base in BASELINES
    ]
    print(table(["reward", *MEASURES], rows), "\n")
    head = ["reward", *(f"above {base}" for base in BASELINES)]
    print(table(head, [[n, *(interval(found[n], f"above_{b}") for b in BASELINES)] for n in found]))
    names = (*LEANS, "unswapped_spearman", "swapped_spearman", "filler_gain")
    print()
    print(table(["reward", *names], [[n, *(interval(found[n], m) for m in names)] for n in found]))
    karma = [[name.split("_")[1], interval(one, name)] for name in one if name in KARMA]
    print()
    print(table(["karma itself explained by", "share"], karma))


KARMA = ("karma_length", "karma_time", "karma_subreddit")


def main() -> None:
    """Make what is missing, print the tables and what they were measured on."""
    data, encoder, out = map(Path, sys.argv[1:])
    os.environ.setdefault("KARMA_SALT", "bench")
    folders = make(
        recipe(data, encoder),
        out,
        lambda name: name in [f"reward/{variant}/0" for variant in VARIANTS],
    )
    found = {
        name: json.loads((folders[f"reward/{name}/0"] / "metrics.json").read_text())
        for name in VARIANTS
    }
    tell(found)
    held = pq.read_table(folders["reward/reply/0"] / "heldout.parquet").to_pylist()
    test = [row for row in held if row["split"] == "test"]
    for subreddit in sorted({row["subreddit"] for row in test}):
        here = [row["thread_id"] for row in test if row["subreddit"] == subreddit]
        print(f"test: r/{subreddit}: {len(here)} replies, {len(set(here))} threads")
    training = json.loads((folders["reward/context/0"] / "reward.json").read_text())["training"]
    print(f"training: {training}")


if __name__ == "__main__":
    main()
