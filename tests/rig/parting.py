"""Which of several hosts runs which module of tests: each gets about as many tests."""

from collections import Counter
from collections.abc import Iterable


def elsewhere(modules: Iterable[str], part: int, of: int) -> set[str]:
    """The modules that others than the host `part`, of 1 to `of`, run.

    `modules` has a module once for each of its tests. Raises `ValueError` for a part that is none.
    """
    if not 1 <= part <= of:
        raise ValueError(f"there is no part {part} of {of}")
    loads = [0] * of
    others = set()
    for module, tests in sorted(Counter(modules).items(), key=lambda item: (-item[1], item[0])):
        lightest = loads.index(min(loads))
        loads[lightest] += tests
        if lightest != part - 1:
            others.add(module)
    return others
