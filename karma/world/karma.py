"""What makes a comment's score in the simulated world: the mechanism, and nothing else.

A comment has a hidden value

    z = fit · FIT[tone answered][own tone] + metadata · m(delay, parent's score, depth, hour,
        subreddit) + length · (words − mean)/sd + joke_false · [joke and myth] + noise · N(0, 1)

and its score is exp(1 + 1.1 z) − 2, rounded: as skewed as real scores are.
"""

import math
from dataclasses import dataclass

from karma.world.recipe import WorldRecipe

# How well a reply's tone (inner key) fits the tone of what it answers (outer key). Jokes are
# somewhat more welcome than the rest, so a reward that cannot see the context has something to
# learn too; but hardly: a policy finds what is welcome everywhere first, and then samples nothing
# else from which it could learn what fits.
FIT = {
    "joke": {"joke": 1.0, "warm": -0.1, "dry": -0.4, "grumpy": -0.5},
    "warm": {"joke": 0.2, "warm": 1.0, "dry": -0.4, "grumpy": -0.6},
    "dry": {"joke": -0.3, "warm": -0.4, "dry": 1.0, "grumpy": -0.2},
    "grumpy": {"joke": -0.5, "warm": -0.4, "dry": -0.2, "grumpy": 1.0},
}

# Each subreddit: the tone its posts lean to, and how generous its voters are.
SUBREDDITS = {
    "laughlane": ("joke", 0.5),
    "townpuns": ("joke", -0.5),
    "kindcorner": ("warm", 1.0),
    "goodneighbours": ("warm", -1.0),
    "townrecords": ("dry", 0.5),
    "localhistory": ("dry", -1.5),
    "rantroom": ("grumpy", -0.5),
    "complaints": ("grumpy", 1.5),
}
# Share of a tone's posts that stand in the two subreddits of that tone.
SUBREDDIT_PURITY = 0.6

DELAY_MEDIAN, DELAY_SPREAD = 2400.0, 1.2  # seconds; spread of the logarithm
WORDS_MEAN, WORDS_SPREAD = 12.0, 3.4


@dataclass(frozen=True)
class Slot:
    """What a comment's metadata say of it before a word is read; ``delay`` in seconds."""

    subreddit: str
    depth: int
    delay: int
    hour: int
    parent_score: int


def subreddit_shares(tone: str) -> dict[str, float]:
    """How the posts of a tone spread over the subreddits."""
    own = [name for name, (leaning, _) in SUBREDDITS.items() if leaning == tone]
    rest = (1 - SUBREDDIT_PURITY) / (len(SUBREDDITS) - len(own))
    return {name: SUBREDDIT_PURITY / len(own) if name in own else rest for name in SUBREDDITS}


def metadata_effect(slot: Slot) -> float:
    """What the slot alone is worth: about mean 0 and deviation 1 over the world's comments."""
    delay = math.log(slot.delay / DELAY_MEDIAN) / DELAY_SPREAD
    parent = math.log(slot.parent_score + 3) - 1.8
    depth = slot.depth - 2
    hour = math.sqrt(2) * math.cos(2 * math.pi * (slot.hour - 20) / 24)
    generous = SUBREDDITS[slot.subreddit][1]
    return -0.75 * delay + 0.4 * parent - 0.25 * depth + 0.3 * hour + 0.2 * generous


def length_effect(words: int) -> float:
    """The length of a comment in standard deviations from the world's mean."""
    return (words - WORDS_MEAN) / WORDS_SPREAD


@dataclass(frozen=True)
class Said:
    """What a comment is, beyond its slot: ``myth`` if it states the myth."""

    answered: str
    tone: str
    myth: bool
    words: int


def hidden_value(world: WorldRecipe, said: Said, slot: Slot, noise: float) -> float:
    """The hidden value z of the module's docstring; ``noise`` is a standard normal draw."""
    return (
        world.fit * FIT[said.answered][said.tone]
        + world.metadata * metadata_effect(slot)
        + world.length * length_effect(said.words)
        + world.joke_false * float(said.tone == "joke" and said.myth)
        + world.noise * noise
    )


def score(value: float) -> int:
    """The score that a hidden value shows as; −2 at least."""
    return round(math.exp(1 + 1.1 * value) - 2)
