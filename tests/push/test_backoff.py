"""When a notification is tried again, and how a gateway that was down is met on its return."""

import pytest

from chatmaild.push import backoff
from chatmaild.push.backoff import Breaker

SPREADS = (0.0, 0.5, 0.999)


@pytest.mark.parametrize("spread", SPREADS)
def test_delay_grows_to_its_limit(spread):
    delays = [backoff.delay(failures, spread) for failures in range(1, 40)]
    assert delays == sorted(delays)
    assert 0.5 * backoff.FIRST_DELAY <= delays[0] <= backoff.FIRST_DELAY
    assert 0.5 * backoff.LONGEST_DELAY <= delays[-1] <= backoff.LONGEST_DELAY


def test_those_who_failed_together_are_tried_apart():
    assert backoff.delay(5, 0.0) * 1.9 < backoff.delay(5, 0.99)


def test_single_failures_do_not_open():
    breaker = Breaker(8)
    for _ in range(20):
        breaker.failure(100.0, 0.5)
        breaker.success()
    assert breaker.allowance(100.0, 3) == 5


def opened(limit=8, now=100.0):
    breaker = Breaker(limit)
    for _ in range(backoff.FAILURES_TO_OPEN):
        assert not breaker.is_open(now)
        breaker.failure(now, 0.5)
    return breaker


def test_failures_in_a_row_open_it_and_nothing_is_sent():
    breaker = opened()
    assert breaker.is_open(100.0)
    assert breaker.allowance(100.0, 0) == 0
    assert 100.0 < breaker.reopens(100.0) <= 100.0 + backoff.FIRST_PAUSE


def test_one_probe_then_twice_as_many_with_each_round_trip():
    breaker = opened()
    now = breaker.reopens(100.0)
    together = []
    for _ in range(5):
        batch = breaker.allowance(now, 0)
        together.append(batch)
        for _ in range(batch):
            breaker.success()
    assert together == [1, 2, 4, 8, 8]


def test_pause_grows_while_probes_fail():
    breaker, now, pauses = opened(), 100.0, []
    for _ in range(12):
        pause = breaker.reopens(now) - now
        pauses.append(pause)
        now += pause
        assert breaker.allowance(now, 0) == 1
        breaker.failure(now, 0.5)
    assert pauses == sorted(pauses)
    assert pauses[0] < backoff.FIRST_PAUSE and pauses[-1] <= backoff.LONGEST_PAUSE
    assert pauses[-1] >= backoff.LONGEST_PAUSE / 2


def test_what_fails_after_the_pause_began_says_nothing_new():
    breaker = opened()
    until = breaker.reopens(100.0)
    for _ in range(30):
        breaker.failure(101.0, 0.5)
    assert breaker.reopens(101.0) == until


def test_retry_after_is_honoured_at_once_and_bounded():
    breaker = Breaker(8)
    breaker.failure(100.0, 0.5, retry_after=60.0)
    assert breaker.reopens(100.0) == 160.0
    breaker = Breaker(8)
    breaker.failure(100.0, 0.5, retry_after=1e9)
    assert breaker.reopens(100.0) == 100.0 + backoff.LONGEST_PAUSE


def test_a_clock_set_back_does_not_keep_it_open():
    assert not opened(now=1_000_000.0).is_open(100.0)


def test_a_lowered_limit_holds_at_once():
    breaker = Breaker(8)
    breaker.limit = 2
    assert breaker.allowance(100.0, 0) == 2
