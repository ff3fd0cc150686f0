"""Near-duplicates: found across uses and months, and never a reason to take back what stands."""

import hashlib
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from karma.dag import build
from karma.jobs import Job
from karma.nodes import Extent
from karma.recipe import load
from karma.threads.job import run
from tests.filled import SMOKE
from tests.test_threads import OPEN, RANGE, comment, sign, table, thread_of

WORDS = [f"word{n}" for n in range(500)]
CHARS = 40


def text(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def edited(words: str, place: int) -> str:
    """The text with one word replaced."""
    parts = words.split()
    parts[place % len(parts)] = "edited"
    return " ".join(parts)


def month(root: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    """A dump of these comments, and its signatures beside it."""
    folder, out, scratch = root / name, root / f"{name}.signatures", root / "scratch"
    for made in (folder, out, scratch):
        made.mkdir(exist_ok=True)
    pq.write_table(table(rows), folder / "comments.parquet")
    sign(folder, out, scratch, CHARS)
    return folder


def kept(root: Path, months: list[Path], out: str) -> dict[str, dict[str, Any]]:
    """The conversations of a range that these months touch, by id."""
    (root / out).mkdir()
    inputs = {f"dumps/{m.name}": m for m in months}
    inputs |= {f"signatures/{m.name}": m.with_name(f"{m.name}.signatures") for m in months}
    config = {"threads": OPEN | {"duplicate_chars": CHARS}, "range": RANGE}
    run(Job(config, inputs, root / out, root / "scratch"))
    rows = pq.read_table(root / out / "conversations.parquet").to_pylist()
    return {row["id"]: row for row in rows}


def said(name: str, use: str, body: str, at: int = 0, **changes: Any) -> dict[str, Any]:
    """A top-level comment in a thread of ``use``."""
    thread = thread_of(use)
    changes |= {"thread_id": thread, "body": body, "created_utc": 1_000_000 + at}
    return comment(name, f"t3_{thread}", **changes)


@pytest.mark.parametrize(
    ("body", "stands"),
    [
        (text(1), False),
        (text(1).upper().replace(" ", "  \r\n"), False),
        (edited(text(1, 400), 200), False),
        (f"{text(1)} {text(2)} {text(3)}", True),
        (text(2), True),
    ],
)
def test_what_nearly_says_the_same_in_another_use_does_not_stand(tmp_path, body, stands):
    first = text(1, 400) if len(body) > 2000 else text(1)
    rows = [said("first", "sft", first), said("other use", "ppo", body, 2)]
    # What the same use says again is no leak.
    rows.append(said("same use", "sft", first, 1))
    found = kept(tmp_path, [month(tmp_path, "m1", rows)], "out")
    assert {"first", "same use"} <= set(found)
    assert ("other use" in found) == stands


def test_a_text_without_spaces_is_compared_whole(tmp_path):
    link = "https://example.org/" + "x" * CHARS
    rows = [
        said("first", "sft", link),
        said("copy", "ppo", link, 1),
        said("else", "ppo", link + "y"),
    ]
    assert set(kept(tmp_path, [month(tmp_path, "m1", rows)], "out")) == {"first", "else"}


def test_most_texts_with_one_word_in_sixty_changed_are_found_and_no_other(tmp_path):
    rows = [said(f"a{n}", "sft", text(n)) for n in range(200)]
    rows += [said(f"b{n}", "ppo", edited(text(n), n), 1) for n in range(200)]
    rows += [said(f"c{n}", "ppo", text(1000 + n), 1) for n in range(200)]
    found = set(kept(tmp_path, [month(tmp_path, "m1", rows)], "out"))
    # 55 of 61 triples are the same: 1 - (1 - .9^4)^2 is .88.
    assert sum(name.startswith("b") for name in found) < 50
    assert sum(name.startswith("c") for name in found) == 200


def test_another_month_never_changes_what_stands(tmp_path):
    draw = random.Random(0)
    months = []
    for number in range(3):
        rows = []
        for n in range(60):
            words = edited(text(draw.randrange(12)), draw.randrange(9))
            use = draw.choice(["sft", "ppo"])
            rows.append(said(f"m{number}c{n}", use, words, 1000 * number + draw.randrange(500)))
        months.append(month(tmp_path, f"m{number}", rows))
    before = kept(tmp_path, months[:2], "two")
    after = kept(tmp_path, months, "three")
    assert 0 < len(before) < 120
    assert set(before) == {name for name in after if not name.startswith("m2")}
    assert len(after) > len(before)
    for words in {row["reply"] for row in after.values()}:
        assert len({row["use"] for row in after.values() if row["reply"] == words}) == 1


def test_a_range_reads_the_signatures_of_its_own_months_and_of_those_before(monkeypatch):
    monkeypatch.setenv("KARMA_SALT", "pepper")
    recipe = load(SMOKE, ["dumps.comments=[a.zst, b.zst, c.zst]", "dumps.submissions=null"])
    known = {
        "dumps/a.zst": Extent(("0-1", "1-2"), "2006-01", "2006-01"),
        "dumps/b.zst": Extent(("1-2", "2-3"), "2006-02", "2006-02"),
    }
    two = load(SMOKE, ["dumps.comments=[a.zst, b.zst]", "dumps.submissions=null"])
    before = build("x", two, known).nodes
    march = {"dumps/c.zst": Extent(("2-3",), "2006-03", "2006-03")}
    after = build("x", recipe, known | march).nodes
    assert after["threads/0-1"] == before["threads/0-1"]
    assert after["threads/1-2"] == before["threads/1-2"]
    read = {n: [r for r in after[n].inputs if r.startswith("signatures/")] for n in after}
    assert read["threads/0-1"] == ["signatures/a.zst"]
    assert read["threads/2-3"] == [f"signatures/{name}.zst" for name in "abc"]
    assert read["labels"] == []
    # A file of more than a month counts from its first month to its last.
    years = known | {"dumps/c.zst": Extent(("2-3",), "2005-12", "2007-01")}
    assert "signatures/c.zst" in build("x", recipe, years).nodes["threads/0-1"].inputs


def test_the_same_comments_give_the_same_signatures(tmp_path):
    rows = [said(f"a{n}", "sft", text(n)) for n in range(30)]
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        month(tmp_path / name, "m", rows)
        file = tmp_path / name / "m.signatures" / "signatures.parquet"
        digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(digests) == 1
