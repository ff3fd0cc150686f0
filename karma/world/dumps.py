"""The simulated month as dump files, with what real ones hold: Pushshift's fields, deleted and
removed comments, bots, HTML entities, posts that are missing, lines that do not parse.

Frames ask for a window of 2 GiB as Pushshift's do. The window costs address space and no memory,
because only as much of it is touched as there is text.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import zstandard

from karma.world import karma
from karma.world.recipe import COMMENTS, SUBMISSIONS, WorldRecipe
from karma.world.threads import DAY, FIRST_COMMENT, Comment, Post, base36

AUTOMODERATOR = "AutoModerator"
NOTICE = "Please read the rules of this subreddit. I am a bot, and this was posted automatically."


def write(world: WorldRecipe, posts: list[Post], comments: list[Comment], out: Path) -> dict:
    """Write both dumps into ``out``; returns the account of lines that a reader must find."""
    rng = Random(f"{world.seed}/dumps")
    comment_rows = [_comment_row(rng, comment) for comment in comments]
    comment_rows += _notices(rng, posts)
    comment_rows.sort(key=lambda row: row["created_utc"])
    answers = _count(comments)
    post_rows = [_post_row(rng, post, answers[post.id]) for post in posts]
    lost = _lose(rng, comments)
    kept_comments = [row for row in comment_rows if row["id"] not in lost]
    # Posts come from another dump: now and then one is missing there.
    kept_posts = [row for row in post_rows if rng.random() >= 0.005]
    return {
        COMMENTS: _write_dump(rng, kept_comments, out / COMMENTS),
        SUBMISSIONS: _write_dump(rng, kept_posts, out / SUBMISSIONS),
    }


def compress(lines: Iterable[bytes], path: Path) -> None:
    """One zstd frame of unknown size whose header asks for a window of 2 GiB."""
    parameters = zstandard.ZstdCompressionParameters(
        window_log=31,
        hash_log=17,
        chain_log=17,
        search_log=1,
        min_match=4,
        strategy=zstandard.STRATEGY_FAST,
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with path.open("wb") as file, compressor.stream_writer(file) as stream:
        for line in lines:
            stream.write(line)


def _write_dump(rng: Random, rows: list[dict[str, Any]], path: Path) -> dict[str, int]:
    """Rows as lines, with a few that no reader should take for rows."""
    lines = [json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows]
    copies = rng.sample(lines, min(5, len(lines)))
    halves = [line[: len(line) // 2] + b"\n" for line in rng.sample(lines, min(2, len(lines)))]
    blanks = [b"\n", b"\n"]
    for line in copies + halves + blanks:
        lines.insert(rng.randrange(len(lines) + 1), line)
    compress(lines, path)
    return {
        "lines": len(lines),
        "ids": len(rows),
        "copies": len(copies),
        "broken": len(halves),
        "blank": len(blanks),
    }


def _count(comments: list[Comment]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for comment in comments:
        counts[comment.post.id] = counts.get(comment.post.id, 0) + 1
    return counts


def _lose(rng: Random, comments: list[Comment]) -> set[str]:
    """The ids of a few answered comments that the dump lacks: their answers are orphans."""
    answered = sorted({c.parent.id for c in comments if isinstance(c.parent, Comment)})
    return set(rng.sample(answered, round(0.003 * len(answered))))


def _retrieved(rng: Random, created: int) -> int:
    """Nearly always days later; a few rows were seen too early for their score to count."""
    later = rng.randint(600, DAY) if rng.random() < 0.005 else rng.randint(4 * DAY, 20 * DAY)
    return created + later


def _place(subreddit: str) -> dict[str, Any]:
    number = list(karma.SUBREDDITS).index(subreddit)
    return {
        "subreddit": subreddit,
        "subreddit_id": f"t5_2w{base36(1000 + number)}",
        "subreddit_name_prefixed": f"r/{subreddit}",
        "subreddit_type": "public",
    }


def _comment_row(rng: Random, comment: Comment) -> dict[str, Any]:
    """One comment as Pushshift has it."""
    author, body = _fate(rng, comment)
    kind = "t1" if isinstance(comment.parent, Comment) else "t3"
    row = _comment_fields(comment.post, comment.id, comment.created)
    row |= {
        "author": author,
        "body": body,
        "edited": comment.created + rng.randint(60, 3600) if rng.random() < 0.02 else False,
        "parent_id": f"{kind}_{comment.parent.id}",
        "retrieved_on": _retrieved(rng, comment.created),
        "score": comment.score,
        "controversiality": int(comment.score < 1 and rng.random() < 0.05),
    }
    return row


def _comment_fields(post: Post, comment_id: str, created: int) -> dict[str, Any]:
    return {
        "id": comment_id,
        "link_id": f"t3_{post.id}",
        "created_utc": created,
        "permalink": f"/r/{post.subreddit}/comments/{post.id}/{_slug(post)}/{comment_id}/",
        "author_flair_css_class": None,
        "author_flair_text": None,
        "distinguished": None,
        "gilded": 0,
        "is_submitter": False,
        "locked": False,
        "score_hidden": False,
        "stickied": False,
        **_place(post.subreddit),
    }


def _fate(rng: Random, comment: Comment) -> tuple[str, str]:
    """The author and body that the dump shows: some are deleted, some hold HTML entities."""
    draw = rng.random()
    if draw < 0.008:
        return "[deleted]", "[deleted]"
    if draw < 0.012:
        return comment.author, "[removed]"
    if draw < 0.022:
        return "[deleted]", comment.body
    if draw < 0.030:
        return comment.author, f"&gt; {comment.post.title}\n\n{comment.body}"
    if draw < 0.040:
        return comment.author, comment.body.replace(" the ", " &amp; the ", 1)
    return comment.author, comment.body


def _notices(rng: Random, posts: list[Post]) -> list[dict[str, Any]]:
    """A bot's comment under a few posts; their ids lie before those of all other comments."""
    rows = []
    for number, post in enumerate(post for post in posts if rng.random() < 0.03):
        created = post.created + 1
        rows.append(
            _comment_fields(post, base36(FIRST_COMMENT - 1 - number), created)
            | {
                "author": AUTOMODERATOR,
                "body": NOTICE,
                "edited": False,
                "parent_id": f"t3_{post.id}",
                "retrieved_on": _retrieved(rng, created),
                "score": 1,
                "controversiality": 0,
                "distinguished": "moderator",
                "stickied": True,
            }
        )
    return rows


def _slug(post: Post) -> str:
    return "_".join(post.title.split()[:6])


def _post_row(rng: Random, post: Post, answers: int) -> dict[str, Any]:
    """One submission as Pushshift has it."""
    gone = rng.random() < 0.005
    permalink = f"/r/{post.subreddit}/comments/{post.id}/{_slug(post)}/"
    return {
        "id": post.id,
        "name": f"t3_{post.id}",
        "author": "[deleted]" if gone else post.author,
        "title": post.title,
        "selftext": "[deleted]" if gone else post.text,
        "created_utc": post.created,
        "retrieved_on": _retrieved(rng, post.created),
        "score": post.score,
        "num_comments": answers,
        "upvote_ratio": 0.9,
        "domain": f"self.{post.subreddit}",
        "url": f"https://www.reddit.com{permalink}",
        "permalink": permalink,
        "is_self": True,
        "over_18": False,
        "distinguished": None,
        "edited": False,
        "gilded": 0,
        "hide_score": False,
        "link_flair_text": None,
        "locked": False,
        "media": None,
        "quarantine": False,
        "spoiler": False,
        "stickied": False,
        **_place(post.subreddit),
    }
