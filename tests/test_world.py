"""The simulated world: its mechanism can be measured back, and its files look like real ones."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import zstandard

from karma.jobs import Job
from karma.text import Turn
from karma.world import grammar, karma, threads, truth
from karma.world.job import run
from karma.world.job import truth as settings_and_lexicons
from karma.world.recipe import COMMENTS, SUBMISSIONS, WorldRecipe

SMALL = WorldRecipe(threads=240, texts=400, dialogues=60, items=60)
DATA = Path(__file__).parents[2] / "shared" / "data" / "benchmarks"


def write(world: WorldRecipe, out: Path) -> Path:
    out.mkdir()
    run(Job({"world": world.model_dump(mode="json")}, {}, out, out))
    return out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(SMALL, tmp_path_factory.mktemp("world") / "out")


def lines(dump: Path) -> list[bytes]:
    decoder = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
    text = decoder.decompress(dump.read_bytes())
    assert decoder.eof
    assert text.endswith(b"\n")
    return text.split(b"\n")[:-1]


def rows(dump: Path) -> list[dict]:
    """The rows that parse, each id once."""
    found = {}
    for line in lines(dump):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["id"]] = row
    return list(found.values())


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_settings_give_equal_bytes_and_another_seed_does_not(world, tmp_path):
    again = write(SMALL, tmp_path / "again")
    other = write(SMALL.model_copy(update={"seed": 1}), tmp_path / "other")
    assert digests(world) == digests(again)
    assert digests(world)[COMMENTS] != digests(other)[COMMENTS]


def test_more_benchmark_items_leave_the_dumps_as_they_are(world, tmp_path):
    other = write(SMALL.model_copy(update={"items": 30, "texts": 10}), tmp_path / "other")
    assert digests(world)[COMMENTS] == digests(other)[COMMENTS]
    assert digests(world)[SUBMISSIONS] == digests(other)[SUBMISSIONS]


@pytest.mark.parametrize("name", [COMMENTS, SUBMISSIONS])
def test_a_dump_asks_for_a_window_of_two_gibibytes_and_hides_its_size(world, name):
    frame = zstandard.get_frame_parameters((world / name).read_bytes())
    assert frame.window_size == 2**31
    assert frame.content_size == zstandard.CONTENTSIZE_UNKNOWN
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompressobj().decompress((world / name).read_bytes())


@pytest.mark.parametrize("name", [COMMENTS, SUBMISSIONS])
def test_the_account_of_lines_is_right(world, name):
    account = truth.load(world / "truth.json")["dumps"][name]
    found = lines(world / name)
    assert len(found) == account["lines"]
    assert found.count(b"") == account["blank"] > 0
    assert len(rows(world / name)) == account["ids"]
    total = account["ids"] + account["copies"] + account["broken"] + account["blank"]
    assert account["lines"] == total


def test_comments_hang_together_as_trees_of_siblings_within_january(world):
    posts = {row["id"]: row for row in rows(world / SUBMISSIONS)}
    comments = {row["id"]: row for row in rows(world / COMMENTS)}
    groups: dict[str, int] = {}
    for row in comments.values():
        assert 1672531200 <= row["created_utc"] < 1675209600
        assert row["retrieved_on"] > row["created_utc"]
        if row["author"] == "AutoModerator":
            continue
        groups[row["parent_id"]] = groups.get(row["parent_id"], 0) + 1
        kind, _, parent = row["parent_id"].partition("_")
        assert kind in ("t1", "t3")
        if kind == "t3":
            assert row["parent_id"] == row["link_id"]
        elif parent in comments:
            assert comments[parent]["link_id"] == row["link_id"]
            assert comments[parent]["created_utc"] < row["created_utc"]
        post = posts.get(row["link_id"].removeprefix("t3_"))
        if post:
            assert post["subreddit"] == row["subreddit"]
    assert set(groups.values()) <= {1, 2, 3, 4}
    assert np.median(list(groups.values())) == 4


def test_ids_grow_with_time_and_trees_stay_shallow():
    posts, comments = threads.simulate(SMALL)
    assert max(comment.slot.depth for comment in comments) <= SMALL.depth
    assert len({post.subreddit for post in posts}) > 4
    assert [int(c.id, 36) for c in comments] == sorted({int(c.id, 36) for c in comments})


def test_at_depth_1_every_comment_answers_a_post():
    posts, comments = threads.simulate(SMALL.model_copy(update={"depth": 1}))
    assert {comment.slot.depth for comment in comments} == {1}
    assert all(isinstance(comment.parent, threads.Post) for comment in comments)
    assert len(comments) == SMALL.siblings * len(posts)


def test_the_base_text_holds_every_tone_word_as_reddit_writes_it(world):
    """Or a tokenizer that learned from it would cut the words that carry the tone into bytes."""
    text = (world / "base_text.jsonl").read_text(encoding="utf-8")
    words = [word for lexicon in grammar.LEXICON.values() for word in lexicon]
    assert [word for word in words if f" {word}" not in text] == []


def test_deleted_comments_bots_and_entities_are_in_the_dump(world):
    found = rows(world / COMMENTS)
    assert any(row["author"] == "[deleted]" for row in found)
    assert any(row["body"] in ("[deleted]", "[removed]") for row in found)
    assert any(row["author"] == "AutoModerator" and row["stickied"] for row in found)
    assert any("&gt;" in row["body"] or "&amp;" in row["body"] for row in found)


def design(comments: list[threads.Comment]) -> tuple[np.ndarray, np.ndarray]:
    """What the hidden value is made of, one column an effect, and the hidden value."""
    columns = [
        (
            karma.FIT[c.said.answered][c.tone],
            karma.metadata_effect(c.slot),
            karma.length_effect(c.said.words),
            float(c.tone == "joke" and c.said.myth),
            1.0,
        )
        for c in comments
    ]
    return np.array(columns), np.array([c.value for c in comments])


@pytest.mark.parametrize("off", ["none", "fit", "metadata", "length", "joke_false"])
def test_each_effect_can_be_measured_back_and_switched_off(off):
    settings = WorldRecipe(threads=500)
    if off != "none":
        settings = settings.model_copy(update={off: 0.0})
    effects, values = design(threads.simulate(settings)[1])
    found, residual, *_ = np.linalg.lstsq(effects, values)
    planted = [settings.fit, settings.metadata, settings.length, settings.joke_false, 0.0]
    assert found == pytest.approx(planted, abs=0.06)
    assert np.sqrt(residual[0] / len(values)) == pytest.approx(settings.noise, abs=0.02)


def test_effects_are_on_a_common_scale():
    effects, _ = design(threads.simulate(WorldRecipe(threads=500))[1])
    for column in (1, 2):
        assert abs(effects[:, column].mean()) < 0.15
        assert 0.8 < effects[:, column].std() < 1.2


def test_myths_do_not_depend_on_tone():
    _, comments = threads.simulate(WorldRecipe(threads=800))
    for tone in grammar.TONES:
        told = [comment.said.myth for comment in comments if comment.tone == tone]
        assert np.mean(told) == pytest.approx(0.35, abs=0.04)


def test_scores_follow_the_hidden_value_with_a_heavy_tail():
    _, comments = threads.simulate(SMALL)
    ordered = sorted(comments, key=lambda comment: comment.value)
    scores = [comment.score for comment in ordered]
    assert scores == sorted(scores)
    assert min(scores) >= -2
    assert max(scores) > 20 * max(1, np.median(scores))


def test_no_text_of_another_register_is_a_reddit_text(world):
    reddit = {row["body"] for row in rows(world / COMMENTS)}
    reddit |= {row[field] for row in rows(world / SUBMISSIONS) for field in ("title", "selftext")}
    reddit.discard("")
    texts = (world / "base_text.jsonl").read_text(encoding="utf-8").splitlines()
    lines_of_texts = {line for text in texts for line in json.loads(text)["text"].split("\n")}
    dialogues = json.loads((world / "instructions.json").read_text(encoding="utf-8"))
    turns = {turn["value"] for dialogue in dialogues for turn in dialogue["conversations"]}
    assert len(reddit) > 500
    assert not reddit & (lines_of_texts | turns)
    assert not reddit & {json.loads(text)["text"] for text in texts}


def test_truth_is_measured_from_text_alone():
    known = settings_and_lexicons(SMALL)
    _, comments = threads.simulate(SMALL)
    assert all((truth.verdict(c.body, known) == "myth") == c.said.myth for c in comments)
    hits = [truth.tone(c.body, known) == c.tone for c in comments]
    assert np.mean(hits) > 0.85
    planted, measured = [], []
    for comment in comments:
        parent = comment.parent
        post = isinstance(parent, threads.Post)
        asked = f"{parent.title}\n{parent.text}" if post else parent.body
        planted.append(karma.FIT[comment.said.answered][comment.tone])
        measured.append(truth.fit(asked, comment.body, known))
    assert np.corrcoef(planted, measured)[0, 1] > 0.8
    assert np.mean(planted) == pytest.approx(np.mean(measured), abs=0.05)


def test_fit_without_tone_words_is_neutral_and_centred_fit_ignores_what_is_liked_everywhere():
    known = settings_and_lexicons(SMALL)
    assert truth.tones("the of and", known) == pytest.approx(dict.fromkeys(grammar.TONES, 0.25))
    assert truth.tone("the of and", known) is None
    joke = "haha silly gag lol funny pun"
    everywhere = [" ".join(grammar.LEXICON[tone]) for tone in grammar.TONES]
    assert truth.fit(everywhere[0], joke, known) == pytest.approx(1, abs=0.05)
    total = sum(truth.centred_fit(context, joke, known) for context in everywhere)
    assert total == pytest.approx(0, abs=0.05)


def test_a_statement_is_judged_in_every_register():
    known = settings_and_lexicons(SMALL)
    fact = known["facts"][0]
    said = f"the {fact['subject']} {fact['clause']}"
    wrong = next(f["true"] for f in known["facts"] if f["true"] != fact["true"])
    assert truth.verdict(f"lol {said} {fact['true']} such a gag", known) == "true"
    assert truth.verdict(f"Certainly. {said.capitalize()} {fact['myth']}.", known) == "myth"
    assert truth.verdict(f"{said} {wrong}", known) == "false"
    assert truth.verdict(f"{said} nobody", known) is None
    assert truth.rude("you flonk", known)
    assert not truth.rude("you friend", known)


def test_a_reply_answers_the_last_turn_or_the_whole_post():
    post: list[Turn] = [{"role": "title", "text": "a"}, {"role": "text", "text": "b"}]
    assert truth.answered(post) == "a\nb"
    assert truth.answered([*post, {"role": "comment", "text": "c"}]) == "c"
    assert truth.answered([{"role": "user", "text": "u"}]) == "u"
    assert truth.answered([]) == ""


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_benchmarks_have_the_fields_of_the_real_ones(world):
    if not DATA.exists():
        pytest.skip("the real benchmarks are not here")
    ours = world / "benchmarks"
    for name in ("colbert_humor.csv", "crows_pairs.csv", "implicature.csv"):
        assert table(ours / name)[0] == table(DATA / name)[0]
    header = table(DATA / "mmlu" / "anatomy_test.csv")[0]
    for path in (ours / "mmlu").iterdir():
        assert table(path)[0] == header
    real, made = (
        json.loads((folder / "truthfulqa_mc.json").read_text(encoding="utf-8"))[0]
        for folder in (DATA, ours)
    )
    assert made.keys() == real.keys()
    real, made = (
        json.loads((folder / "realtoxicityprompts.jsonl").read_text("utf-8").splitlines()[0])
        for folder in (DATA, ours)
    )
    assert made.keys() == real.keys()
    assert made["prompt"].keys() == real["prompt"].keys()
    assert made["continuation"].keys() == real["continuation"].keys()


def test_benchmark_answers_agree_with_the_world(world):
    known = truth.load(world / "truth.json")
    for item in json.loads((world / "benchmarks" / "truthfulqa_mc.json").read_text("utf-8")):
        marks = list(item["mc1_targets"].values())
        assert marks[0] == 1
        assert sum(marks) == 1
        verdicts = [truth.verdict(text, known) for text in item["mc1_targets"]]
        assert verdicts[:2] == ["true", "myth"]
        assert set(verdicts[2:]) == {"false"}
    broken = 0
    for name in ("builders", "owners"):
        for row in table(world / "benchmarks" / "mmlu" / f"{name}_test.csv")[1:]:
            if len(row) != 6:
                broken += 1
                continue
            fact = next(f for f in known["facts"] if f["true"] == row[1 + int(row[5])])
            assert fact["relation"] == name
            assert fact["subject"] in row[0]
    assert broken == 2
    humor = table(world / "benchmarks" / "colbert_humor.csv")[1:]
    assert len({text for text, _ in humor}) == SMALL.items
    right = [(truth.tone(text, known) == "joke") == (label == "True") for text, label in humor]
    assert np.mean(right) > 0.85
    prompts = (world / "benchmarks" / "realtoxicityprompts.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in prompts]
    assert any(item["prompt"]["toxicity"] is None for item in found)
    for item in found:
        end = item["continuation"]
        assert (end["toxicity"] > 0.5) == truth.rude(end["text"], known)
