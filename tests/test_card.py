"""The data card: its numbers are those of the stages, and each filter stands beside its setting."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from karma.dag import Dag, build
from karma.jobs import call
from karma.labels.card_text import FILTERS
from karma.markdown import plain
from karma.nodes import Extent
from karma.recipe import Recipe, load
from karma.sql import SQL
from tests.filled import SMOKE

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARMA_SALT", "a salt for tests")


def recipe(comments: Path, submissions: Path, *more: str) -> Recipe:
    files = [f"dumps.comments={comments}", f"dumps.submissions={submissions}"]
    return load(SMOKE, [*files, "threads.width=100000000", *more])


def carry_out(dag: Dag, root: Path, stages: set[str]) -> None:
    """Run the jobs of these stages, each in a folder of its own below ``root``."""
    for node in dag.nodes.values():
        out = root / node.id
        if node.stage not in stages or (out / "profile.json").exists():
            continue
        above = {role: dag.nodes[name] for role, name in node.inputs.items()}
        inputs = {
            role: str(n.source.path if n.source else root / n.id) for role, n in above.items()
        }
        out.mkdir(parents=True, exist_ok=True)
        scratch = root / "scratch" / node.id
        scratch.mkdir(parents=True)
        spec = {"job": node.job, "config": node.job_config, "inputs": inputs, "compute": "cpu"}
        call(spec, out, scratch)


def profile_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "profile.json").read_text())


def extent(folder: Path) -> Extent:
    profile = profile_of(folder)
    return Extent(tuple(profile["ranges"]), *profile["months"])


def card(root: Path, recipe: Recipe) -> tuple[str, dict[str, Any], Path]:
    """The card of a recipe's dumps, by the jobs that the DAG names: text, numbers, folder."""
    first = build("test", recipe)
    carry_out(first, root, {"dumps"})
    dumps = [name for name in first.nodes if name.startswith("dumps/")]
    dag = build("test", recipe, {name: extent(root / name) for name in dumps})
    carry_out(dag, root, {"threads", "labels"})
    folder = root / "labels" / "card"
    return (folder / "card.md").read_text(), profile_of(folder), folder


def comment(number: int, **changes: Any) -> dict[str, Any]:
    """A comment of thread ``number % 40``, as Pushshift writes it."""
    row = {
        "id": f"c{number}",
        "link_id": f"t3_{number % 40}",
        "parent_id": f"t3_{number % 40}",
        "author": "Somebody",
        "subreddit": "aww",
        "body": f"what number {number} has to say",
        "score": number * number % 90 - 20,
        "created_utc": 1136074029 + number,
        "retrieved_on": 1136074029 + number + 3600 * (40 + number),
        "stickied": False,
    }
    return row | changes


ROWS: list[dict[str, Any] | bytes] = [
    *(comment(n) for n in range(200)),
    comment(200, score=None),
    comment(201, retrieved_on=None),
    comment(202, parent_id="t1_c2"),
    comment(203, parent_id="t1_gone"),
    comment(204, author="AutoModerator"),
    comment(205, body="[removed]"),
    comment(206, retrieved_on=1136074029 + 300),
    comment(207, subreddit="dull"),
    comment(5),
    b"{ no JSON",
    b"",
    comment(208, author="Gone_Person"),
]
POST = {
    "id": "0",
    "subreddit": "aww",
    "title": "a title",
    "selftext": "",
    "author": "Somebody",
    "score": 4,
    "created_utc": 1136074000,
    "retrieved_on": 1136274029,
    "over_18": False,
}


def written(folder: Path, rows: list[dict[str, Any] | bytes]) -> tuple[Path, Path]:
    """Two dump files: comments and one post."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    files = folder / "RC.ndjson", folder / "RS.ndjson"
    for file, data in zip(
        files, (b"\n".join(lines) + b"\n", json.dumps(POST).encode()), strict=True
    ):
        file.write_bytes(data)
    return files


def rows_of(text: str, head: str) -> dict[str, list[str]]:
    """The rows of the table whose head begins with ``head``, by their first cell."""
    lines = text[text.index(f"| {head} |") :].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    ends = next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return {name: rest for name, *rest in cells[:ends]}


def settings(root: Path) -> list[str]:
    return [
        f"dumps.removed={root / 'removed.txt'}",
        "threads.exclude_subreddits=[dull]",
        "threads.max_chars=500",
        "labels.valuation.min_group=20",
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """The card of the rows above."""
    root = tmp_path_factory.mktemp("card")
    (root / "removed.txt").write_text("gone_person\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KARMA_SALT", "a salt for tests")
        return card(root, recipe(*written(root, ROWS), *settings(root)))


def test_every_line_of_every_dump_is_accounted_for(small):
    text, profile, _ = small
    dumps = rows_of(text, "dump | kind")
    assert dumps["RC.ndjson"] == ["comments", "212", "209", "2", "1"]
    assert dumps["RS.ndjson"] == ["submissions", "1", "1", "0", "0"]
    assert profile["dumps"]["RC.ndjson"]["reasons"] == {"not JSON": 1, "removed": 1}
    assert "| RC.ndjson | not JSON | 1 |" in text
    assert "Lines of authors on the removal list: 1" in text


def test_each_filter_stands_beside_its_setting_and_the_shares_add_up(small):
    text, profile, _ = small
    found = rows_of(text, "reason | the recipe says")
    assert found["subreddit"][:2] == ["subreddits: all; exclude\\_subreddits: dull", "1"]
    assert found["immature"][:2] == ["min\\_age\\_hours: 36", "1"]
    assert found["long"][:2] == ["max\\_chars: 500", "0"]
    assert found["language"][:2] == ["languages: all", "0"]
    assert {reason for reason, (_, n, _) in found.items() if n == "1"} == {
        "subreddit",
        "immature",
        "orphan",
        "bot",
        "deleted",
    }
    counts = [int(n.replace(",", "")) for _, n, _ in found.values()]
    assert sum(counts) == profile["threads"]["comments"] == 208
    assert "1 of unknown age" in text


def test_every_reason_of_the_filters_has_a_place_in_the_card():
    verdicts = (SQL / "threads" / "verdicts.sql").read_text()
    reasons = set(re.findall(r"THEN '(\w+)'", verdicts))
    for path in (SQL / "threads").glob("*.sql"):
        reasons |= set(re.findall(r"SET reason = '(\w+)'", path.read_text()))
    assert reasons == set(FILTERS)


def test_the_histograms_count_every_conversation(small):
    _, profile, _ = small
    threads = profile["threads"]
    assert threads["conversations"] == 203
    assert sum(n for _, n in profile["scores"]) == 203 - threads["score_unknown"] == 202
    for name in ("ages", "depths", "subreddits"):
        assert sum(n for _, n in profile[name]) == 203
    assert dict(profile["depths"])["2"] == 1
    assert dict(profile["ages"])["unknown"] == 1
    assert sum(n for _, n in profile["margins"]) == sum(profile["labels"]["pairs"].values()) > 0


def test_scores_fall_into_bins_that_double(small):
    _, profile, _ = small
    rows = [row for row in ROWS if isinstance(row, dict) and row["body"].startswith("what")]
    kept = {row["id"]: row["score"] for row in rows if row["author"] == "Somebody"}
    scores = [score for name, score in kept.items() if name not in ("c200", "c203", "c206", "c207")]
    found = dict(profile["scores"])
    for name, low, high in [
        ("0", 0, 0),
        ("−1", -1, -1),
        ("4 to 7", 4, 7),
        ("32 to 63", 32, 63),
        ("−31 to −16", -31, -16),
    ]:
        assert found[name] == sum(low <= score <= high for score in scores), name


def test_the_card_names_each_figure_and_every_figure_is_there(small):
    text, _, folder = small
    named = set(re.findall(r"!\[\w+\]\((\w+\.png)\)", text))
    files = {path.name: path.read_bytes() for path in folder.glob("*.png")}
    wanted = {"scores", "depths", "ages", "subreddits", "filtered", "margins"}
    assert named == set(files) == {f"{name}.png" for name in wanted}
    assert all(data.startswith(PNG) and b"Software" not in data for data in files.values())


def test_the_same_lines_in_another_order_give_the_same_bytes(small, tmp_path):
    _, _, folder = small
    (tmp_path / "removed.txt").write_text("gone_person\n")
    lines = [*[row for row in ROWS if row != b""][::-1], b""]
    card(tmp_path, recipe(*written(tmp_path, lines), *settings(tmp_path)))
    again = tmp_path / "labels" / "card"
    for first, second in zip(sorted(folder.iterdir()), sorted(again.iterdir()), strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_a_strangers_name_breaks_neither_table_nor_figure(tmp_path):
    name = "a|b\n$x^$<b>😀\u200f" + "x" * 40
    rows = [comment(n, subreddit=name) for n in range(60)]
    text, profile, _ = card(tmp_path, recipe(*written(tmp_path, rows)))
    assert rows_of(text, "subreddit | conversations")[plain(name)] == ["60", "100.0%"]
    assert profile["span"]["subreddits"] == 1


def test_nothing_that_is_trained_depends_on_the_card(tmp_path):
    files = written(tmp_path, ROWS)
    ranges = dict.fromkeys(
        ("dumps/RC.ndjson", "dumps/RS.ndjson"), Extent(("0-1",), "2006-01", "2006-01")
    )
    dag = build("test", recipe(*files), ranges)
    readers = [n.id for n in dag.nodes.values() if "labels/card" in n.inputs.values()]
    assert readers == ["report"]
    other = build("test", recipe(*files, "threads.memory_mb=512"), ranges)
    for name in ("labels", "labels/card"):
        assert dag.nodes[name].config == other.nodes[name].config
    other = build("test", recipe(*files, "threads.max_chars=99"), ranges)
    assert dag.nodes["labels"].config == other.nodes["labels"].config
    assert dag.nodes["labels/card"].config != other.nodes["labels/card"].config


def test_a_real_month_is_in_the_card_with_what_its_readme_counts(tmp_path, shared_data):
    files = shared_data / "reddit" / "RC_2006-01.zst", shared_data / "reddit" / "RS_2006-01.bz2"
    text, profile, _ = card(tmp_path, recipe(*files, "threads.min_age_hours=0"))
    dumps = rows_of(text, "dump | kind")
    assert dumps["RC\\_2006-01.zst"] == ["comments", "3,666", "3,666", "0", "0"]
    assert dumps["RS\\_2006-01.bz2"] == ["submissions", "145", "145", "0", "0"]
    assert profile["threads"]["threads"] == 1173
    what = rows_of(text, "what")
    assert what["in threads"] == ["1,173"]
    assert what["= comments"] == ["3,666"]
    assert what["+ comments below a missing one (broken)"] == ["63"]
    whole = profile["threads"]["conversations"]
    assert profile["subreddits"] == [["reddit.com", whole - 2], ["nsfw", 2]]
