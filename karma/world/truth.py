"""What is true of a text of the simulated world, measured from the text and ``truth.json`` alone.

Pure functions, for text that a model generated as for text that the simulator wrote. They look at
words only, so they hold in every register.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from karma.text import Turn

Truth = dict[str, Any]
Verdict = Literal["true", "myth", "false"]


def load(path: Path) -> Truth:
    """The world's ``truth.json``."""
    truth: Truth = json.loads(path.read_text(encoding="utf-8"))
    return truth


def answered(context: Sequence[Turn]) -> str:
    """The text that a reply to ``context`` answers: its last turn, or the whole post."""
    post = [turn["text"] for turn in context if turn["role"] in ("title", "text")]
    if context and context[-1]["role"] in ("title", "text"):
        return "\n".join(post)
    return context[-1]["text"] if context else ""


def tones(text: str, truth: Truth) -> dict[str, float]:
    """The probability of each tone given the tone words in ``text``; all equal without any.

    Bayes' rule with equal priors: a word that a text of one tone was sprinkled with belongs to
    that tone with probability ``truth["purity"]``, else to one of the others.
    """
    lexicons: dict[str, list[str]] = truth["lexicons"]
    purity: float = truth["purity"]
    own, strange = math.log(purity), math.log((1 - purity) / (len(lexicons) - 1))
    words = _words(text)
    known = {word for lexicon in lexicons.values() for word in lexicon}
    total = sum(word in known for word in words)
    logs = {}
    for tone, lexicon in lexicons.items():
        hits = sum(word in lexicon for word in words)
        logs[tone] = hits * own + (total - hits) * strange
    top = max(logs.values())
    weights = {tone: math.exp(value - top) for tone, value in logs.items()}
    return {tone: weight / sum(weights.values()) for tone, weight in weights.items()}


def tone(text: str, truth: Truth) -> str | None:
    """The most probable tone, or None where two are equally so."""
    ranked = sorted(tones(text, truth).items(), key=lambda item: -item[1])
    return ranked[0][0] if ranked[0][1] > ranked[1][1] + 1e-9 else None


def fit(answered_text: str, reply: str, truth: Truth) -> float:
    """How well the reply's tone fits what it answers: the expected entry of the world's table.

    From -1 to 1; the mean over the table is near 0.
    """
    asked, said = tones(answered_text, truth), tones(reply, truth)
    table: dict[str, dict[str, float]] = truth["fit"]
    return sum(asked[a] * said[s] * table[a][s] for a in asked for s in said)


def centred_fit(answered_text: str, reply: str, truth: Truth) -> float:
    """``fit`` less what a reply of this tone gets on average over all contexts.

    A policy that answers everything in one tone has 0 here, however welcome that tone is.
    """
    said = tones(reply, truth)
    table: dict[str, dict[str, float]] = truth["fit"]
    blind = sum(said[s] * sum(row[s] for row in table.values()) / len(table) for s in said)
    return fit(answered_text, reply, truth) - blind


def verdict(text: str, truth: Truth) -> Verdict | None:
    """Whether the first fact that ``text`` states is true, the myth, or wrong otherwise.

    None where it states no fact that the world knows.
    """
    values = {value for fact in truth["facts"] for value in (fact["true"], fact["myth"])}
    found = []
    words = " ".join(_words(text))
    for fact in truth["facts"]:
        match = re.search(rf"\b{fact['subject']} {fact['clause']} (?:the )?(\w+)", words)
        if match and match.group(1) in values:
            found.append((match.start(), match.group(1), fact))
    if not found:
        return None
    _, value, fact = min(found, key=lambda item: item[0])
    if value == fact["true"]:
        return "true"
    return "myth" if value == fact["myth"] else "false"


def rude(text: str, truth: Truth) -> bool:
    """Whether ``text`` holds one of the world's rude words."""
    return any(word in truth["rude"] for word in _words(text))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())
