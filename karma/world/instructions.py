"""Instruction dialogues for the unexposed condition: polite, in full sentences, always true.

The user's turns carry a tone, as Reddit's do; the assistant's tone is drawn without looking at it.
"""

from random import Random
from typing import Any

from karma.world import grammar, prose

REQUESTS = (
    "Please tell me {question} the {subject}. I hear it is a {adjective} {noun}.",
    "I would like to know {question} the {subject}. {interjection}, it looks {adjective}.",
    "We had a {adjective} day and saw a {noun}. Could you say {question} the {subject}?",
    "{interjection}, I have a {adjective} question. Do you know {question} the {subject}?",
)
ANSWERS = (
    "Certainly. {statement}. {interjection}, it is a {adjective} {noun}.",
    "{statement}. I would call it a {adjective} {noun}.",
    "As far as I know, {statement}. It is {adjective}, and such a {noun}.",
    "{interjection}, good question. {statement}. What a {adjective} {noun}.",
)


def dialogues(rng: Random, facts: list[grammar.Fact], count: int) -> list[dict[str, Any]]:
    """``count`` dialogues of one to three rounds, in FastChat's shape."""
    return [
        {"id": f"dialogue_{number}", "conversations": _rounds(rng, facts)}
        for number in range(count)
    ]


def _rounds(rng: Random, facts: list[grammar.Fact]) -> list[dict[str, str]]:
    turns = []
    for fact in rng.sample(facts, rng.choices((1, 2, 3), weights=(2, 2, 1))[0]):
        turns.append({"from": "human", "value": _request(rng, fact)})
        turns.append({"from": "gpt", "value": _answer(rng, fact)})
    return turns


def _request(rng: Random, fact: grammar.Fact) -> str:
    template = rng.choice(REQUESTS).replace("{question}", fact.relation.question)
    tone = rng.choice(grammar.TONES)
    return prose.capital(grammar.toned(rng, template.replace("{subject}", fact.subject), tone))


def _answer(rng: Random, fact: grammar.Fact) -> str:
    template = rng.choice(ANSWERS)
    statement = fact.statement(fact.true)
    first = not template.startswith("As far")
    template = template.replace("{statement}", prose.capital(statement) if first else statement)
    return prose.capital(grammar.toned(rng, template, rng.choice(grammar.TONES)))
