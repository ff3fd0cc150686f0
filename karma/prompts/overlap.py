"""Whether what an unexposed policy learned from holds a row of Reddit: compared by text.

The lineage shows that no Reddit text was handed to the unexposed sft, prompts and a base trained
here (``karma.lineage``). This looks for text that came in another way: instruction data that quote
Reddit. A row holds a Reddit message if it shares a run of RUN words with it (Brown et al. 2020,
arXiv 2005.14165, appendix C, use 13), or if one of its turns is the message, which may then be as
short as LEAST words. Case and punctuation do not count.

Left out on purpose: the threads that ``threads`` left out, whose text no stage knows, and a base
that was not trained here, whose text nobody here knows.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from karma.jobs import Job, write_json
from karma.sft import data

RUN = 13
LEAST = 5
# Rows of conversations that are looked at together.
BATCH = 4096

Hashes = npt.NDArray[np.uint64]
WORD = re.compile(r"\w+")
# An odd number: a run's hash depends on the order of its words, and overflow wraps.
FACTOR = 0x9E3779B97F4A7C15


def run(job: Job) -> None:
    """Write ``overlap.json``: for each kind of text, how many rows there are and hold Reddit's."""
    kinds = list(_rows(job))
    owners = [np.full(len(found), row) for row, (_, found) in enumerate(kinds)]
    hashes = np.concatenate([found for _, found in kinds])
    known, places = np.unique(hashes, return_inverse=True)
    seen = np.zeros(len(known), dtype=bool)
    messages = 0
    folders = list(job.fan_in("threads").values())
    for done, folder in enumerate(folders):
        for texts in _messages(folder / "conversations.parquet"):
            messages += len(texts)
            _tick(known, seen, texts)
        job.progress(done + 1, len(folders), "ranges")
    guilty = set(np.concatenate(owners)[seen[places]].tolist())
    counts: dict[str, dict[str, int]] = {}
    for row, (kind, _) in enumerate(kinds):
        count = counts.setdefault(kind, {"rows": 0, "overlapping": 0})
        count["rows"] += 1
        count["overlapping"] += row in guilty
    document = {"run": RUN, "least": LEAST, "messages": messages, "kinds": counts}
    write_json(job.out / "overlap.json", document)
    for kind, count in counts.items():
        print(f"prompts: {kind}: {count['overlapping']} of {count['rows']} rows hold Reddit's text")


def _rows(job: Job) -> Iterator[tuple[str, Hashes]]:
    """The rows that an unexposed policy and its base learned from: kind, and what they hold."""
    source, path = job.config["instructions"], job.inputs.get("instructions")
    for example in data.unexposed(source, path, job.config["count"]):
        yield "sft", _hashes([*(turn["text"] for turn in example.turns), example.reply])
    table = pq.read_table(job.inputs["prompts"] / "prompts.parquet", columns=["turns"])
    for turns in table["turns"].to_pylist():
        yield "prompts", _hashes([turn["text"] for turn in turns])
    if "base_text" in job.inputs:
        with job.inputs["base_text"].open(encoding="utf-8") as lines:
            for line in lines:
                yield "base", _hashes([json.loads(line)["text"]])


def _messages(path: Path) -> Iterator[set[str]]:
    """All turns and replies of a range of conversations, in pieces, each once a piece."""
    for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=["context", "reply"]):
        rows: list[dict[str, Any]] = batch.to_pylist()
        texts = {row["reply"] for row in rows}
        texts.update(turn["text"] for row in rows for turn in row["context"])
        yield texts


def _tick(known: Hashes, seen: npt.NDArray[np.bool_], texts: Iterable[str]) -> None:
    """Mark in ``seen`` which of the ``known`` hashes, in order, ``texts`` have."""
    if not len(known):
        return
    found = _hashes(texts)
    places = np.searchsorted(known, found).clip(max=len(known) - 1)
    seen[places[known[places] == found]] = True


def _hashes(texts: Iterable[str]) -> Hashes:
    """A number for every run of RUN words of each text, or for the whole of a shorter one."""
    parts = [np.zeros(0, np.uint64)]
    for text in texts:
        words = np.array([_word(w) for w in WORD.findall(text.lower())], dtype=np.uint64)
        size = min(len(words), RUN)
        if size < LEAST:
            continue
        runs = np.lib.stride_tricks.sliding_window_view(words, size)
        powers = np.array([pow(FACTOR, size - k, 1 << 64) for k in range(size)], dtype=np.uint64)
        parts.append((runs * powers).sum(1, dtype=np.uint64))
    return np.concatenate(parts)


@lru_cache(maxsize=1 << 18)
def _word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
