"""The report's numbers once more, from the per-item Parquet alone.

Written without the project: it imports nothing of it, reads ``items.parquet`` as a stranger would
from its documentation (docs/benchmarks.md), and takes means, bootstraps and tests by numpy and
scipy. ``check(report, cells)`` raises AssertionError at the first number that differs.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import stats

Table = dict[str, dict]


def items(folder: Path) -> Table:
    """The leading wording's rows by id."""
    about = json.loads((folder / "scores.json").read_text())
    rows = pq.read_table(folder / "items.parquet").to_pylist()
    return {row["id"]: row for row in rows if row["template"] == about["template"]}


def check(report: dict, cells: dict[str, Path], resamples: int) -> int:
    """Compare every score and difference; how many there were. ``cells``: ``model/benchmark``."""
    tables = {name: items(folder) for name, folder in cells.items()}
    count = 0
    for row in report["headline"]["rows"]:
        for name, cell in row["cells"].items():
            score(cell, tables[f"{row['model']}/{name}"], resamples)
            count += 1
    for row in report["differences"]:
        pair = [f"{row[side]}/{row['benchmark']}" for side in ("model", "against")]
        difference(row, resamples, *(tables[name] for name in pair))
        sensitivity(row, *(cells[name] for name in pair))
        count += 1
    family = [row for row in report["differences"] if row["primary"]]
    corrected = holm([row["p"] for row in family])
    assert np.allclose([row["p_holm"] for row in family], corrected)
    for row in report["over_seeds"]:
        over_seeds(row, report["differences"])
        count += 1
    claims = [row for row in report["over_seeds"] if row["primary"]]
    assert np.allclose([r["p_holm"] for r in claims], holm([r["p"] for r in claims]))
    for question in report["questions"]:
        for row in question["rows"]:
            answer(row, question["name"], report, tables)
            count += 1
    return count


def answer(row: dict, question: str, report: dict, tables: dict[str, Table]) -> None:
    """A comparison of two rewards, from the means of the items: against the random reward's policy
    of the same seed, the mean over benchmarks, and for alignment over exposures."""
    about = report["headline"]["about"]
    if question == "factuality":
        condition, _ = row["what"].split(", against ")
        names = [name for name in about if about[name]["kind"] == "factuality"]
        pairs = [(condition.split("/")[0], condition.split("/")[1], "random")]
    else:
        first, second = row["what"].split(" − ")
        names = report["family"]["benchmarks"]
        exposures = {policy["exposure"] for policy in report["policies"]}
        pairs = [(exposure, first, second) for exposure in sorted(exposures)]
    by_seed = []
    for seed in sorted({policy["seed"] for policy in report["policies"]}):
        gaps = [
            good(mean(tables, e, a, seed, name), about[name])
            - good(mean(tables, e, b, seed, name), about[name])
            for e, a, b in pairs
            for name in names
        ]
        by_seed.append(np.mean(gaps))
    assert np.isclose(row["value"], np.mean(by_seed)), row
    if row["low"] is not None:
        found = stats.ttest_1samp(by_seed, 0.0)
        assert np.allclose([row["low"], row["high"]], found.confidence_interval())
        assert np.isclose(row["p"], found.pvalue)


def good(value: float, about: dict) -> float:
    """The score turned so that more is better."""
    if about["ideal"] is not None:
        return -abs(value - about["ideal"])
    return value if about["higher_is_better"] else -value


def mean(tables: dict[str, Table], exposure: str, variant: str, seed: int, name: str) -> float:
    items = tables[f"policy/{exposure}/{variant}/{seed}/{name}"].values()
    return float(np.mean([item["value"] for item in items]))


def score(cell: dict, table: Table, resamples: int) -> None:
    """The mean, and its interval: Wilson's of right and wrong answers, else the bootstrap's."""
    values = {name: item["value"] for name, item in table.items()}
    assert np.isclose(cell["value"], np.mean(list(values.values())))
    sums, sizes = by_group(values, table)
    if cell["low"] is None:
        assert len(sums) < 6
        return
    if set(values.values()) <= {0.0, 1.0}:
        low, high, slack = *wilson(sums, sizes), 1e-9
    else:
        low, high, slack = interval(sums, sizes, resamples)
    assert abs(cell["low"] - low) <= slack, cell
    assert abs(cell["high"] - high) <= slack, cell


def by_group(values: dict[str, float], table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Each group's sum and number of items."""
    groups: dict[str, list[float]] = {}
    for name, value in values.items():
        groups.setdefault(table[name]["group"], []).append(value)
    return np.array([sum(g) for g in groups.values()]), np.array([len(g) for g in groups.values()])


def wilson(sums: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The two shares that a score test would just not reject, of as many items as the groups are
    worth: the roots of (p − share)² = z² p (1 − p) / n."""
    n, groups = sizes.sum(), len(sums)
    share = sums.sum() / n
    if share * (1 - share) > 0:
        plain = share * (1 - share) / (n - 1)
        grouped = groups / (groups - 1) * np.sum((sums - share * sizes) ** 2) / n**2
        worth = n / max(1.0, grouped / plain)
        worth *= (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, groups - 1)) ** 2
    else:
        worth = groups
    z = stats.norm.ppf(0.975) ** 2 / worth
    low, high = np.sort(np.roots([1 + z, -(2 * share + z), share**2]).real)
    return low, high


def difference(row: dict, resamples: int, first: Table, second: Table) -> None:
    """The mean, the interval within the noise of resampling, and the test."""
    gaps = {name: first[name]["value"] - second[name]["value"] for name in first}
    assert np.isclose(row["value"], np.mean(list(gaps.values())))
    assert row["n"] == len(gaps)
    sums, sizes = by_group(gaps, first)
    low, high, slack = interval(sums, sizes, resamples)
    assert abs(row["low"] - low) <= slack, row
    assert abs(row["high"] - high) <= slack, row
    if row["test"].startswith("McNemar"):
        wins, losses = (sums > 0).sum(), (sums < 0).sum()
        assert np.isclose(row["p"], midp(int(wins), int(losses)))
    else:
        p = flips(sums)
        assert abs(row["p"] - p) <= 6 * np.sqrt(p * (1 - p) / resamples) + 2 / resamples, row


def interval(sums: np.ndarray, sizes: np.ndarray, resamples: int) -> tuple[float, float, float]:
    """The ends of the interval, and how far apart two ways of computing them may be: of fewer than
    thirty groups Student's of a ratio, of more percentiles of resamples at Student's tails."""
    n, mean = len(sums), sums.sum() / sizes.sum()
    critical = stats.t.ppf(0.975, n - 1)
    if n < 30:
        half = critical * np.sqrt(n / (n - 1) * np.sum((sums - mean * sizes) ** 2)) / sizes.sum()
        return mean - half, mean + half, 1e-9
    drawn = np.random.default_rng(99).integers(n, size=(4000, n))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    tail = stats.norm.cdf(-critical * np.sqrt(n / (n - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    # Four times the noise of a quantile of so many resamples, and the grid of right and wrong.
    return low, high, 11 / np.sqrt(resamples) * means.std() + 1 / sizes.sum()


def flips(sums: np.ndarray) -> float:
    """The two-sided p-value of flipping the groups' signs, from many draws."""
    rng = np.random.default_rng(7)
    signs = rng.choice([-1.0, 1.0], size=(20_000, len(sums)))
    return float(np.mean(np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9))


def midp(wins: int, losses: int) -> float:
    """McNemar's mid-p from scipy's exact test."""
    if wins + losses == 0:
        return 1.0
    exact = stats.binomtest(wins, wins + losses).pvalue
    point = stats.binom.pmf(wins, wins + losses, 0.5)
    return exact - point * (0.5 if wins == losses else 1.0)


def sensitivity(row: dict, first: Path, second: Path) -> None:
    """The difference in every wording and by every rule."""
    both = [pq.read_table(folder / "items.parquet").to_pylist() for folder in (first, second)]
    for way, value in row["sensitivity"].items():
        template, metric = way.split("/", 1)
        means = [
            np.mean([item["values"][metric] for item in part if item["template"] == template])
            for part in both
        ]
        assert np.isclose(value, means[0] - means[1]), (row["model"], way)


def holm(pvalues: list[float]) -> list[float]:
    """Holm's correction by its definition: the largest of what stands before, at most 1."""
    order = sorted(range(len(pvalues)), key=lambda i: pvalues[i])
    found = [0.0] * len(pvalues)
    for rank, place in enumerate(order):
        before = [(len(pvalues) - r) * pvalues[order[r]] for r in range(rank + 1)]
        found[place] = min(1.0, max(before))
    return found


def over_seeds(row: dict, differences: list[dict]) -> None:
    """Student's interval of the seeds' differences."""
    keys = ("benchmark", "exposure", "variant", "relation")
    values = [d["value"] for d in differences if all(d[key] == row[key] for key in keys)]
    assert np.isclose(row["value"], np.mean(values))
    if np.ptp(values) < 1e-12:
        assert row["low"] is row["high"] is None
        assert row["p"] == (1.0 if values[0] == 0 else 2.0 ** (1 - len(values)))
        return
    found = stats.ttest_1samp(values, 0.0)
    assert np.allclose([row["low"], row["high"]], found.confidence_interval())
    assert np.isclose(row["p"], found.pvalue)
