"""Prompts from Reddit threads and from instruction dialogues, and the reader of the latter."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from karma.base.job import dialogue_texts
from karma.errors import CheckError, InputError
from karma.jobs import Job
from karma.prompts import hub, instructions
from karma.prompts.job import reddit, unexposed
from karma.prompts.recipe import RedditPrompts, UnexposedPrompts
from karma.sft.data import unexposed as unexposed_answers
from karma.sql import check, connect, plain
from karma.text import Turn, render

SHARED = Path(__file__).parents[2] / "shared" / "data" / "benchmarks"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data's folder is absent")

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "thread_id": pa.string(),
        "parent_id": pa.string(),
        "subreddit": pa.string(),
        "depth": pa.int32(),
        "context": pa.list_(pa.struct({"role": pa.string(), "text": pa.string()})),
        "reply": pa.string(),
        "parent_score": pa.int64(),
        "delay": pa.int64(),
        "hour": pa.int32(),
        "split": pa.string(),
        "use": pa.string(),
    }
)


def conversation(n: int, **changes: Any) -> dict[str, Any]:
    """A reply to a comment of its own, in a thread for PPO."""
    row = {
        "id": f"r{n}",
        "thread_id": f"t{n}",
        "parent_id": f"p{n}",
        "subreddit": "a",
        "depth": 2,
        "context": [Turn(role="title", text=f"About {n}"), Turn(role="comment", text="So?")],
        "reply": f"Well {n}",
        "parent_score": n,
        "delay": 10 * n,
        "hour": n % 24,
        "split": "train",
        "use": "ppo",
    }
    return {**row, **changes}


def job(tmp_path: Path, config: dict[str, Any], inputs: dict[str, Path]) -> Job:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    return Job({"prompts": config}, inputs, out, scratch)


def from_threads(tmp_path: Path, rows: list[dict[str, Any]], **recipe: Any) -> list[dict[str, Any]]:
    """The prompts that the stage cuts from ``rows``."""
    folder = tmp_path / "threads"
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "conversations.parquet")
    config = RedditPrompts.model_validate(recipe).model_dump(mode="json")
    reddit(job(tmp_path, config, {"threads/0-9": folder}))
    return pq.read_table(tmp_path / "out" / "prompts.parquet").to_pylist()


def from_dialogues(tmp_path: Path, rows: list[Any], **recipe: Any) -> list[dict[str, Any]]:
    """The prompts that the stage cuts from a JSON list of ``rows``."""
    path = tmp_path / "instructions.json"
    path.write_text(json.dumps(rows))
    config = UnexposedPrompts.model_validate(recipe).model_dump(mode="json")
    unexposed(job(tmp_path, config, {"instructions": path}))
    return pq.read_table(tmp_path / "out" / "prompts.parquet").to_pylist()


def fastchat(*texts: str) -> dict[str, Any]:
    speakers = ("human", "gpt")
    turns = [{"from": speakers[i % 2], "value": text} for i, text in enumerate(texts)]
    return {"id": "0", "conversations": turns}


def test_a_prompt_is_rendered_and_keeps_the_real_reply_and_its_slot(tmp_path):
    (prompt,) = from_threads(tmp_path, [conversation(7)])
    assert prompt == {
        "id": "r7",
        "thread_id": "t7",
        "split": "train",
        "turns": conversation(7)["context"],
        "prompt": "Post: About 7\nComment: So?\nReply:",
        "reply": "Well 7",
        "subreddit": "a",
        "depth": 2,
        "delay": 70,
        "hour": 7,
        "parent_score": 7,
    }


def test_ppo_gets_threads_of_its_use_and_tests_get_test_threads(tmp_path):
    rows = [
        conversation(0),
        conversation(1, use="sft"),
        conversation(2, use="reward"),
        conversation(3, split="validation", use=None),
        conversation(4, split="test", use=None),
        conversation(5, context=[]),
    ]
    prompts = from_threads(tmp_path, rows)
    assert {prompt["id"]: prompt["split"] for prompt in prompts} == {"r0": "train", "r4": "test"}


def test_no_two_prompts_are_the_same_conversation(tmp_path):
    rows = [conversation(n, thread_id="t", parent_id="p") for n in range(9)]
    assert len(from_threads(tmp_path, rows)) == 1


def test_an_id_that_two_threads_have_names_two_prompts(tmp_path):
    rows = [conversation(0), conversation(0, thread_id="other", reply="Other")]
    rows.append(conversation(0, thread_id="third", use="sft", reply="Third"))
    prompts = from_threads(tmp_path, rows)
    assert {prompt["reply"] for prompt in prompts} == {"Well 0", "Other"}


def test_a_larger_count_adds_prompts_and_the_order_of_rows_does_not_matter(tmp_path):
    rows = [conversation(n) for n in range(40)]
    rows += [conversation(n, split="test", use=None) for n in range(40, 60)]
    few = from_threads(tmp_path, rows, count=10, test_count=5)
    many = from_threads(tmp_path, rows[::-1], count=20, test_count=5)
    assert len(few) == 15
    assert {prompt["id"] for prompt in few} <= {prompt["id"] for prompt in many}
    again = from_threads(tmp_path, rows[::-1], count=10, test_count=5)
    assert again == few


def test_no_thread_for_ppo_is_the_users_to_mend(tmp_path):
    with pytest.raises(InputError, match="the threads of the use ppo give no prompt"):
        from_threads(tmp_path, [conversation(0, use="sft")])


def test_the_check_finds_a_prompt_of_another_use(tmp_path):
    from_threads(tmp_path, [conversation(0)])
    folder = tmp_path / "threads"
    moved = pa.Table.from_pylist([conversation(0, use="reward")], SCHEMA)
    pq.write_table(moved, folder / "conversations.parquet")
    connection = connect([tmp_path / "out", folder], tmp_path / "scratch")
    parameters = {
        "prompts": plain(tmp_path / "out" / "prompts.parquet"),
        "files": [plain(folder / "conversations.parquet")],
    }
    with pytest.raises(CheckError, match="prompts_uses"):
        check(connection, "prompts_uses", parameters)


def test_an_unexposed_prompt_ends_with_a_user_and_has_no_slot(tmp_path):
    rows = [fastchat(f"Question {n}?", "Yes.", "Sure?", f"Yes, {n}.") for n in range(80)]
    prompts = from_dialogues(tmp_path, rows)
    assert {prompt["turns"][-1]["role"] for prompt in prompts} == {"user"}
    assert {len(prompt["turns"]) for prompt in prompts} == {1, 3}
    assert {prompt["reply"] for prompt in prompts} >= {"Yes."}
    assert all(prompt["prompt"] == render(prompt["turns"]) for prompt in prompts)
    slot = ("subreddit", "depth", "delay", "hour", "parent_score")
    assert all(prompt[name] is None for prompt in prompts for name in slot)


def test_no_start_learns_the_answers_to_the_prompts_of_ppo(tmp_path):
    rows = [fastchat(f"Question {n % 150}?", f"Yes {n}.", "Sure?", "Yes.") for n in range(300)]
    asked = {prompt["turns"][0]["text"] for prompt in from_dialogues(tmp_path, rows)}
    learned = unexposed_answers("file", tmp_path / "instructions.json", 1000)
    answered = {example.turns[0]["text"] for example in learned}
    read = "\n".join(dialogue_texts(tmp_path / "instructions.json"))
    assert {opening for opening in asked | answered if opening in read} == answered
    assert len(asked) > 40
    assert len(answered) > 60
    assert not asked & answered
    assert len(asked | answered) == 150


def test_separators_that_json_allows_in_a_text_cut_no_line(tmp_path):
    path = tmp_path / "data.jsonl"
    text = "a\u2028b\u2029c\u0085d"
    rows = [{"messages": [{"role": "user", "content": text}]}] * 2
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    assert [dialogue[0]["text"] for dialogue in instructions.read("file", path)] == [text] * 2


def test_a_row_of_an_unknown_shape_is_told_by_its_number(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps([fastchat("So?", "Yes."), {"instruction": "Do", "output": "Done"}]))
    with pytest.raises(InputError, match=r"row 2 has an unknown shape: .*instruction"):
        instructions.read("file", path)


def test_dialogues_that_open_alike_stay_on_one_side(tmp_path):
    rows = [fastchat(f"Question {n % 40}?", f"Yes {n}.", f"Sure {n}?", "Yes.") for n in range(200)]
    prompts = from_dialogues(tmp_path, rows)
    openings = {
        split: {prompt["turns"][0]["text"] for prompt in prompts if prompt["split"] == split}
        for split in ("train", "test")
    }
    assert openings["train"]
    assert openings["test"]
    assert not openings["train"] & openings["test"]
    texts = [prompt["prompt"] for prompt in prompts]
    assert len(texts) == len(set(texts))


OPEN_ASSISTANT = {
    "prompt": {
        "role": "prompter",
        "text": "Q",
        "replies": [
            {"role": "assistant", "text": "worse", "rank": 1, "replies": []},
            {"role": "assistant", "text": "better", "rank": 0, "replies": []},
        ],
    }
}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (fastchat("Q", "A"), ["Q", "A"]),
        (
            {"conversations": [{"from": "gpt", "value": "hm"}, *fastchat("Q")["conversations"]]},
            ["Q"],
        ),
        (
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Q"}]},
            ["Q"],
        ),
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "tool", "content": "t"}]}, ["Q"]),
        ({"class": "x", "data": " Q "}, ["Q"]),
        ({"id": "0", "data": ["Q", "A", "R"]}, ["Q", "A", "R"]),
        (fastchat("Q", "", "R"), ["Q"]),
        (OPEN_ASSISTANT, ["Q", "better"]),
    ],
)
def test_every_shape_of_instruction_data_is_read(tmp_path, row, expected):
    path = tmp_path / "data"
    for text in (json.dumps([row]), json.dumps(row) + "\n\n"):
        path.write_text(text)
        (dialogue,) = instructions.read("file", path)
        assert [turn["text"] for turn in dialogue] == expected
        roles = [turn["role"] for turn in dialogue]
        assert roles == ["user", "assistant", "user"][: len(roles)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2", "is not JSON"),
        ("no json", "is not JSON"),
        ("\xff", "is not UTF-8"),
        ('{"other": 1}', "unknown shape"),
        ('{"messages": [{"content": "Q"}]}', "unknown shape"),
        ('{"messages": [{"role": "user", "content": null}]}', "unknown shape"),
        ('{"messages": ["Q"]}', "unknown shape"),
        ("[]", "no dialogue"),
    ],
)
def test_a_file_that_holds_no_dialogues_is_named_with_the_reason(tmp_path, text, reason):
    path = tmp_path / "data.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=reason) as error:
        instructions.read("file", path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_an_unpinned_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        instructions.read("file", tmp_path / "none.json")
    for source in ("HuggingFaceH4/ultrachat_200k", "HuggingFaceH4/ultrachat_200k@main"):
        with pytest.raises(InputError, match="full revision"):
            instructions.read(source, None)


@needs_shared
@pytest.mark.parametrize(
    ("name", "least"),
    [("chat_dialogues.json", 500), ("oasst_trees.jsonl", 100), ("ultrachat_prompts.json", 385)],
)
def test_real_instruction_data_is_read_whole(name, least):
    dialogues = instructions.read(name, SHARED / name)
    assert len(dialogues) == least
    uses = Counter(map(instructions.use_of, dialogues))
    assert 0 < uses["test"] < uses["ppo"] < uses["sft"]


# Where the dialogues come from

REVISION = "0123456789" * 4


@pytest.mark.parametrize(
    ("where", "pinned", "unpinned"),
    [
        ("world", None, None),
        (f"org/chat_200k@{REVISION}", ("org/chat_200k", REVISION), None),
        (f"squad@{REVISION}", ("squad", REVISION), None),
        ("org/chat_200k", None, ("org/chat_200k", None)),
        ("org/chat-v1.0", None, ("org/chat-v1.0", None)),
        ("org/chat@main", None, ("org/chat", "main")),
        ("foo@bar", None, ("foo", "bar")),
        (f"org/chat@{REVISION[:12]}", None, ("org/chat", REVISION[:12])),
        ("data/chat.json", None, None),
        ("me@home.jsonl", None, None),
        ("/data/me@home/chat", None, None),
        ("./org/chat", None, None),
        (f"./chat@{REVISION}", None, None),
        (f"/data/org/chat@{REVISION}", None, None),
        ("chat", None, None),
    ],
)
def test_a_path_and_a_name_of_the_hub_are_told_apart(where, pinned, unpinned):
    assert hub.pinned(where) == pinned
    assert hub.unpinned(where) == unpinned


def test_what_lies_here_is_a_path_even_if_it_looks_like_a_name_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValidationError, match=r"if it is a file, write \./org/chat@v1"):
        UnexposedPrompts(instructions="org/chat@v1")
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "chat@v1").write_text("[]")
    assert UnexposedPrompts(instructions="org/chat@v1").instructions == "org/chat@v1"
