"""The simulated month: posts and the trees of comments below them, with their true properties."""

from dataclasses import dataclass
from random import Random

from karma.world import grammar, karma
from karma.world.recipe import WorldRecipe

START = 1672531200  # 2023-01-01 00:00 UTC
DAY = 86400
# Posts end early enough for four slow answers in a row to stay within January.
POST_DAYS = 28
DELAY_LIMIT = 12 * 3600
# Groups of siblings in a thread: the first answers the post, each other one a comment.
GROUPS = (1, 4)
# Comments take the tone of what they answer a little more often than chance.
ECHO = 0.14
# Share of comments about what the post asked; the rest tell the subject's other fact.
ON_TOPIC = 0.8

FIRST_POST = int("1006000", 36)
FIRST_COMMENT = int("j2k0000", 36)


@dataclass
class Post:
    """A post; ``id`` is given when all are in order of time."""

    tone: str
    fact: grammar.Fact
    subreddit: str
    title: str
    text: str
    author: str
    created: int
    score: int
    id: str = ""


@dataclass
class Comment:
    """A comment and what is true of it; ``id`` is given when all are in order of time."""

    post: Post
    parent: "Post | Comment"
    said: karma.Said
    slot: karma.Slot
    body: str
    author: str
    created: int
    value: float
    score: int
    id: str = ""

    @property
    def tone(self) -> str:
        """The comment's own tone."""
        return self.said.tone


def simulate(world: WorldRecipe) -> tuple[list[Post], list[Comment]]:
    """All posts and all comments of the month, each in order of time and of id."""
    rng = Random(f"{world.seed}/threads")
    facts = grammar.facts(world.seed)
    posts, comments = [], []
    for _ in range(world.threads):
        post = _post(rng, rng.choice(facts))
        posts.append(post)
        comments += _comments(rng, world, post, facts)
    posts.sort(key=lambda post: post.created)
    comments.sort(key=lambda comment: comment.created)
    for post, number in zip(posts, _numbers(rng, FIRST_POST, len(posts)), strict=True):
        post.id = base36(number)
    for comment, number in zip(comments, _numbers(rng, FIRST_COMMENT, len(comments)), strict=True):
        comment.id = base36(number)
    return posts, comments


def base36(number: int) -> str:
    """``number`` as Reddit writes ids."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


def _numbers(rng: Random, first: int, count: int) -> list[int]:
    """Growing ids with gaps, as other people write between ours."""
    numbers = [first]
    while len(numbers) < count:
        numbers.append(numbers[-1] + rng.randint(1, 60))
    return numbers


def _author(rng: Random) -> str:
    return f"{rng.choice(grammar.SUBJECTS)}_{rng.choice(grammar.LEGENDS)}{rng.randint(1, 12)}"


def _post(rng: Random, fact: grammar.Fact) -> Post:
    tone = rng.choice(grammar.TONES)
    shares = karma.subreddit_shares(tone)
    title, text = grammar.post(rng, fact, tone)
    return Post(
        tone=tone,
        fact=fact,
        subreddit=rng.choices(list(shares), weights=list(shares.values()))[0],
        title=title,
        text=text,
        author=_author(rng),
        created=START + rng.randrange(POST_DAYS * DAY),
        score=karma.score(rng.gauss(0.5, 0.8)),
    )


def _comments(
    rng: Random, world: WorldRecipe, post: Post, facts: list[grammar.Fact]
) -> list[Comment]:
    """A post's comments: groups of siblings below the post and below comments, shallow ones
    more often."""
    about = [fact for fact in facts if fact.subject == post.fact.subject]
    found = [_comment(rng, world, post, post, about) for _ in range(world.siblings)]
    unanswered = [comment for comment in found if comment.slot.depth < world.depth]
    for _ in range(rng.randint(*GROUPS) - 1):
        if not unanswered:
            break
        weights = [1 / comment.slot.depth**2 for comment in unanswered]
        parent = rng.choices(unanswered, weights=weights)[0]
        group = [_comment(rng, world, post, parent, about) for _ in range(world.siblings)]
        unanswered.remove(parent)
        unanswered += [comment for comment in group if comment.slot.depth < world.depth]
        found += group
    return found


def _comment(
    rng: Random, world: WorldRecipe, post: Post, parent: Post | Comment, about: list[grammar.Fact]
) -> Comment:
    tone = parent.tone if rng.random() < ECHO else rng.choice(grammar.TONES)
    fact = post.fact if rng.random() < ON_TOPIC else rng.choice(about)
    myth = rng.random() < world.myths
    body = grammar.comment(rng, fact, tone, fact.myth if myth else fact.true)
    delay = min(int(karma.DELAY_MEDIAN * rng.lognormvariate(0, karma.DELAY_SPREAD)), DELAY_LIMIT)
    created = parent.created + max(delay, 20)
    slot = karma.Slot(
        subreddit=post.subreddit,
        depth=parent.slot.depth + 1 if isinstance(parent, Comment) else 1,
        delay=created - parent.created,
        hour=created % DAY // 3600,
        parent_score=parent.score,
    )
    said = karma.Said(parent.tone, tone, myth, len(body.split()))
    value = karma.hidden_value(world, said, slot, rng.gauss(0, 1))
    return Comment(post, parent, said, slot, body, _author(rng), created, value, karma.score(value))
