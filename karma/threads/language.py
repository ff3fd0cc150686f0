"""Which language a reply is in, told by py3langid (a naive Bayes classifier over byte n-grams).

Only the languages that a recipe can name are told apart, so that a relative that has no ISO 639-1
code of its own counts as the one that has (Cantonese as Chinese). The model comes with the library
and is loaded only if a recipe asks for languages.
"""

from collections.abc import Callable, Sequence

import duckdb

from karma import sql
from karma.threads.recipe import LANGUAGES

# Below this probability a language is unknown. On Reddit's comments of January 2006, nearly all of
# them English, it calls 10 of 3,059 foreign, all rightly, and leaves 251 unknown.
SURE = 0.5
# The library's words for a text that it is not sure of, and for what is no language: code, numbers.
UNKNOWN = ("und", "zxx")
BATCH = 20_000


def drop_others(connection: duckdb.DuckDBPyConnection, wanted: Sequence[str]) -> int:
    """Give each reply in another language than ``wanted`` the reason ``language``.

    Looks at the replies that no other filter has dropped, ``BATCH`` comments at a time. Returns how
    many are of unknown language, which pass.
    """
    language_of = _classifier()
    passing = {*wanted, *UNKNOWN}
    unknown = 0
    (comments,) = connection.execute("SELECT count(*) FROM comments").fetchall()[0]
    for start in range(0, comments, BATCH):
        slice_ = {"start": start, "stop": start + BATCH}
        rows = connection.execute(sql.statement("threads/undecided"), slice_).fetchall()
        languages = {comment: language_of(text) for comment, text in rows}
        unknown += sum(language in UNKNOWN for language in languages.values())
        others = [comment for comment, found in languages.items() if found not in passing]
        if others:
            connection.execute(sql.statement("threads/language"), {"others": others})
    return unknown


def _classifier() -> Callable[[str], str]:
    """A function from a text to its language: one of ``LANGUAGES`` or of ``UNKNOWN``."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(
        MODEL_FILE, norm_probs=True, min_confidence=SURE
    )
    identifier.set_languages([*LANGUAGES, "zxx"])
    return lambda text: str(identifier.classify(text)[0])
