"""Fingerprints: what counts as a change, and what does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from karma import fingerprint
from karma.fingerprint import code, differences, key_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of three modules: job imports helper, other is imported by nobody."""
    package = tmp_path / "karma"
    (package / "stage").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "stage" / "__init__.py").write_text("")
    (package / "stage" / "job.py").write_text(
        "from karma.stage import helper\n\ndef run():\n    return helper.two()\n"
    )
    (package / "stage" / "helper.py").write_text("def two():\n    return 2\n")
    (package / "stage" / "other.py").write_text("X = 1\n")
    monkeypatch.setattr(fingerprint, "PROJECT", tmp_path)
    fingerprint._module.cache_clear()
    yield package / "stage"
    fingerprint._module.cache_clear()


def digests(project: Path) -> dict[str, str]:
    fingerprint._module.cache_clear()
    return code("karma.stage.job")


def test_the_code_of_a_stage_is_what_it_imports_and_nothing_else(project):
    assert set(digests(project)) == {
        "karma",
        "karma.stage",
        "karma.stage.helper",
        "karma.stage.job",
    }


def test_comments_docstrings_and_formatting_do_not_count(project):
    before = digests(project)
    (project / "helper.py").write_text(
        '"""What it does."""\n\n# why\ndef two():\n    """Two."""\n    return   2\n'
    )
    assert digests(project) == before


def test_a_changed_helper_counts(project):
    before = digests(project)
    (project / "helper.py").write_text("def two():\n    return 3\n")
    after = digests(project)
    assert {name for name in after if after[name] != before[name]} == {"karma.stage.helper"}


def test_an_import_inside_a_function_counts(project):
    (project / "helper.py").write_text(
        "def two():\n    from karma.stage import other\n    return other.X\n"
    )
    assert "karma.stage.other" in digests(project)


def test_differences_name_every_leaf_that_changed_with_old_and_new():
    old = {"config": {"policy": {"kl_coef": 0.1, "lr": 1}}, "sql": {"sql/a.sql": "x"}, "input": {}}
    new = {"config": {"policy": {"kl_coef": 0.2, "lr": 1}}, "sql": {}, "input": {"base": "d"}}
    assert differences(old, new) == [
        {"kind": "config", "what": "policy.kl_coef", "old": 0.1, "new": 0.2},
        {"kind": "sql", "what": "sql/a.sql", "old": "x", "new": None},
        {"kind": "input", "what": "base", "old": None, "new": "d"},
    ]


def test_a_key_does_not_depend_on_the_order_of_a_dict():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_every_karma_module_that_a_stage_imports_at_run_time_is_in_its_code():
    import subprocess
    import sys

    listing = (
        "import sys; import karma.dumps.job\n"
        "print([m for m in sys.modules if m.split('.')[0] == 'karma'])"
    )
    ran = subprocess.run([sys.executable, "-c", listing], stdout=subprocess.PIPE, check=True)
    assert set(eval(ran.stdout)) <= set(code("karma.dumps.job"))


def test_a_module_that_another_thread_parses_at_the_same_time_has_its_digest_all_the_same():
    program = """
import gc, threading, time
from karma import fingerprint
gc.callbacks.append(lambda *_: time.sleep(0))  # as a finalizer that lets another thread go on
gc.set_threshold(50)
source = b"def one(a, b): return [a, (b, {a: b})]\\n" * 40
wrong = []
def work():
    for _ in range(100):
        try:
            fingerprint._tree(source)
        except SystemError as error:
            wrong.append(error)
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not wrong, wrong
"""
    subprocess.run([sys.executable, "-c", program], check=True)
