"""Gates: what the report flags is what a gate refuses."""

from karma.gates import unmet


def test_only_trained_rewards_that_the_report_flags_are_unmet():
    flag = "it is not shown to predict karma better than length."
    rewards = [
        {"id": "context/0", "kind": "model", "flag": flag},
        {"id": "metadata/0", "kind": "model", "flag": None},
        {"id": "random/0", "kind": "random", "flag": flag},
    ]
    assert unmet({"rewards": rewards}) == [f"context/0: {flag}"]
