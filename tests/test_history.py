"""What a workspace remembers of its pipeline runs."""

from karma import history
from karma.journal import Journal
from tests.small import command


def test_a_run_is_running_until_it_ends_and_killed_if_it_dies_before(store):
    journal = Journal(store, "a", print)
    journal.open({"kind": "parent", "name": "a"}, {"kind": "end", "name": "a"})
    history.begin(store, "a", "smoke", "pid 7 on host")
    (run,) = history.last(store, 5)
    assert (run.status, run.recipe, run.who) == ("RUNNING", "smoke", "pid 7 on host")
    history.end(store, "a", ran=3, cached=4, failures={})
    (run,) = history.last(store, 5)
    assert (run.status, run.ran, run.cached) == ("FINISHED", 3, 4)
    history.begin(store, "b", "smoke", "pid 8 on host")
    assert [run.status for run in history.last(store, 5)] == ["KILLED", "FINISHED"]


def test_the_last_runs_come_first_and_a_line_cut_short_is_passed_over(store):
    for name in "abc":
        history.begin(store, name, name, "")
        history.end(store, name, 0, 1, {"labels": "no"} if name == "b" else {})
    with (store.root / history.FILE).open("a") as file:
        file.write('{"run": "d", "rec')
    found = history.last(store, 2)
    assert [(run.recipe, run.status) for run in found] == [("c", "FINISHED"), ("b", "FAILED")]


def test_status_tells_a_failed_run_and_that_nothing_is_scheduled(store):
    history.begin(store, "a", "smoke", "")
    history.end(store, "a", ran=1, cached=2, failures={"labels": "the disk is full"})
    told = command("status", "--workspace", str(store.root)).stdout
    assert "FAILED" in told
    assert "1 failed, labels: the disk is full" in told
    assert "nothing is scheduled" in told
