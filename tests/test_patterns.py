"""No regular expression of the package costs more than linear time, whatever it is given."""

import re
import signal
import time
from collections.abc import Callable

import pytest
from patterns import Applied, applied, hard_texts

pytestmark = pytest.mark.timing

SIZE = 512
"""Characters of the smallest text; the others have 4 and 16 times as many."""

FAST = 0.0004
"""CPU seconds for the largest text that are linear without a doubt: 50 ns a character."""

HOPELESS = 2


def cpu(function: Callable[[], None], runs: int) -> float:
    """CPU seconds, the least of some runs: what else runs on the machine does not count."""
    best = HOPELESS
    for _ in range(runs):
        begin = time.thread_time()
        function()
        best = min(best, time.thread_time() - begin)
    return best


def grows_too_fast(apply: Applied, text: tuple[str, str, str]) -> str:
    """What is wrong with the times for a text of 1, 4 and 16 times the size; "" if nothing is."""
    begin, repeated, end = text
    subjects = [begin + repeated * (SIZE * times // len(repeated)) + end for times in (1, 4, 16)]
    if cpu(lambda: apply(subjects[1]), 1) < FAST and cpu(lambda: apply(subjects[2]), 1) < FAST:
        return ""
    for _ in range(4):
        times = [cpu(lambda: apply(subject), 5) for subject in subjects]
        if times[1] <= 1.5 * 4 * times[0] and times[2] <= 1.5 * 4 * times[1]:
            return ""
    return f"{text}: " + ", ".join(f"{1000 * took:.2f} ms" for took in times)


@pytest.fixture
def not_for_ever():
    """An exception for who would be here for hours."""
    def stop(number, frame):
        raise AssertionError("takes for ever")
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, 60)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


ALL = applied()


@pytest.mark.parametrize("apply", ALL, ids=[apply.where for apply in ALL])
def test_a_pattern_takes_linear_time(apply, not_for_ever):
    for text in hard_texts(apply.pattern):
        assert not (trouble := grows_too_fast(apply, text)), trouble


@pytest.mark.parametrize("pattern, method", [
    (r"\s+x", "search"), (r"(a+)+\Z", "match"), (rb"a*a*b", "match"), (r"\(.*\)", "search"),
    (r"<\s*([^<>]+)\s*>", "match"),
])
def test_the_measurement_sees_a_pattern_that_does_not(pattern, method, not_for_ever):
    apply = Applied("example", re.compile(pattern), method)
    with pytest.raises(AssertionError):
        signal.setitimer(signal.ITIMER_PROF, 1)
        for text in hard_texts(apply.pattern):
            assert not (trouble := grows_too_fast(apply, text)), trouble


def test_every_room_is_walked():
    assert {"chatmaild.address", "chatmaild.filter", "chatmaild.message", "chatmaild.dkim",
            "chatmaild.config", "chatmaild.accounts"} <= {
                ".".join(apply.where.split(".")[:2]) for apply in ALL}
