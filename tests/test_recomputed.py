"""Every number of a report, recomputed from the per-item results by a script of its own."""

import json
from pathlib import Path

import pytest

from karma.plan import plan
from karma.recipe import load
from karma.store import Store
from tests import recompute
from tests.filled import SMOKE
from tests.small import SMALL
from tests.test_report import document, study


def test_the_recomputation_knows_nothing_of_the_project():
    assert "karma" not in Path(recompute.__file__).read_text().replace("docs/", "")


@pytest.mark.parametrize("seeds", [1, 5])
def test_a_studys_numbers_are_those_of_its_items(tmp_path, seeds):
    job = study(tmp_path, seeds=seeds)
    cells = {role.removeprefix("evals/"): p for role, p in job.inputs.items() if "evals/" in role}
    report = document(job)
    checked = recompute.check(report, cells, 200)
    assert checked >= len(report["differences"]) + len(cells)


def test_a_number_that_was_changed_is_found(tmp_path):
    job = study(tmp_path)
    cells = {role.removeprefix("evals/"): p for role, p in job.inputs.items() if "evals/" in role}
    report = document(job)
    report["differences"][0]["value"] += 0.001
    with pytest.raises(AssertionError):
        recompute.check(report, cells, 200)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_smoke_reports_numbers_are_those_of_its_items(workspace):
    store = Store(workspace)
    entries = plan("smoke", load(SMOKE, SMALL), store).entries
    cells = {
        name.removeprefix("evals/"): store.path(entry.digest)
        for name, entry in entries.items()
        if name.startswith("evals/")
    }
    report = json.loads((store.path(entries["report"].digest) / "report.json").read_text())
    assert recompute.check(report, cells, 2000) >= len(cells)
