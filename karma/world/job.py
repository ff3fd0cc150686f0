"""The stage ``world``: writes the simulated month, the other registers and the benchmarks."""

import json
from random import Random
from typing import Any

from karma.jobs import Job, write_json
from karma.world import benchmarks, dumps, grammar, instructions, karma, prose, threads
from karma.world.recipe import BASE_TEXT, BENCHMARKS, INSTRUCTIONS, PLANTED, TRUTH, WorldRecipe


def run(job: Job) -> None:
    """Write the world of ``config["world"]`` into ``job.out``: dumps of one month, base text,
    instruction dialogues, benchmarks, and what is true (``truth.json``)."""
    world = WorldRecipe.model_validate(job.config["world"])
    facts = grammar.facts(world.seed)
    job.progress(0, 3, "parts")
    posts, comments = threads.simulate(world)
    job.progress(1, 3, "parts")
    account = dumps.write(world, posts, comments, job.out)
    job.progress(2, 3, "parts")
    texts = prose.texts(Random(f"{world.seed}/texts"), facts, world.texts)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (job.out / BASE_TEXT).write_text(lines, encoding="utf-8")
    dialogues = instructions.dialogues(Random(f"{world.seed}/dialogues"), facts, world.dialogues)
    write_json(job.out / INSTRUCTIONS, dialogues)
    items = benchmarks.write(world.seed, facts, world.items, job.out / BENCHMARKS)
    write_json(job.out / BENCHMARKS / PLANTED, truth(world))
    write_json(job.out / TRUTH, truth(world) | {"dumps": account})
    write_json(
        job.out / "metrics.json",
        {
            "posts": len(posts),
            "comments": len(comments),
            "texts": len(texts),
            "dialogues": len(dialogues),
            "items": sum(items.values()),
        },
    )
    job.progress(3, 3, "parts")
    print(f"{len(posts)} posts, {len(comments)} comments, {sum(items.values())} benchmark items")


def truth(world: WorldRecipe) -> dict[str, Any]:
    """All that is needed to measure what is true of a text, and the settings that made it so."""
    return {
        "settings": world.model_dump(mode="json"),
        "lexicons": {tone: list(words) for tone, words in grammar.LEXICON.items()},
        "purity": grammar.PURITY,
        "fit": karma.FIT,
        "subreddits": {tone: karma.subreddit_shares(tone) for tone in grammar.TONES},
        "facts": [
            {
                "subject": fact.subject,
                "relation": fact.relation.name,
                "clause": fact.relation.clause,
                "true": fact.true,
                "myth": fact.myth,
            }
            for fact in grammar.facts(world.seed)
        ],
        "values": {relation.name: list(relation.values) for relation in grammar.RELATIONS},
        "legends": list(grammar.LEGENDS),
        "rude": list(grammar.RUDE),
        "groups": {kind: list(pair) for kind, pair in grammar.GROUPS.items()},
        "traits": list(grammar.TRAITS),
    }
