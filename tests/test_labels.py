"""Valuations and pairs, against counting by hand and by brute force."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from karma.errors import CheckError, InputError
from karma.jobs import Job
from karma.labels.job import run
from karma.labels.recipe import LabelsRecipe
from karma.sql import check, connect, plain

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "thread_id": pa.string(),
        "parent_id": pa.string(),
        "subreddit": pa.string(),
        "created_utc": pa.int64(),
        "score": pa.int64(),
        "age": pa.int64(),
        "split": pa.string(),
        "use": pa.string(),
    }
)


def reply(id_: str, score: int | None, **changes: Any) -> dict[str, Any]:
    """A reply to the post of thread ``t``, in the training split."""
    row = {
        "id": id_,
        "thread_id": "t",
        "parent_id": "p",
        "subreddit": "a",
        "created_utc": 100,
        "score": score,
        "age": 999_999,
        "split": "train",
        "use": "reward",
    }
    return {**row, **changes}


def labels(tmp_path: Path, rows: list[dict[str, Any]], **recipe: Any) -> tuple[list, list, dict]:
    """Run the stage on ``rows``: its valuations, pairs and profile."""
    folders = [tmp_path / name for name in ("threads", "out", "scratch")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    threads, out, scratch = folders
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), threads / "conversations.parquet")
    config = {"labels": LabelsRecipe.model_validate(recipe).model_dump(mode="json")}
    run(Job(config, {"threads/0-100": threads}, out, scratch))
    return (
        pq.read_table(out / "valuations.parquet").to_pylist(),
        pq.read_table(out / "pairs.parquet").to_pylist(),
        json.loads((out / "profile.json").read_text()),
    )


def by_id(rows: list[dict[str, Any]], column: str) -> dict[str, Any]:
    return {row["id"]: row[column] for row in rows}


def test_a_valuation_is_the_share_of_training_replies_below_with_ties_in_the_middle(tmp_path):
    rows = [reply("1", 1), reply("2", 5), reply("3", 5), reply("4", 9)]
    valuations, _, _ = labels(tmp_path, rows, valuation={"min_group": 1})
    expected = {"1": 0.5 / 4, "2": 2 / 4, "3": 2 / 4, "4": 3.5 / 4}
    assert by_id(valuations, "valuation") == pytest.approx(expected)


def test_raw_and_log_score_are_kept(tmp_path):
    scores = {"none": 0, "one": 1, "high": 99, "low": -7}
    valuations, _, _ = labels(tmp_path, [reply(id_, score) for id_, score in scores.items()])
    assert by_id(valuations, "score") == scores
    expected = {"none": 0, "one": math.log(2), "high": math.log(100), "low": -math.log(8)}
    assert by_id(valuations, "log_score") == pytest.approx(expected)


def test_an_id_that_two_threads_have_is_two_replies(tmp_path):
    rows = [
        reply("1", 1),
        reply("2", 5),
        reply("1", 9, thread_id="u"),
        reply("2", 3, thread_id="u"),
    ]
    valuations, pairs, _ = labels(
        tmp_path, rows, valuation={"min_group": 1}, pairs={"later_preferred": False}
    )
    found = {(row["thread_id"], row["id"]): row["valuation"] for row in valuations}
    expected = {("t", "1"): 1 / 8, ("u", "2"): 3 / 8, ("t", "2"): 5 / 8, ("u", "1"): 7 / 8}
    assert found == pytest.approx(expected)
    ends = {(pair["thread_id"], pair["preferred"], pair["rejected"]) for pair in pairs}
    assert ends == {("t", "2", "1"), ("u", "1", "2")}


def test_other_splits_are_read_off_and_change_nothing(tmp_path):
    train = [reply("1", 1), reply("2", 5), reply("3", 9)]
    test = [
        reply(id_, score, split="test", use=None, thread_id="u")
        for id_, score in [("low", -3), ("equal", 5), ("between", 7), ("high", 100)]
    ]
    alone, _, _ = labels(tmp_path, train, valuation={"min_group": 1})
    both, _, _ = labels(tmp_path, train + test, valuation={"min_group": 1})
    together = by_id(both, "valuation")
    assert {id_: together[id_] for id_ in "123"} == by_id(alone, "valuation")
    assert together["low"] == 0
    assert together["equal"] == pytest.approx(0.5)
    assert together["between"] == pytest.approx(2 / 3)
    assert together["high"] == 1


def test_a_small_group_is_valued_within_its_subreddit_and_then_among_all(tmp_path):
    large = [reply(f"a{n}", n) for n in range(6)]
    young = [reply("young", 2, age=10)]
    rare = [reply("rare", 3, subreddit="b")]
    valuations, _, profile = labels(
        tmp_path, large + young + rare, valuation={"min_group": 6, "age_hours": [1]}
    )
    valuation = by_id(valuations, "valuation")
    assert valuation["a5"] == pytest.approx(5.5 / 6)  # its cell: 0..5
    assert valuation["young"] == pytest.approx(3 / 7)  # its subreddit: 0..5 and 2
    assert valuation["rare"] == pytest.approx(5 / 8)  # all: 0..5, 2 and 3
    assert profile["valued_within"] == {"subreddit and age": 6, "subreddit": 1, "all": 1}


def test_an_unknown_age_is_a_bin_of_its_own(tmp_path):
    rows = [reply("known", 1), reply("other", 3), reply("unknown", 100, age=None)]
    valuations, _, _ = labels(tmp_path, rows, valuation={"min_group": 1})
    assert by_id(valuations, "valuation")["unknown"] == pytest.approx(0.5)


def test_an_unknown_subreddit_is_one_of_its_own_and_loses_no_reply(tmp_path):
    rows = [reply("known", 1), *(reply(f"u{n}", n, subreddit=None) for n in (3, 9, 100))]
    valuations, _, profile = labels(tmp_path, rows, valuation={"min_group": 2})
    assert by_id(valuations, "valuation")["u3"] == pytest.approx(0.5 / 3)
    assert by_id(valuations, "level") == {"known": 0, "u3": 1, "u9": 1, "u100": 2}
    assert (profile["scored"], profile["null_scores"]) == (4, 0)


def test_what_the_recipe_leaves_out_of_within_does_not_divide(tmp_path):
    rows = [reply("1", 1), reply("2", 2, age=None), reply("3", 3, subreddit="b")]
    valuations, _, _ = labels(tmp_path, rows, valuation={"min_group": 1, "within": []})
    expected = {"1": 0.5 / 3, "2": 1.5 / 3, "3": 2.5 / 3}
    assert by_id(valuations, "valuation") == pytest.approx(expected)


def brute_level(score: int, training: list[int]) -> int:
    """How often ``score`` lies above the median of what is left, the first cut being karma 1."""
    cut, level, left = 1, 0, training
    while level < 7 and score > cut:
        level += 1
        left = sorted(value for value in left if value > cut)
        if not left:
            break
        cut = left[(len(left) - 1) // 2]
    return level


def test_levels_start_above_karma_1_and_cut_the_rest_at_its_median(tmp_path):
    scores = [int(hashlib.md5(bytes([n])).hexdigest(), 16) % (1 + n * n) - 2 for n in range(120)]
    rows = [reply(f"{n}", score) for n, score in enumerate(scores)]
    rows += [reply("few", 400, subreddit="b"), reply("unseen", 10**6, split="test", thread_id="u")]
    valuations, _, _ = labels(tmp_path, rows, valuation={"min_group": 5})
    level = by_id(valuations, "level")
    for n, score in enumerate(scores):
        assert level[f"{n}"] == brute_level(score, scores), score
    assert level["few"] == brute_level(400, [*scores, 400])
    assert set(level.values()) == set(range(8))


def test_the_preferred_reply_has_the_higher_score_and_is_not_earlier(tmp_path):
    rows = [
        reply("early", 9, created_utc=100),
        reply("late", 5, created_utc=200),
        reply("later", 3, created_utc=300),
        reply("close", 4, created_utc=50),
    ]
    _, pairs, _ = labels(tmp_path, rows, valuation={"min_group": 1})
    # "late" over "close" falls short of the margin of 2; the others have the earlier one ahead.
    assert [(p["preferred"], p["rejected"]) for p in pairs] == [("early", "close")]
    assert pairs[0]["margin"] == pytest.approx((3.5 - 1.5) / 4)
    _, pairs, _ = labels(
        tmp_path, rows, valuation={"min_group": 1}, pairs={"later_preferred": False}
    )
    found = {(p["preferred"], p["rejected"]) for p in pairs}
    assert found == {("early", "late"), ("early", "later"), ("early", "close"), ("late", "later")}


def test_pairs_stay_within_a_parent_and_under_the_caps(tmp_path):
    rows = [
        reply(f"{parent}-{n}", 3 * n, parent_id=parent, created_utc=n)
        for parent in ("p", "q")
        for n in range(30)
    ]
    pair_recipe = {"siblings": 4, "per_parent": 3}
    _, pairs, profile = labels(tmp_path, rows, pairs=pair_recipe)
    assert profile["pairs"] == {"reward": 6}
    for parent in ("p", "q"):
        mine = [pair for pair in pairs if pair["parent_id"] == parent]
        ends = {pair[end] for pair in mine for end in ("preferred", "rejected")}
        assert len(mine) == 3
        assert len(ends) <= 4
        assert all(end.startswith(parent) for end in ends)


def test_a_ratio_can_be_asked_for(tmp_path):
    rows = [reply("1", -5), reply("2", 10, created_utc=101), reply("3", 15, created_utc=102)]
    _, pairs, _ = labels(tmp_path, rows, pairs={"min_ratio": 2.0})
    found = {(p["preferred"], p["rejected"]) for p in pairs}
    assert found == {("2", "1"), ("3", "1")}


def test_replies_without_a_score_are_counted_and_not_valued(tmp_path):
    valuations, pairs, profile = labels(tmp_path, [reply("1", None), reply("2", 3)])
    assert [row["id"] for row in valuations] == ["2"]
    assert pairs == []
    assert (profile["replies"], profile["scored"], profile["null_scores"]) == (2, 1, 1)


def test_no_training_reply_with_a_score_is_the_users_to_mend(tmp_path):
    with pytest.raises(InputError, match="no training thread"):
        labels(tmp_path, [reply("1", None), reply("2", 3, split="test", use=None)])


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = [reply(f"{n}", n * n % 17, parent_id=f"{n % 9}", created_utc=n) for n in range(90)]
    digests = []
    for order in (rows, rows[::-1]):
        labels(tmp_path, order)
        names = ("valuations.parquet", "pairs.parquet", "profile.json", "metrics.json")
        digests.append([(tmp_path / "out" / name).read_bytes() for name in names])
    assert digests[0] == digests[1]


def test_the_check_finds_a_pair_that_crosses_uses(tmp_path):
    labels(tmp_path, [reply("1", 1), reply("2", 9), reply("3", 4, use="gold", thread_id="u")])
    pairs = tmp_path / "out" / "crossed.parquet"
    crossed = {"thread_id": "t", "split": "train", "use": "reward"}
    pq.write_table(pa.Table.from_pylist([crossed | {"preferred": "2", "rejected": "3"}]), pairs)
    connection = connect([tmp_path / "out"], tmp_path / "scratch")
    valuations = plain(tmp_path / "out" / "valuations.parquet")
    with pytest.raises(CheckError, match="labels_pair_ends"):
        check(connection, "labels_pair_ends", {"pairs": plain(pairs), "valuations": valuations})


def test_age_bounds_must_rise():
    with pytest.raises(ValidationError, match="must rise"):
        LabelsRecipe.model_validate({"valuation": {"age_hours": [2, 1]}})
