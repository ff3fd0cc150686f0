"""Whether unexposed text holds Reddit's: runs of words, whole messages, and nothing else."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from karma import dag
from karma.jobs import Job
from karma.nodes import Extent
from karma.prompts.job import unexposed
from karma.prompts.overlap import run
from karma.prompts.recipe import UnexposedPrompts
from karma.recipe import load
from tests.filled import RANGES, SMOKE

WORDS = [f"word{n}" for n in range(40)]
LONG = " ".join(WORDS)
SHORT = "never trust a talking cat"
REPLIES = [LONG, SHORT, "Thanks, stranger!"]


def threads(folder: Path) -> Path:
    """Conversations whose replies and posts are known."""
    folder.mkdir()
    context = [{"role": "title", "text": "What does the quick brown fox say today?"}]
    rows = [{"context": context, "reply": reply} for reply in REPLIES]
    pq.write_table(pa.Table.from_pylist(rows), folder / "conversations.parquet")
    return folder


def found(tmp_path: Path, answers: list[str], base: list[str]) -> dict:
    """What is found in dialogues with these answers, and in a base that learned these texts."""
    dialogues = [
        {"messages": [{"role": "user", "content": f"Ask {n}"}, {"role": "assistant", "content": a}]}
        for n, a in enumerate(answers)
    ]
    instructions = tmp_path / "instructions.json"
    instructions.write_text(json.dumps(dialogues))
    texts = tmp_path / "base_text.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in base))
    for name in ("prompts", "out", "scratch"):
        (tmp_path / name).mkdir()
    given = {"instructions": instructions}
    section = UnexposedPrompts(instructions=str(instructions)).result("instructions")
    prompts = {"prompts": {**section, "instructions": str(instructions)}}
    unexposed(Job(prompts, given, tmp_path / "prompts", tmp_path / "scratch"))
    inputs = {**given, "prompts": tmp_path / "prompts", "base_text": texts}
    inputs["threads/0-1"] = threads(tmp_path / "threads")
    run(Job({"instructions": "", "count": 1000}, inputs, tmp_path / "out", tmp_path / "scratch"))
    return json.loads((tmp_path / "out" / "overlap.json").read_text())


@pytest.mark.parametrize(
    ("answer", "overlapping"),
    [
        (f"As they say: {' '.join(WORDS[10:23]).upper()}!", 1),
        (f"As they say: {' '.join(WORDS[10:22])}!", 0),
        (" ".join(reversed(WORDS)), 0),
        ("Never trust a talking CAT!", 1),
        ("I say never trust a talking cat", 0),
        ("Thanks, stranger!", 0),
        ("What does the quick brown fox say today?", 1),
    ],
)
def test_a_row_that_holds_a_message_is_counted(tmp_path, answer, overlapping):
    # Six dialogues in ten are learned from, by their first turn.
    document = found(tmp_path, [answer] * 30, ["Nothing of the kind."])
    assert document["kinds"]["sft"]["rows"] > 10
    expected = document["kinds"]["sft"]["rows"] * overlapping
    assert document["kinds"]["sft"]["overlapping"] == expected
    assert document["kinds"]["prompts"]["overlapping"] == 0
    assert document["kinds"]["base"] == {"rows": 1, "overlapping": 0}
    assert document["messages"] == 4


def test_the_text_of_a_base_that_is_trained_here_is_looked_at(tmp_path):
    document = found(tmp_path, ["Yes."] * 20, ["Nothing of the kind.", f"So {LONG} it was."])
    assert document["kinds"]["base"] == {"rows": 2, "overlapping": 1}


def test_nothing_that_is_trained_depends_on_the_comparison():
    extent = Extent(tuple(RANGES), "2023-01", "2023-01")
    recipe = load(SMOKE, [])
    names = [n for n in dag.build("smoke", recipe).nodes if n.startswith("dumps/")]
    made = dag.build("smoke", recipe, dict.fromkeys(names, extent))
    readers = [n.id for n in made.nodes.values() if dag.OVERLAP in n.inputs.values()]
    assert readers == ["report"]
    assert "source/base_text" in made.nodes[dag.OVERLAP].inputs.values()
    assert {f"threads/{span}" for span in RANGES} <= {*made.nodes[dag.OVERLAP].inputs.values()}


def test_without_an_unexposed_policy_nothing_is_compared():
    made = dag.build("smoke", load(SMOKE, ["policy.exposures=[reddit]"]))
    assert dag.OVERLAP not in made.nodes
