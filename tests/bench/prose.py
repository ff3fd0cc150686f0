"""What comments say, as JSON strings: words that are made up, as frequent as words are.

Among them stands what a reader of dumps must cope with: quotes, line ends, HTML entities, links,
signs beyond ASCII, and mentions, addresses and phone numbers that are to be masked.
"""

import json
from itertools import pairwise

import numpy as np

SYLLABLES = "ba de ki lo mu na pe ri so tu ven gar lis mon ter win zo cha fer hol"
COMMON = (
    "the to a and of I it is that in you for this was on my with they have be are but not as just "
    "if like so what at me your can or don't do about it's he there all people would from get more"
)
WORDS = 40_000
# Per 10,000 words.
MARKS = {
    "\N{FACE WITH TEARS OF JOY}": 3,
    "\N{THUMBS UP SIGN}": 1,
    "&amp;": 4,
    "&gt;": 3,
    "café": 2,
    "你好": 1,
    "\n\n": 60,
    "\n\n&gt;": 6,
    '"so"': 15,
    "**edit:**": 3,
    "[here](https://example.com/a?b=1&amp;c=2)": 4,
    "u/some_user": 2,
    "somebody@example.org": 0.3,
    "+1 (555) 010-4477": 0.3,
}
SHORT = ("This.", "Thanks!", "lol", "Same", "Nice", "What?", "Yes", "No", "F", "Agreed")
COPIED = 100
DELETED, REMOVED = '"[deleted]"', '"[removed]"'
NOTICE = json.dumps(
    "Thank you for your submission!\n\n*I am a bot, and this action was performed automatically. "
    "Please [contact the moderators](/message/compose/) if you have any questions or concerns.*"
)


class Prose:
    """A vocabulary, and comments made of it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        syllables = SYLLABLES.split()
        made = ["".join(rng.choice(syllables, length)) for length in rng.integers(1, 5, WORDS)]
        words = COMMON.split() + made
        frequency = 1 / (np.arange(len(words)) + 2.7)
        frequency /= frequency.sum()
        # A word in twelve ends a clause, and the next one may be a name.
        signs = rng.choice([*".,?!:"], len(words)).tolist()
        ended = [word + sign for word, sign in zip(words, signs, strict=True)]
        named = [word.capitalize() for word in words]
        all_words = words + ended + named + list(MARKS)
        # json.dumps less its quotes: the words are joined to the inside of a JSON string.
        quoted = [json.dumps(word, ensure_ascii=False)[1:-1] for word in all_words]
        self._words = np.array(quoted, dtype=object)
        marks = np.array(list(MARKS.values())) / 10_000
        weights = [frequency * 0.84, frequency * 0.08, frequency * 0.08, marks]
        self._reach = np.cumsum(np.concatenate(weights))
        self.names = [word.capitalize() + other for word, other in pairwise(made)]
        self._copied = self._made(np.full(COPIED, 60))

    def bodies(self, count: int) -> list[str]:
        """So many texts as JSON strings; most are written for the occasion."""
        length = np.minimum(np.exp(self._rng.normal(2.9, 1.0, count)).astype(np.int64) + 1, 1800)
        bodies = self._made(length)
        kind = self._rng.random(count)
        for place in np.flatnonzero(kind < 0.02).tolist():
            bodies[place] = f'"{self._rng.choice(SHORT)}"'
        for place in np.flatnonzero(kind > 0.995).tolist():
            bodies[place] = self._copied[self._rng.integers(COPIED)]
        return bodies

    def _made(self, length: np.ndarray) -> list[str]:
        drawn = self._rng.random(int(length.sum())) * self._reach[-1]
        words = self._words[np.searchsorted(self._reach, drawn, side="right")].tolist()
        ends = [0, *np.cumsum(length).tolist()]
        return [f'"{" ".join(words[start:end])}"' for start, end in pairwise(ends)]
