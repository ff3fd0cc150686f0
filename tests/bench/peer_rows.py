"""A line of a dump to a typed comment in plain Python, by the rules that the stages keep.

What does not convert is unknown, user names are hashed, texts cleaned and masked.
"""

import hmac
import json
import re
from hashlib import sha256
from typing import Any, NamedTuple

from karma.dumps.privacy import masked, masked_head

GONE = {
    "",
    "[deleted]",
    "[removed]",
    "[deleted by user]",
    "[removed by reddit]",
    "[ removed by reddit ]",
}
BOTS = {"automoderator"}
ENTITIES = {"&lt;": "<", "&gt;": ">", "&#39;": "'", "&amp;": "&"}
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PROFILE = re.compile("u_", re.IGNORECASE)


class Comment(NamedTuple):
    """What is kept of a comment."""

    id: str
    thread_id: str
    parent_id: str | None
    parent_kind: str | None
    author: str | None
    bot: bool
    subreddit: str | None
    text: str | None
    score: int | None
    created_utc: int
    retrieved_on: int | None
    stickied: bool
    over_18: bool | None

    @property
    def age(self) -> int | None:
        """How long after it was written its score was read, in seconds."""
        return None if self.retrieved_on is None else self.retrieved_on - self.created_utc


class Reject(NamedTuple):
    """A line that was not used: where it begins, why, how it begins."""

    offset: int
    reason: str
    head: str


def comment(line: bytes, offset: int, salt: bytes) -> Comment | Reject:
    """The comment that a line is, or why it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return Reject(offset, "not JSON", masked_head(line, frozenset(), 4096))
    found = typed(row, salt) if isinstance(row, dict) else "not an object"
    if isinstance(found, str):
        return Reject(offset, found, masked_head(line, frozenset(), 4096))
    return found


def typed(row: dict[str, Any], salt: bytes) -> Comment | str:
    """A row with its types, or what is wrong with it."""
    link, body, author = row.get("link_id"), row.get("body"), row.get("author")
    created = integral(row.get("created_utc"))
    if not row.get("id"):
        return "no id"
    if not link:
        return "no link_id"
    if body is None:
        return "no body"
    if created is None:
        return "created_utc does not convert"
    thread = link.removeprefix("t3_")
    parent_kind, parent_id = parent(row.get("parent_id"), thread)
    second = (row.get("_meta") or {}).get("retrieved_2nd_on")
    subreddit = row.get("subreddit")
    if subreddit is not None and PROFILE.match(subreddit):
        subreddit = f"u_{keyed(subreddit[2:], salt)}"
    return Comment(
        row["id"].removeprefix("t1_"),
        thread,
        parent_id,
        parent_kind,
        author if author in (None, "[deleted]") else keyed(author, salt),
        author is not None and author.lower() in BOTS,
        subreddit,
        clean(body),
        integral(row.get("score")),
        created,
        integral(second if second is not None else row.get("retrieved_on")),
        bool(row.get("stickied")),
        row.get("over_18"),
    )


def integral(value: Any) -> int | None:
    """A whole number, however it is written; None for anything else."""
    if type(value) is int:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and not isinstance(value, bool) else None


def parent(value: Any, thread: str) -> tuple[str | None, str | None]:
    """Whether a comment or a post is answered, and its id; a bare number is the id's value."""
    if isinstance(value, str) and value.startswith("t1_"):
        return "comment", value[3:]
    if isinstance(value, str) and value.startswith("t3_"):
        return "post", value[3:]
    number = integral(value)
    if number is None or number <= 0:
        return None, None
    return ("post" if number == int(thread, 36) else "comment"), base36(number)


def base36(number: int) -> str:
    """A number as Reddit writes its ids."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return digits


def keyed(name: str, salt: bytes) -> str:
    """A user name's hash."""
    return hmac.digest(salt, name.lower().encode(), "sha256").hex()[:32]


def clean(text: str) -> str | None:
    """A text as a person reads it, and without names and addresses; None if it was deleted."""
    if len(text) < 64 and text.strip(" ").lower() in GONE:
        return None
    text = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    if "&" in text:
        for entity, sign in ENTITIES.items():
            text = text.replace(entity, sign)
    text = text.strip(" \t\n")
    return masked(text) if text else None


def share(purpose: str, thread: str) -> float:
    """A number in [0, 1) for a thread and a purpose."""
    return int(sha256(f"{purpose}:{thread}".encode()).hexdigest()[:8], 16) / 2**32
