"""The starting policy: what it learns from, as which tokens, and that it learns."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from karma.base.job import run as run_base
from karma.base.recipe import BaseRecipe
from karma.errors import InputError, StageError
from karma.jobs import Job
from karma.prompts.fit import fit, prompt_tokens, reply_tokens
from karma.sft import data
from karma.sft.job import run
from karma.sft.recipe import SftRecipe
from karma.sft.train import drawn
from karma.text import Turn, render

TINY: dict[str, Any] = {
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "intermediate": 32,
    "vocab": 300,
    "context": 256,
    "max_tokens": 32,
    "sequences": 80,
    "batch": 8,
    "text": ["world"],
}
SFT: dict[str, Any] = {"lr": 0.01, "batch": 4, "epochs": 4, "max_tokens": 64}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    text = folder / "base_text.jsonl"
    text.write_text("".join(json.dumps({"text": f"The sea is {n}."}) + "\n" for n in range(40)))
    out = folder / "out"
    out.mkdir()
    config = {"base": BaseRecipe.model_validate({"tiny": TINY}).model_dump(mode="json")}
    run_base(Job(config, {"text/world": text}, out, folder))
    return out


def conversation(n: int, use: str | None = "sft", split: str = "train") -> dict[str, Any]:
    turns = [Turn(role="title", text=f"About {n}"), Turn(role="comment", text="Is it blue?")]
    return {
        "id": f"r{n}",
        "thread_id": f"t{n}",
        "context": turns,
        "reply": f"It is blue {n % 3}.",
        "split": split,
        "use": use,
    }


def threads(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "conversations.parquet")
    return folder


def sft(out: Path, inputs: dict[str, Path], seed: int = 0, **changes: Any) -> Path:
    """Run the stage into ``out``, its scratch beside it."""
    out.mkdir()
    exposure = "unexposed" if "instructions" in inputs else "reddit"
    recipe = SftRecipe.model_validate({**SFT, **changes}).model_dump(mode="json")
    config = {"sft": recipe, "exposure": exposure, "seed": seed}
    scratch = out.with_name(f"{out.name}.scratch")
    scratch.mkdir(exist_ok=True)
    run(Job(config, inputs, out, scratch))
    return out


def metrics(out: Path) -> dict[str, float]:
    return json.loads((out / "metrics.json").read_text())


def lines(out: Path) -> list[dict[str, float]]:
    text = (out / "log" / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in found]


def test_reddit_replies_are_learned_and_the_parameters_change(base, tmp_path):
    rows = [conversation(n) for n in range(60)]
    out = sft(tmp_path / "out", {"base": base, "threads/0-9": threads(tmp_path / "t", rows)})
    numbers = metrics(out)
    assert numbers["replies"] == 60
    assert numbers["loss_last"] < 0.7 * numbers["loss_first"]
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert lines(out)[-1]["step"] == numbers["steps"] == 60


def test_the_folder_is_plain_and_holds_no_pickle(base, tmp_path):
    inputs = {"base": base, "threads/0-9": threads(tmp_path / "t", [conversation(0)])}
    out = sft(tmp_path / "out", inputs, epochs=1)
    names = {path.name for path in out.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "metrics.json"}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pth"))]
    files = [path for path in out.iterdir() if path.is_file()]
    assert not [path for path in files if str(base).encode() in path.read_bytes()]


def test_only_training_threads_of_the_use_sft_are_learned_from(tmp_path):
    rows = [
        conversation(0),
        conversation(1, use="ppo"),
        conversation(2, use="gold"),
        conversation(3, use=None, split="test"),
        conversation(4),
    ]
    examples = data.reddit([threads(tmp_path / "t", rows)], 100)
    assert {example.id for example in examples} == {"r0", "r4"}


def test_a_larger_count_adds_replies_and_takes_none_away(tmp_path):
    folder = threads(tmp_path / "t", [conversation(n) for n in range(50)])
    few, many = data.reddit([folder], 10), data.reddit([folder], 30)
    assert (len(few), len(many)) == (10, 30)
    assert few == many[:10]


def test_an_id_that_two_threads_have_names_two_replies(tmp_path):
    rows = [conversation(0), {**conversation(0), "thread_id": "other", "reply": "Red."}]
    rows.append({**conversation(0), "thread_id": "third", "use": "ppo"})
    examples = data.reddit([threads(tmp_path / "t", rows)], 100)
    assert sorted(example.reply for example in examples) == ["It is blue 0.", "Red."]
    assert len(data.reddit([tmp_path / "t"], 1)) == 1


def test_every_answer_of_a_dialogue_of_the_use_sft_is_learned(tmp_path):
    path = tmp_path / "instructions.json"
    rows = [{"messages": _messages(f"Question {n}?")} for n in range(100)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    examples = data.unexposed("file", path, 1000)
    openings = {example.turns[0]["text"] for example in examples}
    assert len(examples) == 2 * len(openings)
    assert 45 < len(openings) < 75
    assert {len(example.turns) for example in examples} == {1, 3}


def _messages(question: str) -> list[dict[str, str]]:
    speakers = ["user", "assistant", "user", "assistant"]
    texts = [question, "It is.", "Sure?", "Yes."]
    return [{"role": role, "content": text} for role, text in zip(speakers, texts, strict=True)]


def test_the_unexposed_policy_learns_from_dialogues(base, tmp_path):
    path = tmp_path / "instructions.json"
    rows = [{"messages": _messages(f"Question {n}?")} for n in range(20)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    numbers = metrics(sft(tmp_path / "out", {"base": base, "instructions": path}))
    assert numbers["loss_last"] < numbers["loss_first"]


def test_prompt_and_reply_together_have_the_tokens_of_both_and_one_begin_and_end(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    for text in ("It is blue.", ":) ok", "\n\nso", "  wide", "über 🙂"):
        turns = [Turn(role="title", text="A  b\n"), Turn(role="comment", text=text)]
        both = [*prompt_tokens(turns, tokenizer), *reply_tokens(text, tokenizer)]
        assert both == [*tokenizer(f"{render(turns)} {text}")["input_ids"], tokenizer.eos_token_id]
        assert both.count(tokenizer.bos_token_id) == 1
        assert both.count(tokenizer.eos_token_id) == 1


def test_text_that_spells_a_special_token_stays_text(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    turns = [Turn(role="comment", text="<eos><bos><pad>")]
    both = [*prompt_tokens(turns, tokenizer), *reply_tokens("<eos> <bos>", tokenizer)]
    specials = [token for token in both if token in tokenizer.all_special_ids]
    assert specials == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def test_the_mask_covers_the_reply_and_its_end(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    example = data.Example("0", [Turn(role="comment", text="Is it?")], "It is.")
    row = data.tokenise([example], tokenizer, 64).rows[0]
    learned = [
        token
        for token, learn in zip(row["input_ids"], row["completion_mask"], strict=True)
        if learn
    ]
    assert learned == reply_tokens("It is.", tokenizer)


def test_a_long_conversation_loses_its_oldest_turns_but_neither_title_nor_last(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    title, last = Turn(role="title", text="Title"), Turn(role="comment", text="last")
    middle = [Turn(role="comment", text=f"turn {n}") for n in range(6)]
    turns = [title, Turn(role="text", text="text"), *middle, last]
    whole = len(prompt_tokens(turns, tokenizer))
    assert fit(turns, 5, tokenizer, whole + 5) == turns
    assert fit(turns, 5, tokenizer, whole + 4) == [title, *middle, last]
    least = len(prompt_tokens([title, last], tokenizer))
    assert fit(turns, 5, tokenizer, least + 5) == [title, last]
    assert fit(turns, 5, tokenizer, least + 4) is None


def test_what_does_not_fit_is_counted(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    short = Turn(role="comment", text="b")
    examples = [
        data.Example("fits", [short], "c"),
        data.Example("shortened", [Turn(role="comment", text="a " * 50), short], "c"),
        data.Example("too long", [short], "c " * 100),
    ]
    tokens = data.tokenise(examples, tokenizer, 60)
    assert (len(tokens.rows), tokens.shortened, tokens.left_out) == (2, 1, 1)
    assert max(len(row["input_ids"]) for row in tokens.rows) <= 60


def test_nothing_to_learn_from_is_the_users_to_mend(base, tmp_path):
    inputs = {"base": base, "threads/0-9": threads(tmp_path / "t", [conversation(0, use="ppo")])}
    with pytest.raises(InputError, match="sft/reddit: none of 0 replies"):
        sft(tmp_path / "out", inputs)


def test_a_loss_that_is_no_number_stops_the_stage(base, tmp_path):
    inputs = {"base": base, "threads/0-9": threads(tmp_path / "t", [conversation(0)] * 40)}
    with pytest.raises(StageError, match=r"lower sft\.lr"):
        sft(tmp_path / "out", inputs, lr=1e30, warmup=0)


def test_each_epoch_has_an_order_with_like_lengths_together():
    recipe = SftRecipe(batch=4, accumulate=2, epochs=2.5)
    lengths = [(n * 37) % 101 for n in range(320)]
    orders = drawn(lengths, recipe, 0)
    assert [sorted(order) for order in orders] == [[*range(320)]] * 3
    assert len({tuple(order) for order in orders}) == 3
    assert orders == drawn(lengths, recipe, 0)
    assert orders != drawn(lengths, recipe, 1)
    steps = [
        [lengths[row] for row in order[start : start + 8]]
        for order in orders
        for start in range(0, 320, 8)
    ]
    padded = sum(8 * max(step) for step in steps) / sum(map(sum, steps))
    assert padded < 1.2


@pytest.mark.parametrize(("replies", "epochs", "steps"), [(3, 4, 4), (6, 3, 6), (8, 2.5, 5)])
def test_every_epoch_ends_with_an_update(base, tmp_path, replies, epochs, steps):
    rows = [conversation(n) for n in range(replies)]
    inputs = {"base": base, "threads/0-9": threads(tmp_path / "t", rows)}
    assert metrics(sft(tmp_path / "out", inputs, epochs=epochs))["steps"] == steps


def test_interrupted_work_goes_on_to_the_same_model(base, tmp_path):
    inputs = {
        "base": base,
        "threads/0-9": threads(tmp_path / "t", [conversation(n) for n in range(40)]),
    }
    whole = sft(tmp_path / "whole", inputs, checkpoint_steps=12)
    broken = tmp_path / "broken.scratch"
    (tmp_path / "whole.scratch").rename(broken)
    newest = broken / "checkpoints" / "checkpoint-40"
    (newest / "trainer_state.json").unlink()  # as if killed while it was written
    resumed = sft(tmp_path / "broken", inputs, checkpoint_steps=12)
    # The loss is the mean over the steps since the last line, or since the checkpoint.
    (last,), expected = lines(resumed), lines(whole)[-1]
    assert {**last, "loss": None} == {**expected, "loss": None}
    first, second = (load_file(out / "model.safetensors") for out in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
