"""Many instances as one name."""

from itertools import product

from flows import fold
from tests.small import SMOKE, karma


def test_a_whole_product_is_one_name():
    ids = ["/".join(parts) for parts in product(["policy"], ["a", "b"], ["x", "y", "z"], ["0"])]
    assert list(fold.products(ids)) == [ids]
    assert fold.name(ids) == "policy/{a,b}/{x,y,z}/0"


def test_what_is_missing_from_a_product_is_never_named():
    ids = ["/".join(parts) for parts in product("ab", "xyz", "01")]
    for absent in ids:
        some = [one for one in ids if one != absent]
        found = list(fold.products(some))
        assert sorted(one for part in found for one in part) == sorted(some)
        assert absent not in {one for part in found for one in _written(fold.name(part))}


def _written(name: str) -> list[str]:
    """What a shell makes of the braces."""
    parts = [part.strip("{}").split(",") for part in name.split("/")]
    return ["/".join(one) for one in product(*parts)]


def test_ids_of_unlike_lengths_are_not_mixed():
    assert list(fold.products(["labels", "labels/card"])) == [["labels"], ["labels/card"]]


def test_the_plan_of_a_matrix_is_a_line_for_what_is_alike(tmp_path):
    seeds = ("--set", "seeds=[0,1,2]")
    printed = karma("plan", str(SMOKE), *seeds, workspace=tmp_path).stdout.splitlines()
    [line] = [line for line in printed if line.startswith("PENDING  policy/")]
    assert "{context,metadata,reply,random}/{0,1,2}" in line
    assert "(24)" in line
    assert len(printed) < 25


def test_of_many_values_the_first_and_the_last_are_told():
    assert fold.name([f"threads/{number}" for number in range(57)]) == "threads/{0,...,56}"
