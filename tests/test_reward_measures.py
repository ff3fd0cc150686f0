"""What is measured of a reward: baselines, groups of pairs, calibration, shortcuts."""

import json
import random
import re
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import expit

from karma.reward.baselines import baselines, length
from karma.reward.breakdown import Calibration, breakdown, scale
from karma.reward.data import Row, Split
from karma.reward.metrics import Heldout, intervals, pair_accuracy
from karma.reward.score import Hash, Length, RewardModel, load
from karma.reward.shortcuts import FILLER, shortcuts
from karma.text import Turn
from tests.test_reward import make_job, make_world, numbers, run

COUNTS = {"train": 1200, "validation": 400, "test": 400}


def splits(worth, seed: int = 0) -> dict[str, Split]:
    """Threads of two siblings; ``worth(row)`` is the hidden value, a little noise is added."""
    rng = random.Random(seed)
    return {name: _split(rng, name, count, worth) for name, count in COUNTS.items()}


def _split(rng: random.Random, name: str, count: int, worth) -> Split:
    rows, pairs = [], []
    for number in range(count):
        hour, subreddit = rng.randrange(24), rng.choice(["a", "b"])
        sisters = []
        for sister in range(2):
            words = " ".join(rng.choice(["good", "fine", "bad", "sad"]) for _ in range(4))
            row = Row(
                id=f"{number}{sister}",
                thread_id=f"{name}{number}",
                subreddit=subreddit,
                split=name,
                score=0,
                valuation=0.5,
                level=0,
                age=rng.choice([3600, 10 * 86_400, None]),
                context=[Turn(role="title", text=f"post {number}")],
                reply=words,
                slot={
                    "subreddit": subreddit,
                    "depth": 1,
                    "delay": rng.randrange(1000),
                    "hour": hour,
                    "parent_score": None,
                },
            )
            value = worth(row) + 0.3 * rng.gauss(0, 1)
            sisters.append((value, row))
        for value, row in sisters:
            valued = {"valuation": NormalDist().cdf(value), "score": round(10 * value)}
            level = min(7, max(0, round(3 + 2 * value)))
            rows.append(Row(**{**vars(row), **valued, "level": level}))
        better, worse = (-2, -1) if sisters[0][0] > sisters[1][0] else (-1, -2)
        pairs.append((len(rows) + better, len(rows) + worse))
    return Split(rows, pairs)


def mood(row: Row) -> float:
    return 0.5 * sum((w in ("good", "fine")) - (w in ("bad", "sad")) for w in row.reply.split())


def evening(row: Row) -> float:
    return 1.0 if row.slot["hour"] >= 12 else -1.0


def correlation(values, split: Split) -> float:
    return float(np.corrcoef(values, [row.valuation for row in split.rows])[0, 1])


def test_each_baseline_finds_what_it_can_see_and_nothing_else():
    said = splits(mood)
    found = baselines(said, 0)
    assert correlation(found["words"]["test"], said["test"]) > 0.8
    assert abs(correlation(found["metadata"]["test"], said["test"])) < 0.2
    timed = splits(evening)
    found = baselines(timed, 0)
    assert correlation(found["metadata"]["test"], timed["test"]) > 0.8
    assert abs(correlation(found["words"]["test"], timed["test"])) < 0.2
    again = baselines(splits(evening), 0)
    assert all(np.array_equal(found[n][p], again[n][p]) for n in found for p in found[n])


def test_length_is_turned_to_the_side_that_predicts_karma():
    longer = splits(lambda row: len(row.reply) / 4 - 4)
    shorter = splits(lambda row: 4 - len(row.reply) / 4)
    for made in (longer, shorter):
        assert correlation(length(made)["test"], made["test"]) > 0.3


def test_a_baseline_without_anything_to_learn_from_is_left_out():
    same = splits(mood)
    blank = {
        name: Split(
            [Row(**{**vars(r), "reply": "x", "slot": {**r.slot, "delay": 5, "hour": None},
                    "subreddit": "a"}) for r in part.rows],
            part.pairs,
        )
        for name, part in same.items()
    }  # fmt: skip
    assert baselines(blank, 0) == {}


def test_pairs_are_counted_once_in_each_kind_of_group_and_agree_with_the_whole():
    made = splits(mood)["test"]
    rewards = np.array([mood(row) for row in made.rows])
    heldout = Heldout.of(made)
    rows = breakdown(rewards, made, heldout, 20, 0)
    whole = intervals({"a": pair_accuracy(rewards, heldout)}, heldout.threads, 20, 0)["a"]
    for by in ("margin", "subreddit", "age"):
        part = [row for row in rows if row["by"] == by]
        assert sum(row["pairs"] for row in part) == len(made.pairs)
        mean = sum(row["pairs"] * row["value"] for row in part) / len(made.pairs)
        assert mean == pytest.approx(whole)
    groups = {row["group"]: row for row in rows}
    assert {"a", "b", "unknown", "below 24 h", "168 to 720 h"} <= set(groups)
    assert groups["16 to 32"]["value"] > groups["below 2"]["value"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


def test_the_scale_is_that_of_the_bradley_terry_model_and_its_errors_are_small():
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=8000)
    pairs = np.arange(8000).reshape(-1, 2)
    turned = rng.random(4000) > expit(2.0 * (rewards[pairs[:, 0]] - rewards[pairs[:, 1]]))
    pairs[turned] = pairs[turned][:, ::-1]
    heldout = Heldout(rewards, np.zeros(8000, dtype=int), np.arange(8000) // 2, pairs)
    found = scale(rewards, pairs)
    assert found == pytest.approx(2.0, abs=0.15)
    everything = np.ones(4000)
    assert Calibration(rewards, heldout, found).error(everything) < 0.04
    sure = Calibration(rewards, heldout, 4 * found)
    assert sure.error(everything) > 0.1
    rows = sure.rows(20, 0)
    assert len(rows) == 10
    assert rows[-1]["said"] > rows[-1]["value"]
    assert scale(rewards, np.zeros((0, 2), dtype=int)) is None


def measured(scorer, made: dict[str, Split]) -> dict[str, float]:
    """The shortcuts of a scorer, standardised as the stage does it."""
    model = RewardModel("x", scorer, 0.0, 1.0)

    def rewards(split: Split):
        rows = split.rows
        columns = [r.context for r in rows], [r.reply for r in rows], [r.slot for r in rows]
        return np.array(model.score(*columns))

    raw = rewards(made["validation"])
    model.mean, model.deviation = float(raw.mean()), float(raw.std())
    both = {name: rewards(made[name]) for name in ("validation", "test")}
    return shortcuts(model, made, both, 20, 0)


class Hour:
    """A reward that is the hour of the day, and whether the post's number is even."""

    needs = frozenset({"hour", "context"})
    neutral = None

    def raw(self, turns, replies, slots):  # noqa: ARG002
        return [
            slot["hour"] + 3 * (int(row[0]["text"].split()[1]) % 2)
            for row, slot in zip(turns, slots, strict=True)
        ]


def test_shortcuts_are_found_where_they_are_and_nowhere_else():
    made = splits(evening)
    found = measured(Length(), made)
    assert found["explained_length"] > 0.95
    assert found["explained_time"] < 0.1
    assert found["filler_gain"] > 1
    assert found["swapped_change"] == 0
    assert found["karma_time"] > 0.7 > 0.1 > found["karma_length"]
    found = measured(Hour(), made)
    assert found["explained_time"] > 0.9
    assert found["explained_length"] < 0.1
    assert found["filler_gain"] == 0
    assert found["swapped_change"] > 0.1
    found = measured(Hash(0), made)
    assert max(found[f"explained_{name}"] for name in ("length", "time", "subreddit")) < 0.1
    assert found["swapped_change"] == pytest.approx(1.13, abs=0.15)
    assert FILLER.strip()


def test_the_artefact_holds_all_of_it_with_intervals(tmp_path):
    world = make_world(tmp_path / "world")
    variants = {"mixed": {"kind": "sum", "terms": {"reply": 1.0, "random": 0.5}}}
    out = tmp_path / "out"
    run(make_job(world, out, "mixed", variants=variants, epochs=2))
    found = numbers(out)
    for name in (
        *("pearson", "calibration_error", "metadata_spearman", "words_pair_accuracy"),
        *("above_length", "above_metadata", "above_words", "above_shuffled", "length_f1"),
        *("explained_length", "karma_time", "swapped_spearman", "filler_gain"),
    ):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"], name
    assert found["above_length"] == pytest.approx(found["spearman"] - found["length_spearman"])
    assert found["term_reply_share"] + found["term_random_share"] == pytest.approx(1)
    assert load(out).name == "mixed"
    tables = json.loads((out / "tables.json").read_text())
    assert sum(row["pairs"] for row in tables["calibration"]) == found["pairs"]
    card = (out / "README.md").read_text()
    for words in (
        "Nothing of its own: what its terms learnt, their cards say",
        "| above |",
        "| margin | ",
        "| length | ",
        "| reply | ",
        "mean change with filler",
    ):
        assert words in card
    documented = (Path(__file__).parents[1] / "docs" / "rewards.md").read_text()
    for name in {re.sub("_(low|high)$", "", name) for name in found}:
        of_baseline = re.match("(length|metadata|words|shuffled)_", name)
        word = f"{of_baseline[1]}_…" if of_baseline else re.sub("^term_.*_", "term_NAME_", name)
        assert f"`{word}`" in documented, name
