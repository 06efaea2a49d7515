"""Hosts that share the integration tests."""

import pytest
from rig.parting import elsewhere

MODULES = ["a"] * 9 + ["b"] * 5 + ["c"] * 3 + ["d"]


@pytest.mark.parametrize("of", [1, 2, 3, 9])
def test_each_module_is_run_once(of):
    for module in set(MODULES):
        assert sum(module not in elsewhere(MODULES, part, of) for part in range(1, of + 1)) == 1


def test_all_have_about_as_many_tests():
    assert elsewhere(MODULES, 1, 2) == {"b", "c", "d"}
    assert elsewhere(MODULES, 2, 2) == {"a"}


@pytest.mark.parametrize("part, of", [(0, 2), (3, 2)])
def test_a_part_that_is_none(part, of):
    with pytest.raises(ValueError):
        elsewhere(MODULES, part, of)
