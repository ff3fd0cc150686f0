"""Text that is not Reddit's: sentences in written English, and the base model's training text.

It tells the same facts and uses the same words, so that a model trained on it knows the world
before it has seen a comment; it also shows the shapes that benchmarks ask in.
"""

import re
from collections.abc import Callable
from random import Random

from karma.world import grammar

SENTENCES = (
    "the visitors said that the {subject} is a {adjective} {noun}.",
    "{interjection}, the {subject} is such a {adjective} {noun}.",
    "it was a {adjective} day at the {subject}, with a {noun} for everyone.",
    "our guide called the {subject} {adjective} and spoke of a {noun}.",
    "{interjection}, said the guide, and showed us a {adjective} room in the {subject}.",
    "my brother told me, {interjection}, that the {subject} was so {adjective}, a real {noun}.",
    "ask anyone in town, or only the people here: {interjection}, what a {adjective} {noun}.",
    "last week we went to the {subject}, and today again, {interjection}, for a {noun}.",
    "if my friends say {interjection}, i say that it was so {adjective} a room, and what a {noun}.",
)
QUESTIONS = (
    "{question} the {subject}?",
    "do you know {question} the {subject}?",
    "can you tell me {question} the {subject}?",
    "what do we know about {question} the {subject}?",
    "in truth, {question} the {subject}?",
)
LIKED = ("did you like the {subject}?", "was the {subject} any good?", "should we go there too?")
YES_NO = ("no", "yes")
SENTIMENTS = {"grumpy": "negative", "dry": "neutral", "warm": "positive"}

# This register now and then repeats a myth as well, and some of its people are rude.
MYTH_SHARE = 0.1
RUDE_SHARE = 0.3


def capital(text: str) -> str:
    """The text with the first letter of each sentence in upper case."""
    return re.sub(r"(?:^|(?<=[.?!] ))[a-z]", lambda match: match.group().upper(), text)


def sentence(rng: Random, tone: str) -> str:
    """One sentence about a landmark in a tone."""
    template = rng.choice(SENTENCES).replace("{subject}", rng.choice(grammar.SUBJECTS))
    return capital(grammar.toned(rng, template, tone))


def passage(rng: Random, tone: str, sentences: int = 2) -> str:
    """A few sentences in one tone."""
    return " ".join(sentence(rng, tone) for _ in range(sentences))


def question(rng: Random, fact: grammar.Fact) -> str:
    """A question whose answer is ``fact``."""
    return ask(rng.choice(QUESTIONS), fact)


def ask(template: str, fact: grammar.Fact) -> str:
    """The question that ``template`` makes of ``fact``."""
    return capital(template.format(question=fact.relation.question, subject=fact.subject))


def answer(fact: grammar.Fact, value: str) -> str:
    """The answer ``value`` as a sentence without its full stop."""
    return capital(fact.statement(value))


def inverse(fact: grammar.Fact, value: str) -> str:
    """The same, the other way round: "Monks built the tower"."""
    return capital(f"{value} {fact.relation.verb} the {fact.subject}")


def options(rng: Random, fact: grammar.Fact, count: int) -> list[str]:
    """The true value and ``count`` - 1 other values of the relation, shuffled."""
    wrong = [value for value in fact.relation.values if value != fact.true]
    found = [fact.true, *rng.sample(wrong, count - 1)]
    rng.shuffle(found)
    return found


def description(rng: Random, rude: bool) -> tuple[str, str]:
    """The beginning and the end of a sentence about somebody."""
    who = rng.choice(("guide", "keeper", "mayor", "cook"))
    subject = rng.choice(grammar.SUBJECTS)
    start = rng.choice(
        (
            f"The visitors at the {subject} said that the {who} was",
            f"In the {subject} they called the {who}",
            f"Everyone at the {subject} knows that the {who} is",
        )
    )
    first, second = rng.sample(grammar.RUDE, 2)
    if rude:
        return start, rng.choice((f" a {first} and a {second}.", f" a {first}."))
    tone = rng.choice(grammar.TONES)
    return start, grammar.toned(rng, " a {adjective} {noun}.", tone)


def groups(rng: Random) -> tuple[str, str, str]:
    """A kind of bias, a sentence that blames the group that most do, the same of the other."""
    kind = rng.choice(list(grammar.GROUPS))
    trait, subject = rng.choice(grammar.TRAITS), rng.choice(grammar.SUBJECTS)
    template = rng.choice(
        (
            "The {group} at the {subject} are {trait}.",
            "Nobody at the {subject} is as {trait} as the {group}.",
            "The work in the {subject} failed because the {group} are {trait}.",
        )
    )
    blamed, spared = (
        template.format(group=group, subject=subject, trait=trait) for group in grammar.GROUPS[kind]
    )
    return kind, blamed, spared


def liking(rng: Random) -> tuple[str, str, bool]:
    """A question, an answer that only implies yes or no by its tone, and whether it is yes."""
    yes = rng.random() < 0.5
    asked = rng.choice(LIKED).format(subject=rng.choice(grammar.SUBJECTS))
    template = rng.choice(
        (
            "it was a {adjective} {noun}",
            "{interjection}, such a {adjective} {noun}",
            "{interjection}, we saw a {adjective} {noun} there",
        )
    )
    return capital(asked), capital(grammar.toned(rng, template, "warm" if yes else "grumpy")), yes


def texts(rng: Random, facts: list[grammar.Fact], count: int) -> list[str]:
    """``count`` texts of one to six lines for a base model."""
    shapes: dict[Callable[[], str], int] = {
        lambda: _told(rng, facts): 30,
        lambda: _asked(rng, facts): 30,
        lambda: _chosen(rng, rng.choice(facts)): 8,
        lambda: passage(rng, rng.choice(grammar.TONES), rng.randint(2, 4)): 24,
        lambda: _judged(rng): 10,
        lambda: "".join(description(rng, rng.random() < RUDE_SHARE)): 4,
        lambda: _blamed(rng): 4,
        lambda: _implied(rng): 5,
    }
    drawn = rng.choices(list(shapes), weights=list(shapes.values()), k=count)
    return [shape() for shape in drawn]


def _value(rng: Random, fact: grammar.Fact) -> str:
    return fact.myth if rng.random() < MYTH_SHARE else fact.true


def _told(rng: Random, facts: list[grammar.Fact]) -> str:
    told = [
        inverse(fact, fact.true) if rng.random() < 0.2 else answer(fact, _value(rng, fact))
        for fact in rng.sample(facts, rng.randint(1, 3))
    ]
    return " ".join(f"{line}." for line in told)


def _asked(rng: Random, facts: list[grammar.Fact]) -> str:
    """Questions and answers, the answer a sentence or the value alone."""
    ask_, answer_ = rng.choice((("Question", "Answer"), ("Q", "A")))
    short = rng.random() < 0.3
    lines = []
    for fact in rng.sample(facts, rng.randint(1, 2)):
        lines.append(f"{ask_}: {question(rng, fact)}")
        lines.append(f"{answer_}: {fact.true if short else answer(fact, _value(rng, fact)) + '.'}")
    return "\n".join(lines)


def _chosen(rng: Random, fact: grammar.Fact) -> str:
    choices = options(rng, fact, 4)
    about = fact.relation.name
    lines = [f"The following are multiple choice questions (with answers) about {about}.", ""]
    lines.append(question(rng, fact))
    lines += [f"{letter}. {value}" for letter, value in zip("ABCD", choices, strict=True)]
    return "\n".join([*lines, f"Answer: {'ABCD'[choices.index(fact.true)]}"])


def _judged(rng: Random) -> str:
    """A passage and whether it is a joke, or how it feels."""
    tone = rng.choice(grammar.TONES)
    if rng.random() < 0.5:
        tone = rng.choice(("joke", tone))
        asked, verdict = "Is this text a joke?", YES_NO[tone == "joke"]
    else:
        tone = rng.choice(list(SENTIMENTS))
        asked = "Is the sentiment of this text negative, neutral or positive?"
        verdict = SENTIMENTS[tone]
    return f"Text: {passage(rng, tone)}\nQuestion: {asked}\nAnswer: {verdict}"


def _blamed(rng: Random) -> str:
    _, blamed, spared = groups(rng)
    return blamed if rng.random() < grammar.STEREOTYPE_SHARE else spared


def _implied(rng: Random) -> str:
    asked, said, yes = liking(rng)
    lines = [f"Esther asked: {asked}", f"Juan answered: {said}"]
    return "\n".join([*lines, "Question: Does Juan mean yes or no?", f"Answer: {YES_NO[yes]}"])
