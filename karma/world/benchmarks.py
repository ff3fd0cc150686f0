"""Small benchmarks of the simulated world, in the files and columns of the real ones."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from karma.errors import CheckError
from karma.world import grammar, prose

Item = TypeVar("Item")

# The scores that RealToxicityPrompts has of each text.
PERSPECTIVE = (
    "profanity", "sexually_explicit", "identity_attack", "flirtation", "threat", "insult",
    "severe_toxicity", "toxicity",
)  # fmt: skip


def write(seed: int, facts: list[grammar.Fact], count: int, out: Path) -> dict[str, int]:
    """Write every benchmark with about ``count`` items into ``out``; returns items by name."""
    (out / "mmlu").mkdir(parents=True)
    writers: dict[str, Callable[[Random], int]] = {
        "humor": lambda rng: _humor(rng, count, out / "colbert_humor.csv"),
        "sentiment": lambda rng: _sentiment(rng, count, out),
        "truthfulqa": lambda rng: _truthfulqa(rng, facts, count, out / "truthfulqa_mc.json"),
        "mmlu": lambda rng: _mmlu(rng, facts, count, out / "mmlu"),
        "crows_pairs": lambda rng: _crows_pairs(rng, count, out / "crows_pairs.csv"),
        "toxicity": lambda rng: _toxicity(rng, count, out / "realtoxicityprompts.jsonl"),
        "implicature": lambda rng: _implicature(rng, count, out / "implicature.csv"),
    }
    # A generator of its own for each: one more item here leaves the others as they are.
    return {name: write_(Random(f"{seed}/{name}")) for name, write_ in writers.items()}


def _distinct(draw: Callable[[], Item], count: int, text: Callable[[Item], str]) -> list[Item]:
    """``count`` items with different texts."""
    found: dict[str, Item] = {}
    for _ in range(100 * count):
        item = draw()
        found.setdefault(text(item), item)
        if len(found) == count:
            return list(found.values())
    raise CheckError(f"the grammar has no {count} different items")


def _rows(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _humor(rng: Random, count: int, path: Path) -> int:
    def draw() -> tuple[str, bool]:
        joke = rng.random() < 0.5
        tone = "joke" if joke else grammar.other(rng, grammar.TONES, "joke")
        return prose.passage(rng, tone), joke

    items = _distinct(draw, count, lambda item: item[0])
    _rows(path, [["text", "humor"], *map(list, items)])
    return len(items)


def _sentiment(rng: Random, count: int, out: Path) -> int:
    def draw() -> tuple[str, int]:
        label = rng.randrange(3)
        return prose.passage(rng, list(prose.SENTIMENTS)[label]), label

    items = _distinct(draw, count, lambda item: item[0])
    texts = "".join(f"{text}\n" for text, _ in items)
    labels = "".join(f"{label}\n" for _, label in items)
    (out / "sentiment_text.txt").write_text(texts, encoding="utf-8")
    (out / "sentiment_labels.txt").write_text(labels, encoding="utf-8")
    return len(items)


def _truthfulqa(rng: Random, facts: list[grammar.Fact], count: int, path: Path) -> int:
    """Every fact is asked once before any is asked again, in the next wording."""
    items = []
    for number in range(count):
        fact = facts[number % len(facts)]
        template = prose.QUESTIONS[number // len(facts) % len(prose.QUESTIONS)]
        wrong = [value for value in prose.options(rng, fact, 4) if value != fact.true]
        true, myth = prose.answer(fact, fact.true), prose.answer(fact, fact.myth)
        false = {prose.answer(fact, value): 0 for value in wrong}
        items.append(
            {
                "question": prose.ask(template, fact),
                "mc0_targets": {true: 1, myth: 0},
                "mc1_targets": {true: 1, myth: 0} | false,
                "mc2_targets": {true: 1, prose.inverse(fact, fact.true): 1, myth: 0}
                | {prose.inverse(fact, fact.myth): 0}
                | false,
            }
        )
    path.write_text(json.dumps(items, indent=1) + "\n", encoding="utf-8")
    return count


def _mmlu(rng: Random, facts: list[grammar.Fact], count: int, folder: Path) -> int:
    """A file for each relation and one that asks the other way round.

    As in the real files, rows are broken by a comma that is not quoted: one in each.
    """
    share = count // 3
    written = 0
    for relation in grammar.RELATIONS:
        known = [fact for fact in facts if fact.relation == relation]
        rows = [_value_row(rng, known[n % len(known)], n // len(known)) for n in range(share)]
        written += _subject(folder / f"{relation.name}_test.csv", rows)
    rows = [_landmark_row(rng, facts[n % len(facts)]) for n in range(share)]
    return written + _subject(folder / "landmarks_test.csv", rows)


def _value_row(rng: Random, fact: grammar.Fact, wording: int) -> list[Any]:
    values = prose.options(rng, fact, 4)
    template = prose.QUESTIONS[wording % len(prose.QUESTIONS)]
    return [prose.ask(template, fact), *values, values.index(fact.true)]


def _landmark_row(rng: Random, fact: grammar.Fact) -> list[Any]:
    subjects = [fact.subject, *rng.sample([s for s in grammar.SUBJECTS if s != fact.subject], 3)]
    rng.shuffle(subjects)
    asked = f"Which landmark {fact.relation.clause} {fact.true}?"
    options = [f"the {subject}" for subject in subjects]
    return [asked, *options, subjects.index(fact.subject)]


def _subject(path: Path, rows: list[list[Any]]) -> int:
    """Write one subject; its last row is broken, so it holds one item less than rows."""
    last = rows[-1]
    rows[-1] = ["As far as we know", f" {last[0].lower()}", *last[1:]]
    _rows(path, [["question", "A", "B", "C", "D", "answer"], *rows])
    return len(rows) - 1


def _crows_pairs(rng: Random, count: int, path: Path) -> int:
    """The sentence that stereotypes more against the one that stereotypes less, also in the seventh
    of the items that are labelled ``antistereo``, as in the real file."""

    def draw() -> list[str]:
        kind, blamed, spared = prose.groups(rng)
        direction = "antistereo" if rng.random() < 1 / 7 else "stereo"
        return [blamed, spared, direction, kind]

    items = _distinct(draw, count, lambda item: min(item[:2]))
    header = ["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"]
    header += ["annotations", "anon_writer", "anon_annotators"]
    rows = [
        [number, *item, str([[item[3]]] * 5), "a0", str([f"a{n}" for n in range(1, 6)])]
        for number, item in enumerate(items)
    ]
    _rows(path, [header, *rows])
    return count


def _toxicity(rng: Random, count: int, path: Path) -> int:
    """Half-sentences, a third with a rude word, each with the scores of its half."""

    def draw() -> tuple[str, str, bool, bool]:
        rude_start, rude_end = rng.random() < 0.3, rng.random() < 0.4
        start, end = prose.description(rng, rude_end)
        if rude_start:
            start = f"You {rng.choice(grammar.RUDE)}! {start}"
        return start, end, rude_start, rude_end

    items = _distinct(draw, count, lambda item: item[0] + item[1])
    lines = []
    for number, (start, end, rude_start, rude_end) in enumerate(items):
        row = {
            "filename": f"{number:07d}.txt",
            "begin": 0,
            "end": len(start + end),
            "challenging": rude_start,
            "prompt": _scored(rng, start, rude_start, scored=number % 40 != 39),
            "continuation": _scored(rng, end, rude_end, scored=True),
        }
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return count


def _scored(rng: Random, text: str, rude: bool, scored: bool) -> dict[str, Any]:
    low, high = (0.6, 0.97) if rude else (0.02, 0.3)
    scores = {name: round(rng.uniform(low, high), 6) if scored else None for name in PERSPECTIVE}
    return {"text": text, **scores}


def _implicature(rng: Random, count: int, path: Path) -> int:
    items = _distinct(lambda: prose.liking(rng), count, lambda item: item[0] + item[1])
    header = ["Context utterance", "Response utterance", "Implicature"]
    _rows(path, [header, *([asked, said, "Yes." if yes else "No."] for asked, said, yes in items)])
    return count
