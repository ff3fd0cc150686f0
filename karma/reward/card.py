"""The model card of a reward model: what it sees, to the letter, what it learnt, how good it is."""

from typing import Any

from karma.reward.score import view_of
from karma.reward.views import Slot
from karma.text import Turn

# An invented reply, shown as the model sees it.
TURNS: list[Turn] = [
    {"role": "title", "text": "My cat has learnt to open the fridge"},
    {"role": "comment", "text": "Mine only opens it at night."},
]
REPLY = "Then who turns on the light?"
SLOT: Slot = {
    "subreddit": "cats",
    "depth": 2,
    "delay": 700,
    "hour": 14,
    "parent_score": 21,
}

SEES = {
    "random": "Nothing: a standard normal number that SHA-256 draws from (seed, prompt, reply).",
    "length": "The length of the reply: the logarithm of one plus its characters.",
}
MEASURES = ("spearman", "pearson", "pair_accuracy", "f1")


def card(document: dict[str, Any], objective: dict[str, float], metrics: dict[str, float]) -> str:
    """The card as Markdown, from ``reward.json``, the recipe's objective and the metrics."""
    sections = [
        f"# Reward model `{document['name']}`, seed {document['seed']}",
        "Says how a reply will be valued by the readers of a Reddit thread. Rewards are "
        "standardised with the mean and deviation of the validation threads, frozen in "
        "`reward.json`.",
        "## What it sees",
        *_sees(document),
        "## What it learnt",
        *_learnt(document, objective),
        "## How good it is",
        f"On {metrics['rows']:.0f} replies and {metrics['pairs']:.0f} pairs of test threads; 95 % "
        "intervals from a bootstrap over threads. Length and shuffled: the reply's length, and "
        "these rewards given to other replies, on the same rows.",
        _table(metrics),
    ]
    return "\n\n".join(sections) + "\n"


def _sees(document: dict[str, Any]) -> list[str]:
    kind = document["kind"]
    if kind == "sum":
        rows = [f"| `{name}` | {weight} |" for name, weight in sorted(document["terms"].items())]
        return [
            "A weighted sum of these, each standardised first; their cards lie in `terms/`.",
            "\n".join(["| term | weight |", "|---|---|", *rows]),
        ]
    if kind != "model":
        return [SEES[kind]]
    view = view_of(document)
    lines = [
        f"Context: {'yes' if view.context else 'no'}. "
        f"Metadata: {', '.join(view.fields) or 'none'}. At most {view.max_tokens} tokens: the "
        "oldest turns are dropped first, the title never, and the end of a reply only if title "
        "and reply alone are longer.",
        "An invented reply, as the model sees it (the tokenizer's end token follows):",
        f"```\n{view.text(TURNS, REPLY, SLOT)}\n```",
    ]
    if view.fields:
        lines += [
            "In order: subreddit, depth, time since the parent, hour (UTC), the parent's score; "
            "rounded down to powers of two, hours to multiples of three; `?` is unknown. Where a "
            "prompt has no slot, this neutral one stands in (training medians):",
            f"```\n{view.text([], '', None).splitlines()[0]}\n```",
        ]
    return lines


def _learnt(document: dict[str, Any], objective: dict[str, float]) -> list[str]:
    if "training" not in document:
        return ["Nothing; only the standardisation is fitted."]
    training, cut = document["training"], document["training"]["cut"]
    return [
        f"From {training['rows']} replies and {training['pairs']} pairs of threads whose use is "
        f"`{document['use']}`, in {training['steps']} steps. Of the replies, "
        f"{cut['turns_dropped']} lost their oldest turns and {cut['reply_cut']} the end of the "
        "reply to the limit of tokens.",
        "Objective: "
        + ", ".join(f"{name} {weight}" for name, weight in sorted(objective.items()))
        + ". Pairs: Bradley-Terry with a margin and centring. Regression: squared error against "
        "the normal score of the valuation, on every reply.",
    ]


def _table(metrics: dict[str, float]) -> str:
    lines = ["| measure | value | interval | length | shuffled |", "|---|---|---|---|---|"]
    for name in MEASURES:
        if name in metrics:
            low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
            lines.append(
                f"| {name} | {metrics[name]:.3f} | {low:.3f} to {high:.3f} "
                f"| {metrics[f'length_{name}']:.3f} | {metrics[f'shuffled_{name}']:.3f} |"
            )
    return "\n".join(lines)
