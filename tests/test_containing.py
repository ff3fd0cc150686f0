"""``karma gc --containing``: all that comes from an author's or a thread's rows, and no more."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karma.dumps import job as dumps
from karma.errors import InputError
from karma.fingerprint import key_of
from karma.inputs import salt_mark
from karma.jobs import Job
from karma.store import Store
from karma.upkeep.containing import HOLDS, MADE_FROM, find, sought
from karma.upkeep.holdings import Holdings
from tests.small import karma

RANGES = ("0-1000", "1000-2000")
COMMENTS = [
    # Thread "a" is 10 in base 36, thread "rs" is 1000.
    {"id": "1", "link_id": "t3_a", "author": "Anna", "body": "one"},
    {"id": "2", "link_id": "t3_a", "author": "Bert", "body": "two"},
    {"id": "3", "link_id": "t3_rs", "author": "Bert", "body": "three"},
]


def put(store: Store, instance: str, config: dict, inputs: dict, fill) -> str:
    """An artefact of an instance whose files ``fill`` writes; its digest."""
    document = {"stage": instance.split("/")[0], "config": config, "input": inputs}
    key = key_of(document)
    fill(store.begin(key) / "out")
    record = store.commit(document["stage"], key, {"fingerprint": document, "seconds": 1.0})
    store.set_ref("study", instance, key, record["digest"])
    return record["digest"]


def read_dump(folder: Path, comments: list[dict], out: Path) -> None:
    file = folder / "RC_1.ndjson"
    more = {"parent_id": "t3_a", "subreddit": "x", "score": 1, "created_utc": 1136073600}
    file.write_text("".join(json.dumps({**more, **comment}) + "\n" for comment in comments))
    config = {
        "dumps": {},
        "name": "RC_1.ndjson",
        "kind": "comments",
        "width": 1000,
        "simulated": False,
    }
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    dumps.run(Job(config, {"file": file}, out, scratch))


@pytest.fixture
def study(store, tmp_path, monkeypatch) -> Store:
    """A dump of two threads, its two ranges, and what is made from them and beside them."""
    monkeypatch.setenv("KARMA_SALT", "pepper")
    config = {"simulated": False, "salt": salt_mark()}
    dump = put(store, "dumps/RC_1", config, {}, lambda out: read_dump(tmp_path, COMMENTS, out))
    rows = pq.read_table(store.path(dump) / "comments.parquet").to_pylist()
    ranges = {}
    for name in RANGES:
        mine = [
            {
                "author": row["author"],
                "thread_id": row["thread_id"],
                "subreddit": "x",
                "range": name,
            }
            for row in rows
            if row["thread_range"] == name and row["id"] != "2"
        ]

        def write(out: Path, mine: list = mine) -> None:
            pq.write_table(pa.Table.from_pylist(mine), out / "conversations.parquet")

        inputs = {"dumps/RC_1": dump}
        ranges[name] = put(store, f"threads/{name}", {"range": name}, inputs, write)
    base = put(store, "base", {}, {}, text("base"))
    for name in RANGES:
        inputs = {"base": base, f"threads/{name}": ranges[name]}
        sft = put(store, f"sft/{name}", {"name": name}, inputs, text(name))
        put(store, f"evals/sft/{name}", {"name": name}, {"model": sft}, text(f"scores {name}"))
    return store


def text(words: str):
    return lambda out: (out / "a.txt").write_text(words)


def found(store: Store, name: str) -> dict[str, str]:
    return {item.instance: item.how for item in find(Holdings(store), name, print)}


FIRST = {
    "dumps/RC_1": HOLDS,
    "threads/0-1000": HOLDS,
    "sft/0-1000": MADE_FROM,
    "evals/sft/0-1000": MADE_FROM,
}


@pytest.mark.parametrize("name", ["t3_a", "T3_a", "a", "u/Anna", "/u/Anna", "U/anna", "anna"])
def test_an_author_or_a_thread_is_followed_to_all_that_is_made_from_it(study, name):
    assert found(study, name) == FIRST


def test_an_author_whose_rows_were_filtered_is_found_by_the_range_that_was_read(study):
    rows = found(study, "u/Bert")
    assert rows["threads/0-1000"] == MADE_FROM
    assert rows["threads/1000-2000"] == HOLDS
    assert rows["sft/1000-2000"] == MADE_FROM
    assert "base" not in rows


def test_a_hashed_name_is_found_without_the_salt_and_a_name_is_not(study, monkeypatch):
    hashed = sought("u/Anna", [salt_mark()], print).authors[0]
    monkeypatch.delenv("KARMA_SALT")
    assert found(study, hashed) == FIRST
    with pytest.raises(InputError, match="KARMA_SALT"):
        found(study, "u/Anna")
    assert found(study, "t3_a") == FIRST


def test_another_name_finds_nothing_and_with_another_salt_none_can_be_found(
    study, tmp_path, monkeypatch, capsys
):
    assert found(study, "u/Nobody") == {}
    monkeypatch.setenv("KARMA_SALT", "other")
    with pytest.raises(InputError, match="KARMA_SALT: no dump here was made with it"):
        found(study, "u/Anna")
    assert found(study, "t3_a") == FIRST
    (tmp_path / "more").mkdir()
    config = {"simulated": False, "salt": salt_mark()}
    put(study, "dumps/RC_2", config, {}, lambda out: read_dump(tmp_path / "more", COMMENTS, out))
    assert found(study, "u/Anna") == {"dumps/RC_2": HOLDS}
    assert "1 of 2 dumps have another salt" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", " ", "u/", "/u/", "t3_"])
def test_a_request_that_names_nobody_is_refused_and_collects_nothing(study, name):
    ran = karma("gc", "--containing", name, "--apply", workspace=study.root)
    assert ran.returncode == 2
    assert "it names nobody" in ran.stderr
    assert ran.stdout == ""


def test_apply_removes_what_nobody_needs_and_says_who_needs_the_rest(study):
    ran = karma("gc", "--containing", "u/Anna", "--apply", workspace=study.root)
    assert "4 listed, 4 of them needed" in ran.stdout
    assert "needed by study" in ran.stdout
    for path in (study.root / "refs" / "study").rglob("*.json"):
        if "base" not in path.name:
            path.unlink()
    ran = karma("gc", "--containing", "u/Anna", "--apply", workspace=study.root)
    assert "4 removed" in ran.stdout
    left = {record["digest"] for record in Holdings(study).records}
    assert left == {path.name for path in (study.root / "objects").iterdir()}
    assert study.ref("study", "base")["digest"] in left
    assert len(left) == 4
