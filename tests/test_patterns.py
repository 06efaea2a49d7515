"""No regular expression of the package costs more than linear time, whatever it is given."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from patterns import Applied, applied, hard_texts

pytestmark = pytest.mark.timing

SIZE = 512
"""Characters of the smallest text; the others have 4 and 16 times as many."""

FAST = 0.0004
"""CPU seconds for the largest text that are linear without a doubt: 50 ns a character."""

HOPELESS = 2.0


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
    for _ in range(12):     # each by itself: a CPU is faster at one time than at another
        times = [cpu(lambda: apply(subject), 5) for subject in subjects]
        if times[1] <= 1.5 * 4 * times[0] and times[2] <= 1.5 * 4 * times[1]:
            return ""
    return f"{text}: " + ", ".join(f"{1000 * took:.2f} ms" for took in times)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """An exception for who would be here for hours, by this process's CPU seconds."""
    def stop(number, frame):
        raise TimeoutError("takes for ever")
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


ALL = applied()


def trouble(apply: Applied, seconds: float) -> str:
    """The first hard text for which the pattern takes too long; "" if there is none."""
    try:
        with at_most(seconds):
            for text in hard_texts(apply.pattern):
                if found := grows_too_fast(apply, text):
                    return found
    except TimeoutError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("apply", ALL, ids=[apply.where for apply in ALL])
def test_a_pattern_takes_linear_time(apply):
    assert not trouble(apply, 60)


@pytest.mark.parametrize("pattern, method", [
    (r"\s+x", "search"), (r"(a+)+\Z", "match"), (rb"a*a*b", "match"), (r"\(.*\)", "search"),
    (r"<\s*([^<>]+)\s*>", "match"),
])
def test_the_measurement_sees_a_pattern_that_does_not(pattern, method):
    assert trouble(Applied("example", re.compile(pattern), method), 1)


def test_every_room_is_walked():
    assert {"chatmaild.address", "chatmaild.filter", "chatmaild.message", "chatmaild.dkim",
            "chatmaild.config", "chatmaild.accounts"} <= {
                ".".join(apply.where.split(".")[:2]) for apply in ALL}
