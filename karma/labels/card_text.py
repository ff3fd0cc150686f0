"""The data card's words: Markdown, made of the profile, the recipe's sections and nothing else."""

from typing import Any

from karma.markdown import plain, table

# Why a comment is no reply to learn from, and the settings of ``threads`` that decide it; in the
# order in which they are asked, and the first one counts.
FILTERS: dict[str, tuple[str, ...]] = {
    "orphan": ("orphans",),
    "subreddit": ("subreddits", "exclude_subreddits"),
    "deleted": (),
    "bot": ("bots",),
    "stickied": ("stickied",),
    "over_18": ("over_18",),
    "immature": ("min_age_hours",),
    "short": ("min_chars",),
    "long": ("max_chars",),
    "language": ("languages",),
    "duplicate": ("duplicate_chars",),
}
ACCOUNT = {
    "rows": "rows of comments in the dumps",
    "duplicates": "− copies of a comment, of which the latest counts",
    "comments": "= comments",
    "threads": "in threads",
    "reached": "comments whose chain begins under the post (reached)",
    "broken": "+ comments below a missing one (broken)",
    "circular": "+ comments whose chain runs in a circle (circular)",
    "posts": "posts",
    "post_duplicates": "copies of a post, of which the latest counts",
    "threads_without_post": "threads whose post is in no dump",
    "post_missing": "comments of these that are reached; their context starts without it "
    "(post_missing)",
}
SIMULATED = (
    "The dumps come from the project's simulator: no person wrote them, and they say nothing about "
    "real communities."
)


def render(profile: dict[str, Any], config: dict[str, Any], figures: list[str]) -> str:
    """The card; ``figures`` are the files beside it."""
    threads, recipe = profile["threads"], config["threads"]
    blocks = [
        "# Data card: conversations and their labels",
        *([f"> {SIMULATED}"] if config["simulated"] else []),
        _summary(profile),
        "## Where the data come from",
        *_dumps(profile["dumps"]),
        "## Threads",
        _account(threads),
        "## What a context holds",
        _context(recipe),
        "## What was filtered, and why",
        *_filtered(threads, recipe),
        *_figure("filtered.png", figures),
        "## Splits and uses",
        *_uses(threads["uses"], recipe),
        "## Scores, depths, ages, subreddits",
        *_replies(profile, config, figures),
        "## Labels",
        *_labels(profile, config["labels"], figures),
        "## Privacy and terms",
        *_privacy(profile["dumps"], config),
        "## What to keep in mind",
        _limits(),
    ]
    return "\n\n".join(blocks) + "\n"


def _summary(profile: dict[str, Any]) -> str:
    threads, labels, span = profile["threads"], profile["labels"], profile["span"]
    kept = sum(use["threads"] for use in threads["uses"].values())
    pairs = sum(labels["pairs"].values())
    return (
        f"{threads['conversations']:,} conversations (a reply with what stands before it) of "
        f"{kept:,} threads in {_several(span['subreddits'], 'subreddit')}, written between "
        f"{span['earliest']} and {span['latest']} (UTC). {labels['scored']:,} replies have a "
        f"valuation, and {pairs:,} pairs of them a preference."
    )


def _dumps(dumps: dict[str, dict[str, Any]]) -> list[str]:
    keys = ("lines", "rows", "rejected", "blank")
    head = ["dump", "kind", "lines or records", "= rows", "+ rejected", "+ blank"]
    rows = [[name, d["kind"], *(f"{d[key]:,}" for key in keys)] for name, d in dumps.items()]
    return [
        table(head, rows, left=2),
        *_by_dump("Rejected, and why:", "reason", "reasons", dumps),
        *_by_dump(
            "Values of optional fields that did not convert; they count as unknown:",
            "field",
            "unconverted",
            dumps,
        ),
    ]


def _by_dump(title: str, head: str, key: str, dumps: dict[str, dict[str, Any]]) -> list[str]:
    """A table of what was counted in each dump; a sentence if there was nothing."""
    rows = [
        [name, what, f"{count:,}"]
        for name, dump in dumps.items()
        for what, count in sorted(dump[key].items())
        if count
    ]
    return [title, table(["dump", head, "lines"], rows, left=2)] if rows else [f"{title} none."]


def _account(threads: dict[str, Any]) -> str:
    counts = threads | threads["unreachable"]
    rows = [[words, f"{counts[key]:,}"] for key, words in ACCOUNT.items()]
    return table(["what", "count"], rows)


def _context(recipe: dict[str, Any]) -> str:
    post = "It begins with the post's title and text" if recipe["post"] else "The post is left out"
    turns = _several(recipe["turns"], "comment")
    orphans = {
        "drop": "Replies below a missing comment are dropped.",
        "keep": "Replies below a missing comment are kept with what there is of their chain.",
    }
    return (
        f"{post}; then stand at most {turns}, the nearest ones above the reply, oldest first. "
        f"For a deleted or removed one stands “{plain(recipe['deleted'])}”. "
        f"{orphans[recipe['orphans']]} "
        "Scores of the turns are no part of the text; the parent's score is a column of its own."
    )


def _filtered(threads: dict[str, Any], recipe: dict[str, Any]) -> list[str]:
    counts = dict.fromkeys(FILTERS, 0) | threads["filtered"]
    rows = [
        [
            reason,
            _settings(FILTERS.get(reason, ()), recipe),
            f"{n:,}",
            _share(n, threads["comments"]),
        ]
        for reason, n in counts.items()
    ]
    kept = threads["conversations"]
    rows.append(["kept", "–", f"{kept:,}", _share(kept, threads["comments"])])
    passed = f"{threads['age_unknown']:,} of unknown age"
    if "language_unknown" in threads:
        passed += f", {threads['language_unknown']:,} of unknown language"
    return [
        "A comment that is no reply to learn from may still stand in a context. Each counts once, "
        "under the first reason that holds.",
        table(["reason", "the recipe says", "comments", "share"], rows, left=2),
        f"Not filtered, because nobody can tell: {passed}.",
    ]


def _settings(names: tuple[str, ...], recipe: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {_said(recipe[name])}" for name in names) or "always"


def _said(value: Any) -> str:
    """A setting's value in words."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def _uses(uses: dict[str, dict[str, int]], recipe: dict[str, Any]) -> list[str]:
    split, weights = recipe["split"], recipe["uses"]
    train = 1 - split["test"] - split["validation"]
    total = sum(weights.values())
    asked = {use: train * weight / total for use, weight in weights.items()} | split
    nothing = {"threads": 0, "conversations": 0}
    threads = sum(use["threads"] for use in uses.values())
    rows = [
        [
            use,
            f"{share:.1%}",
            _share(found["threads"], threads),
            f"{found['threads']:,}",
            f"{found['conversations']:,}",
        ]
        for use, share in asked.items()
        for found in [uses.get(use, nothing)]
    ]
    head = ["use", "share asked for", "share of threads", "threads", "conversations"]
    return [
        "Whole threads fall to a use by a hash of their id, the same for ever: the uses of "
        "training threads, then what is held out.",
        table(head, rows),
    ]


def _replies(profile: dict[str, Any], config: dict[str, Any], figures: list[str]) -> list[str]:
    threads = profile["threads"]
    unknown = threads["score_unknown"]
    hours = config["threads"]["min_age_hours"]
    whole = threads["conversations"]
    subreddits = [[name, f"{n:,}", _share(n, whole)] for name, n in profile["subreddits"]]
    return [
        f"Scores: {whole - unknown:,} known, {unknown:,} unknown; bins double in width.",
        *_figure("scores.png", figures),
        "Depth is counted from the post; below a missing comment it is unknown.",
        *_figure("depths.png", figures),
        f"Age is the time from writing to the reading of the score. Replies younger than {hours:g} "
        f"hours were filtered; of unknown age: {threads['age_unknown']:,}.",
        *_figure("ages.png", figures),
        f"The largest subreddits, of {profile['span']['subreddits']:,}:",
        table(["subreddit", "conversations", "share"], subreddits),
        *_figure("subreddits.png", figures),
    ]


def _labels(profile: dict[str, Any], recipe: dict[str, Any], figures: list[str]) -> list[str]:
    labels = profile["labels"]
    within = " and ".join(recipe["valuation"]["within"]) or "all replies"
    scopes = [[scope, f"{n:,}"] for scope, n in labels["valued_within"].items()]
    levels = [[level, f"{n:,}"] for level, n in labels["levels"].items()]
    pairs = [[use, f"{n:,}"] for use, n in labels["pairs"].items()]
    asked = ", ".join(f"{name} {_said(value)}" for name, value in recipe["pairs"].items())
    return [
        f"A valuation is a score's percentile within {within}, fitted on the training split; a "
        f"group of fewer than {recipe['valuation']['min_group']:,} training replies gives way to "
        f"a wider one. Without a score, and so without a valuation: {labels['null_scores']:,}.",
        table(["valued within", "replies"], scopes),
        "Levels of endorsement (0: karma of 1 or less; above it, cut again and again at the "
        "median):",
        table(["level", "replies"], levels),
        "Pairs of replies to one parent, the one with the higher score preferred "
        f"({plain(asked)}):",
        table(["pairs of", "pairs"], pairs) if pairs else "None.",
        *_figure("margins.png", figures),
    ]


def _privacy(dumps: dict[str, dict[str, Any]], config: dict[str, Any]) -> list[str]:
    removed = sum(dump["reasons"].get("removed", 0) for dump in dumps.values())
    listed = (
        f"Lines of authors on the removal list: {removed:,}, rejected, none of their text kept."
        if config["removed"]
        else "No removal list was given."
    )
    return [
        "User names are kept as keyed hashes only (HMAC-SHA-256; the salt is stored nowhere). "
        "Mentions of users, e-mail addresses and phone numbers are masked in all texts, and in "
        f"what is kept of rejected lines. {listed} Whatever else people say about themselves or "
        "others stays in their words, so the data are less personal, not anonymous.",
        "The text is its authors'. Reddit's terms and the licence of the dumps bind whoever uses "
        "it; conversations, and models trained on them, are not to be published without checking "
        "what they allow. A user who deletes a comment is not followed: a dump holds what was "
        "there when it was made.",
    ]


def _limits() -> str:
    return "\n".join(
        [
            "- A score says what was voted for, not what is good, and Reddit blurs it.",
            "- A score grows with the time and the place in which a reply was seen; valuations "
            "level out the subreddit and the age, not the thread.",
            "- Removed replies are missing: what moderators and authors took away is not in "
            "the labels.",
        ]
    )


def _figure(name: str, figures: list[str]) -> list[str]:
    return [f"![{name.removesuffix('.png')}]({name})"] if name in figures else []


def _share(count: int, whole: int) -> str:
    return f"{count / max(whole, 1):.1%}"


def _several(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
