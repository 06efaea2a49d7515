"""GCRA: what one sender may send, for any series of attempts."""

from hypothesis import given, strategies as st

from chatmaild.filter import rates
from chatmaild.filter.rates import Rates


@given(st.integers(1, 120), st.integers(1, 20), st.lists(st.floats(0, 30), max_size=80))
def test_equals_a_bucket_of_tokens(per_minute, burst, pauses):
    limiter, now, tokens, filled = Rates(), 0.0, float(burst), 0.0
    for pause in pauses:
        now += pause
        tokens = min(burst, tokens + (now - filled) * per_minute / 60)
        filled = now
        allowed = limiter.allow("a@b.test", now, per_minute, burst)
        if abs(tokens - 1) > 1e-6:      # at the border rounding decides
            assert allowed == (tokens > 1)
        tokens -= allowed


def test_senders_do_not_disturb_each_other_and_a_refusal_costs_nothing():
    limiter = Rates()
    assert limiter.allow("a", 0, 60, 1) and limiter.allow("b", 0, 60, 1)
    assert not any(limiter.allow("a", 0.5, 60, 1) for _ in range(100))
    assert limiter.allow("a", 1, 60, 1)


def test_idle_senders_are_forgotten(monkeypatch):
    monkeypatch.setattr(rates, "SWEEP_ABOVE", 100)
    limiter = Rates()
    for number in range(10_000):
        assert limiter.allow(str(number), number, 60, 10)
    assert len(limiter) <= 202
