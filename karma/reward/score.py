"""A reward model as everybody uses it: load a folder, score replies.

A trained model, the hash, the length and a weighted sum answer alike: one standardised number a
reply, with the statistics that the artefact froze.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Protocol

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from karma.errors import InputError
from karma.memory import Budget
from karma.pretrained import SAFE, WEIGHTS, loading
from karma.reward.head import keep_single
from karma.reward.objectives import pad
from karma.reward.views import Slot, View
from karma.text import Turn, render

# Tokens, padding included, of one forward pass; less where memory runs out.
BUDGET = 16_384


class Scorer(Protocol):
    """Something that gives each reply a raw reward, in its own units.

    ``needs`` names what it reads beside the reply: ``context`` and fields of the slot. ``neutral``
    is the slot of prompts that have none, where it reads a slot.
    """

    needs: frozenset[str]
    neutral: Slot | None

    def raw(
        self, turns: Sequence[list[Turn]], replies: Sequence[str], slots: Sequence[Slot | None]
    ) -> list[float]:
        """One number a reply, in the order given."""
        ...


class Hash:
    """``random``: a standard normal number that SHA-256 draws from (seed, prompt, reply)."""

    needs = frozenset({"context"})
    neutral: Slot | None = None

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def raw(
        self,
        turns: Sequence[list[Turn]],
        replies: Sequence[str],
        slots: Sequence[Slot | None],  # noqa: ARG002 - as all scorers; it sees no slot
    ) -> list[float]:
        """One draw a reply; the same for the same seed, prompt and reply anywhere."""
        normal = NormalDist()
        drawn = []
        for row, reply in zip(turns, replies, strict=True):
            text = json.dumps([self.seed, render(row), reply])
            number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
            drawn.append(normal.inv_cdf((number + 0.5) / 2**48))
        return drawn


class Length:
    """``length``: the logarithm of one plus the reply's characters."""

    needs: frozenset[str] = frozenset()
    neutral: Slot | None = None

    def raw(
        self,
        turns: Sequence[list[Turn]],  # noqa: ARG002 - as all scorers; it sees the reply alone
        replies: Sequence[str],
        slots: Sequence[Slot | None],  # noqa: ARG002 - as all scorers; it sees the reply alone
    ) -> list[float]:
        """One length a reply."""
        return [math.log1p(len(reply)) for reply in replies]


class Model:
    """A trained variant: its view, read by its sequence classifier."""

    def __init__(self, folder: Path, view: View, device: str) -> None:
        self.view = view
        self.needs = frozenset(view.fields) | ({"context"} if view.context else frozenset())
        self.neutral = view.neutral
        self.device = device
        self.cut: Counter[str] = Counter()
        self.budget = Budget("tokens", BUDGET)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, **WEIGHTS
        )
        keep_single(model)
        self.model = model.to(device).eval()
        self.half_precision = torch.device(device).type == "cuda"

    @torch.no_grad()
    def raw(
        self, turns: Sequence[list[Turn]], replies: Sequence[str], slots: Sequence[Slot | None]
    ) -> list[float]:
        """The classifier's single output for each view."""
        ids, counts = self.view.encode(self.tokenizer, turns, replies, slots)
        self.cut += counts
        longest = max(len(row) for row in ids)
        return self.budget.fit(lambda size: self._read(ids, size), longest)

    def _read(self, ids: list[list[int]], budget: int) -> list[float]:
        """The output for each row, ``budget`` tokens in a pass; on a card in half precision, as the
        model was trained."""
        rewards = [0.0] * len(ids)
        kind = torch.device(self.device).type
        # Autocast forgets at its end what it cast, so one for all batches casts each weight once.
        with torch.autocast(kind, torch.bfloat16, enabled=self.half_precision):
            for batch in _batches(ids, budget):
                tokens, mask = pad([ids[row] for row in batch], self.tokenizer.pad_token_id)
                output = self.model(
                    input_ids=tokens.to(self.device), attention_mask=mask.to(self.device)
                )
                for row, reward in zip(batch, output.logits.squeeze(-1).tolist(), strict=True):
                    rewards[row] = reward
        return rewards


class Sum:
    """A weighted sum of standardised terms."""

    def __init__(self, terms: dict[str, tuple[float, "RewardModel"]]) -> None:
        self.terms = terms
        scorers = [model.scorer for _, model in terms.values()]
        self.needs: frozenset[str] = frozenset[str]().union(*(scorer.needs for scorer in scorers))
        # The terms learnt from the same rows, so their neutral slots are one and the same.
        self.neutral: Slot | None = next(
            (s.neutral for s in scorers if s.neutral is not None), None
        )

    def weighted(
        self, turns: Sequence[list[Turn]], replies: Sequence[str], slots: Sequence[Slot | None]
    ) -> dict[str, list[float]]:
        """What each term adds to each reply's sum."""
        return {
            name: [weight * reward for reward in model.score(turns, replies, slots)]
            for name, (weight, model) in self.terms.items()
        }


class RewardModel:
    """A loaded artefact of ``reward``: ``name`` is its variant's, or ``gold``."""

    def __init__(self, name: str, scorer: Scorer | Sum, mean: float, deviation: float) -> None:
        self.name = name
        self.scorer = scorer
        self.mean = mean
        self.deviation = deviation

    def score(
        self,
        turns: Sequence[list[Turn]],
        replies: Sequence[str],
        slots: Sequence[Slot | None],
    ) -> list[float]:
        """Standardised rewards in the order given; a slot of None is the view's neutral slot."""
        return self.explained(turns, replies, slots)[0]

    @property
    def cut(self) -> Counter[str]:
        """How many views lost their oldest turns or the end of the reply to the limit of tokens
        since the model was loaded (``View.encode``); for a sum, over its terms."""
        match self.scorer:
            case Model(cut=counts):
                return counts
            case Sum(terms=terms):
                return sum((model.cut for _, model in terms.values()), Counter())
            case _:
                return Counter()

    def explained(
        self, turns: Sequence[list[Turn]], replies: Sequence[str], slots: Sequence[Slot | None]
    ) -> tuple[list[float], dict[str, list[float]]]:
        """What ``score`` gives, and what each term adds to it before the sum is standardised ({} if
        it is no sum)."""
        if not replies:
            return [], {}
        if isinstance(self.scorer, Sum):
            terms = self.scorer.weighted(turns, replies, slots)
            raw = [sum(row) for row in zip(*terms.values(), strict=True)]
        else:
            terms, raw = {}, self.scorer.raw(turns, replies, slots)
        return [(reward - self.mean) / self.deviation for reward in raw], terms


def _batches(ids: list[list[int]], budget: int) -> list[list[int]]:
    """Positions of rows, shortest first, in batches of at most ``budget`` tokens with padding."""
    batches: list[list[int]] = []
    current: list[int] = []
    for row in sorted(range(len(ids)), key=lambda row: len(ids[row])):
        if current and len(ids[row]) * (len(current) + 1) > budget:
            batches.append(current)
            current = []
        current.append(row)
    return [*batches, current] if current else batches


def view_of(document: dict[str, Any]) -> View:
    """The view that ``reward.json`` declares."""
    view = document["view"]
    return View(view["context"], tuple(view["fields"]), view["max_tokens"], document["neutral"])


def check_device(device: str) -> None:
    """Raise InputError unless ``device`` is ``cpu``, or ``cuda`` and a card is there."""
    if device != "cpu" and not (device == "cuda" and torch.cuda.is_available()):
        known = device == "cuda"
        reason = "this machine has no CUDA card" if known else "there is no such device"
        raise InputError(f"device {device}", reason, "Give cpu, or cuda where there is a card.")


def load(folder: Path, device: str = "cpu") -> RewardModel:
    """The reward model in ``folder``, an artefact or an export. Raises InputError if it is none, or
    if it is broken."""
    path = folder / "reward.json"
    if not path.is_file():
        raise InputError(
            str(folder), "it holds no reward.json, so it is no reward model", "Give another folder."
        )
    with loading(str(folder), "Give an artefact of the stage reward, or what karma export wrote."):
        document = json.loads(path.read_text(encoding="utf-8"))
        scorer = _scorer(folder, document, device)
        return RewardModel(document["name"], scorer, document["mean"], document["deviation"])


def _scorer(folder: Path, document: dict[str, Any], device: str) -> Scorer | Sum:
    match document["kind"]:
        case "model":
            weights = folder / "model"
            return Model(weights if weights.is_dir() else folder, view_of(document), device)
        case "random":
            return Hash(document["seed"])
        case "length":
            return Length()
        case "sum":
            return Sum(
                {
                    name: (weight, load(folder / "terms" / name, device))
                    for name, weight in sorted(document["terms"].items())
                }
            )
        case kind:
            raise ValueError(f"there is no kind {kind!r} of reward")
