"""How a conversation is written down for a language model.

Every stage that turns conversations into text goes through ``render``, so that training,
fine-tuning, scoring and evaluation see the same bytes.
"""

from collections.abc import Iterable
from typing import TypedDict


class Turn(TypedDict):
    """One turn of a conversation: who speaks, and what."""

    role: str
    text: str


# The roles of a Reddit thread (a post's title and text, comments) and of an instruction dialogue.
LABELS = {
    "title": "Post",
    "text": "Text",
    "comment": "Comment",
    "user": "User",
    "assistant": "Assistant",
}


def render(turns: Iterable[Turn]) -> str:
    """The conversation as text, oldest turn first, ended by the cue for the next speaker.

    A reply is appended as ``" " + reply``. The cue is ``Assistant:`` after a user's turn and
    ``Reply:`` after anything else.
    """
    turns = list(turns)
    lines = [f"{LABELS[turn['role']]}: {turn['text']}" for turn in turns]
    cue = "Assistant:" if turns and turns[-1]["role"] == "user" else "Reply:"
    return "\n".join([*lines, cue])
