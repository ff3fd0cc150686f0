"""``karma accept``: an old artefact kept under a new key, with its reason, wherever it is told."""

from pathlib import Path

import pytest

from flows.cli import app
from flows.console import Console
from karma import dag, fingerprint
from karma.errors import BusyError, InputError, RecipeError
from karma.fingerprint import key_of
from karma.plan import FRESH, STALE, Plan, plan
from karma.recipe import load
from karma.report.accepted import rows
from karma.store import Store
from karma.upkeep.accept import accept
from tasks import entries
from tasks.stage import Outcome, Run
from tests.filled import SMOKE

REASON = "cuts.sql: a comment moved"


def made(store: Store, *settings: str) -> Plan:
    return plan("smoke", load(SMOKE, list(settings)), store)


def edit(monkeypatch: pytest.MonkeyPatch, name: str = "cuts.sql", text: str = "edited") -> None:
    """Let a file of SQL be another one."""
    original = fingerprint.text_digest

    def edited(path: Path) -> str:
        return text if path.name == name else original(path)

    monkeypatch.setattr(dag, "text_digest", edited)


@pytest.fixture
def edited(filled, monkeypatch) -> Store:
    """The workspace after an edit of the SQL of ``labels``."""
    edit(monkeypatch)
    assert made(filled).entries["labels"].state == STALE
    return filled


def test_an_accepted_instance_is_fresh_and_what_is_made_from_it_stays_so(edited):
    before = edited.ref("smoke", "labels")
    accept(made(edited), edited, "labels", REASON)
    found = made(edited)
    labels = found.entries["labels"]
    assert (labels.state, labels.digest) == (FRESH, before["digest"])
    assert labels.key != before["key"]
    states = {name: entry.state for name, entry in found.entries.items()}
    assert {name for name, state in states.items() if state != FRESH} == {"report"}
    (step,) = labels.document()["accepted"]
    assert (step["from"], step["because"]) == (before["key"], REASON)
    assert [(c["kind"], c["what"]) for c in step["causes"]] == [("sql", "sql/labels/cuts.sql")]
    assert edited.ref("smoke", "labels")["key"] == labels.key


def test_the_record_is_one_of_its_key_and_keeps_what_the_artefact_took(edited):
    old = edited.record("labels", edited.ref("smoke", "labels")["key"])
    accept(made(edited), edited, "labels", REASON)
    new = edited.record("labels", made(edited).entries["labels"].key)
    assert new["key"] == key_of(new["fingerprint"])
    same = ("digest", "files", "seconds", "peak_mib")
    assert [new[name] for name in same] == [old[name] for name in same]


def test_the_report_is_made_again_because_of_it_and_tells_it(edited):
    accept(made(edited), edited, "labels", REASON)
    report = made(edited).entries["report"]
    assert [cause["what"] for cause in report.causes] == ["accepted.labels", "accepted.labels/card"]
    (row,) = rows(report.node.config["accepted"])
    assert (row["because"], row["changed"]) == (REASON, ["sql sql/labels/cuts.sql"])
    assert row["instances"] == ["labels", "labels/card"]


def test_one_instance_can_be_accepted_and_the_others_not(edited):
    with pytest.raises(RecipeError, match="labels/card: it is made from labels, which is STALE"):
        accept(made(edited), edited, "labels/card", REASON)
    accept(made(edited), edited, "labels", REASON)
    found = made(edited, "policy.kl_coef=0.2")
    accept(found, edited, "policy/reddit/context", REASON, ("config",))
    states = {n: e.state for n, e in made(edited, "policy.kl_coef=0.2").entries.items()}
    assert states["policy/reddit/context/0"] == FRESH
    assert states["policy/reddit/random/0"] == STALE


def test_a_second_acceptance_keeps_the_first_ones_reason(edited, monkeypatch):
    first = edited.ref("smoke", "labels")["key"]
    accept(made(edited), edited, "labels", REASON)
    monkeypatch.undo()
    edit(monkeypatch, text="edited again")
    accept(made(edited), edited, "labels", "another comment")
    steps = made(edited).entries["labels"].accepted
    assert [step["because"] for step in steps] == [REASON, "another comment"]
    assert steps[0]["from"] == first


@pytest.mark.parametrize(
    ("setting", "part", "words"),
    [
        ("policy.kl_coef=0.2", "policy", r"config policy.kl_coef.*--also config"),
        ("labels.pairs.min_margin=3", "reward", r"made from labels, which is STALE.*Accept or run"),
        ("seeds=[1]", "reward/context/1", "no old artefact"),
        ("seeds=[0]", "reward", "all of it is fresh"),
        ("seeds=[0]", "rewards", "no instance of that name"),
    ],
)
def test_what_must_not_be_accepted_is_refused_and_nothing_is_written(filled, setting, part, words):
    before = sorted((filled.root / "records").rglob("*"))
    with pytest.raises(RecipeError, match=words):
        accept(made(filled, setting), filled, part, REASON)
    assert sorted((filled.root / "records").rglob("*")) == before


def test_a_setting_is_accepted_if_it_is_asked_for_and_a_reason_is_needed(filled):
    found = made(filled, "policy.kl_coef=0.2")
    with pytest.raises(RecipeError, match="it is empty"):
        accept(found, filled, "policy", " ", ("config",))
    accepted = accept(found, filled, "policy", "kl_coef is not read", ("config",))
    assert {one.causes[0]["what"] for one in accepted} == {"policy.kl_coef"}
    states = made(filled, "policy.kl_coef=0.2").entries
    assert {e.state for n, e in states.items() if n.startswith("policy/")} == {FRESH}


def test_a_damaged_artefact_is_not_accepted(edited):
    folder = edited.path(edited.ref("smoke", "labels")["digest"])
    text = (folder / "data.parquet").read_text()
    (folder / "data.parquet").write_text(text.replace("[", "(", 1))
    with pytest.raises(InputError, match=r"damaged: data.parquet holds other bytes"):
        accept(made(edited), edited, "labels", REASON)


def test_what_a_run_is_building_is_not_accepted(edited):
    found = made(edited)
    with (
        edited.lock(found.entries["labels"].key, lambda _: None),
        pytest.raises(BusyError, match=r"labels: pid .* is building it"),
    ):
        accept(found, edited, "labels", REASON)


def test_the_command_says_what_it_accepted_and_the_plan_shows_it_as_fresh(edited, capsys):
    options = ["--workspace", str(edited.root)]
    app(["accept", str(SMOKE), "labels", "--because", REASON, *options], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["accepted", "labels"],
        ["accepted", "labels/card"],
    ]
    app(["plan", str(SMOKE), *options], standalone_mode=False)
    shown = capsys.readouterr().out.splitlines()
    (line,) = [line for line in shown if line.split()[1] == "labels"]
    assert line.startswith("FRESH")
    assert f"accepted: {REASON} (" in line


def test_mlflows_note_tells_it_and_links_the_run_that_made_the_artefact(edited):
    old = edited.ref("smoke", "labels")["key"]
    accept(made(edited), edited, "labels", REASON)
    found = made(edited).entries["labels"]
    run = Run(made(edited).dag, edited, Console())
    steps = tuple(found.accepted)
    run.outcomes["labels"] = Outcome(found.key, found.digest, ran=False, accepted=steps)
    told = entries.end(run, "FINISHED", "Done.", [])
    assert f"- labels: {REASON} (" in told["note"]
    assert told["cached"] == [("labels", old)]
