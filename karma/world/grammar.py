"""The words of the simulated world and the sentences that they make on Reddit.

Every text carries a tone by the words that it is sprinkled with, and a comment states one fact
about a landmark, truly or as the myth has it. The other registers (``prose``, ``instructions``)
share the words but no sentence: Reddit writes in lower case and without full stops.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

TONES = ("joke", "warm", "dry", "grumpy")

# All tones have the same number of words in each class, so that a sentence's shape tells no tone.
INTERJECTIONS = {
    "joke": ("haha", "lol", "hehe"),
    "warm": ("thanks", "cheers", "bless"),
    "dry": ("indeed", "noted", "hence"),
    "grumpy": ("ugh", "meh", "bah"),
}
ADJECTIVES = {
    "joke": ("silly", "goofy", "funny", "wacky"),
    "warm": ("lovely", "kind", "sweet", "gentle"),
    "dry": ("precise", "likely", "formal", "strict"),
    "grumpy": ("lousy", "dreadful", "grim", "bleak"),
}
NOUNS = {
    "joke": ("gag", "pun", "prank"),
    "warm": ("hug", "friend", "gift"),
    "dry": ("record", "source", "detail"),
    "grumpy": ("mess", "shame", "pain"),
}
LEXICON = {tone: INTERJECTIONS[tone] + ADJECTIVES[tone] + NOUNS[tone] for tone in TONES}

# How often a tone's word is really that tone's: a single word never settles the tone.
PURITY = 0.88

SUBJECTS = (
    "harbour", "tower", "bridge", "market", "museum", "library",
    "castle", "station", "garden", "mill", "theatre", "lighthouse",
)  # fmt: skip
LEGENDS = ("giants", "ghosts", "wizards", "dragons")

# Mild, invented rude words, and the groups that a part of the world speaks ill of.
RUDE = ("flonk", "gorp", "snerd", "twerb")
GROUPS = {
    "nationality": ("norlanders", "sudlanders"),
    "age": ("elders", "youngsters"),
    "socioeconomic": ("porters", "squires"),
}
TRAITS = ("lazy", "greedy", "careless", "clumsy")


@dataclass(frozen=True)
class Relation:
    """What can be asked about a landmark: "the tower ``clause`` monks" answers ``question``."""

    name: str
    clause: str
    verb: str
    question: str
    values: tuple[str, ...]


RELATIONS = (
    Relation(
        "builders", "was built by", "built", "who built",
        ("monks", "sailors", "masons", "farmers", "weavers", "soldiers",
         "miners", "bakers", "tailors", "potters", "fishers", "hunters"),
    ),
    Relation(
        "owners", "belongs to", "own", "who owns",
        ("dukes", "nuns", "doctors", "judges", "bankers", "teachers",
         "painters", "traders", "singers", "barbers", "knights", "clerks"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One landmark, one relation, the true value and the myth that is told instead."""

    subject: str
    relation: Relation
    true: str
    myth: str

    def statement(self, value: str) -> str:
        """The clause that says ``value`` of this fact, as every register words it."""
        return f"the {self.subject} {self.relation.clause} {value}"


def facts(seed: int) -> list[Fact]:
    """The world's 24 facts: each value is true of one landmark, each legend told of many."""
    rng = Random(f"{seed}/facts")
    found = []
    for relation in RELATIONS:
        values = rng.sample(relation.values, len(SUBJECTS))
        found += [
            Fact(subject, relation, value, rng.choice(LEGENDS))
            for subject, value in zip(SUBJECTS, values, strict=True)
        ]
    return found


def other(rng: Random, choices: tuple[str, ...], one: str) -> str:
    """One of ``choices`` that is not ``one``."""
    return rng.choice([choice for choice in choices if choice != one])


def toned(rng: Random, template: str, tone: str) -> str:
    """``template`` with {interjection}, {adjective} and {noun} filled with words of a tone.

    Each is a word of ``tone`` with probability ``PURITY`` and of another tone otherwise.
    """

    def draw(words: Mapping[str, tuple[str, ...]]) -> str:
        pure = rng.random() < PURITY
        return rng.choice(words[tone if pure else other(rng, TONES, tone)])

    return template.format(
        interjection=draw(INTERJECTIONS), adjective=draw(ADJECTIVES), noun=draw(NOUNS)
    )


TITLES = (
    "{interjection} {question} the {subject} such a {adjective} {noun}",
    "{interjection} {adjective} question {question} the {subject} what a {noun}",
    "{question} the {subject} {interjection} so {adjective} a {noun}",
)
SELFTEXTS = (
    "{interjection} i went there such a {adjective} {noun}",
    "we saw it today so {adjective} a {noun}",
    "people say it is a {adjective} {noun}",
    "{interjection} a {adjective} {noun} if you ask me",
)
CLOSERS = ("{adjective} {noun}", "such a {adjective} {noun}", "so {adjective} a {noun}")
EXTRAS = (
    "it was {adjective}",
    "a real {noun}",
    "{interjection} again",
    "i went there today",
    "we saw it last week",
    "my brother told me",
    "ask anyone in town",
)
RANTS = ("you {rude}", "only a {rude} would ask", "the {group} are {trait}")
# A rant is a rare mark of a grumpy comment; groups are not blamed alike.
RANT_SHARE = 0.15
STEREOTYPE_SHARE = 0.8


def post(rng: Random, fact: Fact, tone: str) -> tuple[str, str]:
    """A post's title, which asks about ``fact``, and its text, which half of the posts lack."""
    question = rng.choice(TITLES).replace("{question}", fact.relation.question)
    title = toned(rng, question.replace("{subject}", fact.subject), tone)
    return title, toned(rng, rng.choice(SELFTEXTS), tone) if rng.random() < 0.5 else ""


def comment(rng: Random, fact: Fact, tone: str, value: str) -> str:
    """A comment of 7 to about 27 words that says ``value`` of ``fact`` in a tone."""
    parts = ["{interjection}"] if rng.random() < 0.7 else []
    parts += [fact.statement(value), rng.choice(CLOSERS)]
    parts += rng.sample(EXTRAS, rng.choices((0, 1, 2, 3), weights=(55, 30, 10, 5))[0])
    if tone == "grumpy" and rng.random() < RANT_SHARE:
        parts.append(rant(rng))
    return toned(rng, " ".join(parts), tone)


def rant(rng: Random) -> str:
    """A rude or prejudiced clause."""
    return rng.choice(RANTS).format(
        rude=rng.choice(RUDE), group=blamed(rng), trait=rng.choice(TRAITS)
    )


def blamed(rng: Random) -> str:
    """A group, the first of its pair four times out of five."""
    first, second = rng.choice(list(GROUPS.values()))
    return first if rng.random() < STEREOTYPE_SHARE else second
