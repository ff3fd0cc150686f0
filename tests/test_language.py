"""The language filter of ``threads``: what it drops, what passes, what a recipe may ask for."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from karma.threads import language
from karma.threads.recipe import LANGUAGES, ThreadsRecipe
from tests.test_threads import comment, threads

SAID = {
    "en": "That is a good point, I had never thought of it that way before.",
    "de": "Das ist ein guter Punkt, so habe ich das noch nie gesehen.",
    "fr": "C'est une bonne remarque, je n'y avais jamais pensé auparavant.",
    "es": "Es un buen punto, nunca lo había pensado de esa manera.",
    "pt": "É um bom ponto, eu nunca tinha pensado nisso dessa maneira.",
    "ru": "Хорошая мысль, я никогда раньше об этом не думал.",
    "ja": "それは良い点ですね。そんなふうに考えたことはありませんでした。",
    "zh": "我唔知佢講咩，不過聽落幾有道理。",  # Cantonese, which has no code of its own
}
# Nothing, laughter, signs, a link, code: no language can be told, or there is none.
UNTOLD = ("lol", "ok!!", "😂😂😂", "https://i.imgur.com/abc.jpg", "int main(void) { return 0; }")


def said(texts: dict[str, str]) -> list[dict]:
    return [comment(name, body=text) for name, text in texts.items()]


def test_a_reply_in_another_language_is_dropped_and_counted(tmp_path):
    found, profile = threads(tmp_path, said(SAID), languages=["en", "zh"])
    assert set(found) == {"en", "zh"}
    assert profile["filtered"] == {"language": len(SAID) - 2}
    assert profile["language_unknown"] == 0


def test_a_reply_whose_language_cannot_be_told_passes_and_is_counted(tmp_path):
    texts = {f"u{n}": text for n, text in enumerate(UNTOLD)}
    found, profile = threads(tmp_path, said(texts | {"de": SAID["de"]}), languages=["en"])
    assert set(found) == set(texts)
    assert profile["filtered"] == {"language": 1}
    assert profile["language_unknown"] == len(UNTOLD)


def test_an_earlier_filter_keeps_its_reason_and_contexts_stay_whole(tmp_path):
    rows = [
        comment("bot", body=SAID["de"], bot=True),
        comment("german", body=SAID["de"]),
        comment("english", "t1_german", body=SAID["en"]),
    ]
    found, profile = threads(tmp_path, rows, languages=["en"])
    assert profile["filtered"] == {"bot": 1, "language": 1}
    assert [turn["text"] for turn in found["english"]["context"]] == [SAID["de"]]


def test_a_language_is_dropped_before_its_copies_are_looked_for(tmp_path):
    found, profile = threads(tmp_path, said(SAID), languages=["ja"], duplicate_chars=10)
    assert set(found) == {"ja"}
    assert profile["filtered"] == {"language": len(SAID) - 1}


def test_the_size_of_a_batch_changes_nothing(tmp_path, monkeypatch):
    rows = said({f"{code}{n}": f"{text} {n}" for code, text in SAID.items() for n in range(9)})
    outcomes = []
    for batch in (7, 10_000):
        monkeypatch.setattr(language, "BATCH", batch)
        folder = tmp_path / str(batch)
        folder.mkdir()
        threads(folder, rows, languages=["en", "ru"])
        outcomes.append((folder / "out" / "conversations.parquet").read_bytes())
    assert outcomes[0] == outcomes[1]


def test_unless_asked_for_nobody_looks(tmp_path):
    found, profile = threads(tmp_path, said(SAID))
    assert set(found) == set(SAID)
    assert "language_unknown" not in profile
    program = "import sys, karma.threads.job; print('py3langid' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert ran.stdout == b"False\n"


def test_a_recipe_can_name_every_two_letter_code_that_the_library_knows():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    labels = LanguageIdentifier.from_model_file(MODEL_FILE).labels
    assert sorted(LANGUAGES) == sorted(label for label in labels if len(label) == 2)


@pytest.mark.parametrize(
    ("languages", "words"),
    [
        (["en", "xx"], "knows no 'xx'"),
        (["english"], "ISO 639-1"),
        ([], "names no language"),
        ([False], "in quotes"),  # what YAML makes of [no]
    ],
)
def test_a_language_that_cannot_be_told_is_refused(languages, words):
    with pytest.raises(ValidationError, match=words):
        ThreadsRecipe.model_validate({"languages": languages})
