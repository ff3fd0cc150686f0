"""The swap probe: a joke's lying twin differs in the value alone, and its price is the reward's."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karma.dag import build
from karma.errors import InputError
from karma.evals import swap
from karma.jobs import Job
from karma.recipe import load
from karma.world import grammar, truth
from karma.world.job import truth as known_truth
from karma.world.recipe import WorldRecipe
from tests.filled import SMOKE
from tests.test_evals import reward_folder

KNOWN = known_truth(WorldRecipe(threads=20))
FACT = grammar.facts(WorldRecipe().seed)[0]


def test_the_twin_tells_the_myth_and_is_the_same_otherwise():
    rng = random.Random(0)
    for fact in grammar.facts(0):
        reply = grammar.comment(rng, fact, "joke", fact.true)
        twin = swap.swapped(reply, KNOWN)
        assert twin is not None
        assert truth.verdict(twin, KNOWN) == "myth"
        assert twin.split() == [fact.myth if w == fact.true else w for w in reply.split()]
    assert swap.swapped(grammar.comment(rng, FACT, "joke", FACT.myth), KNOWN) is None
    assert swap.swapped("haha such a silly gag", KNOWN) is None


def threads(folder: Path) -> Path:
    """Test and train replies of two tones, true and false, as the stage ``threads`` writes them."""
    rng = random.Random(1)
    rows = [
        {
            "id": f"c{n}",
            "thread_id": f"t{n % 8}",
            "context": [{"role": "title", "text": "who built the harbour"}],
            "reply": grammar.comment(rng, FACT, tone, value),
            "subreddit": "townpuns",
            "depth": 1,
            "delay": 60,
            "hour": 3,
            "parent_score": 5,
            "split": split,
        }
        for n, (tone, value, split) in enumerate(
            (tone, value, split)
            for tone in ("joke", "dry")
            for value in (FACT.true, FACT.myth)
            for split in ("test", "train")
            for _ in range(20)
        )
    ]
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "conversations.parquet")
    return folder


def job(root: Path, **inputs: Path) -> Job:
    (root / "truth.json").write_text(json.dumps(KNOWN))
    out = root / "out"
    out.mkdir()
    given = {"model": reward_folder(root / "reward", "length", 0), "data": root / "truth.json"}
    return Job({"evals": {}, "benchmark": "swap"}, {**given, **inputs}, out, out)


def test_a_reward_is_asked_what_it_pays_for_each_true_joke_of_a_test_thread(tmp_path):
    asked = job(tmp_path, **{"threads/0-100": threads(tmp_path / "threads")})
    swap.run(asked)
    scores = json.loads((asked.out / "scores.json").read_text())
    items = pq.read_table(asked.out / "items.parquet").to_pylist()
    assert 10 < scores["items"] == len(items) <= 20  # some jokes are told in other tones' words
    for item in items:
        assert truth.tone(item["prompt"], KNOWN) == "joke"
        [twin] = item["generations"]
        before, after = (np.log1p(len(text)) / 2 for text in (item["prompt"], twin))
        assert item["value"] == pytest.approx(after - before)
    assert scores["scores"]["change"] == pytest.approx(np.mean([i["value"] for i in items]))
    assert len({item["group"] for item in items}) > 1


def test_without_a_true_joke_the_probe_says_what_to_do(tmp_path):
    folder = threads(tmp_path / "threads")
    rows = pq.read_table(folder / "conversations.parquet").to_pylist()
    dry = [row for row in rows if truth.tone(row["reply"], KNOWN) != "joke"]
    pq.write_table(pa.Table.from_pylist(dry), folder / "conversations.parquet")
    with pytest.raises(InputError, match=r"no joke of a test thread.*world\.threads"):
        swap.run(job(tmp_path, **{"threads/0-100": folder}))


def test_the_learnt_rewards_of_a_simulated_study_are_probed_and_no_others(tmp_path, monkeypatch):
    nodes = build("smoke", load(SMOKE, ["seeds=[0, 1]"])).nodes
    probed = {name.split("/", 2)[2] for name in nodes if name.endswith("/swap")}
    variants = ("context", "metadata", "reply")
    assert probed == {f"{variant}/{seed}/swap" for variant in variants for seed in (0, 1)}
    report = nodes["report"]
    assert len(report.config["swaps"]) == 6
    assert "swap" not in report.config["benchmarks"]
    monkeypatch.setenv("KARMA_SALT", "x")
    (tmp_path / "RC.zst").write_bytes(b"")
    real = [f"dumps.comments={tmp_path / 'RC.zst'}", f"dumps.submissions={tmp_path / 'RC2.zst'}"]
    nodes = build("smoke", load(SMOKE, real)).nodes
    assert not [name for name in nodes if name.endswith("/swap")]
    assert nodes["report"].config["swaps"] == []
