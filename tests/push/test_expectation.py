"""When to look into a mailbox and when to ring: each row of the table, in any order."""

import pytest
from hypothesis import given, strategies as st

from chatmaild.push.expectation import (
    CLOSEST, FIRST_LOOK, LONGEST_PAUSE, PATIENCE, QUIET, Expectation, State,
)

NOW = 1000.0


def expecting(*, announced=1, seen=0, rung=False, confirmed=False):
    """An account of which so many messages were announced and seen, at `NOW`."""
    account = Expectation()
    for _ in range(announced):
        account.announced(NOW, NOW)
    for number in range(seen):
        account.looked({f"m{number}"}, True, NOW)
    if rung:
        assert account.take_ring(NOW)
    if confirmed:
        account.confirmed()
    return account


def test_a_message_that_was_announced_is_awaited():
    account = expecting(announced=2, seen=1)
    assert account.state(NOW) is State.AWAITING
    account.looked({"the other"}, False, NOW)
    assert account.state(NOW) is State.HELD


def test_what_is_from_the_owner_rings_nobody():
    account = Expectation()
    account.announced(NOW, NOW)
    account.looked({"own"}, False, NOW)
    assert account.state(NOW) is State.OVER and not account.take_ring(NOW)


def test_a_ring_is_owed_until_it_is_confirmed():
    account = expecting(seen=1)
    assert account.state(NOW) is State.HELD
    assert account.take_ring(NOW) and not account.take_ring(NOW + QUIET)
    assert account.state(NOW + QUIET) is State.RINGING
    assert not account.state(NOW + QUIET).is_settled
    account.confirmed()
    assert account.state(NOW + QUIET / 2) is State.QUIET
    assert account.state(NOW + QUIET) is State.OVER


def test_a_message_in_the_quiet_time_rings_at_its_end():
    account = expecting(seen=1, rung=True, confirmed=True)
    account.announced(NOW, NOW + 0.1)
    account.looked({"second"}, True, NOW + 0.2)
    assert account.state(NOW + 0.2) is State.HELD and not account.take_ring(NOW + 0.2)
    assert account.next_look(NOW + 0.2) == NOW + QUIET
    assert account.take_ring(NOW + QUIET)


def test_patience_ends():
    account = expecting()
    account.looked(set(), False, NOW + PATIENCE)
    assert account.is_awaiting
    account.looked(set(), False, NOW + PATIENCE + 1)
    assert account.state(NOW + PATIENCE + 1) is State.OVER


def test_the_pauses_between_looks_grow_and_begin_anew_with_an_announcement():
    account = Expectation()
    assert account.announced(NOW, NOW) == NOW + FIRST_LOOK
    pauses = [account.next_look(NOW) - NOW for _ in range(20)]
    assert pauses == sorted(pauses) and pauses[-1] == LONGEST_PAUSE
    assert account.announced(NOW, NOW) == NOW + FIRST_LOOK
    assert account.next_look(NOW) == pytest.approx(NOW + 2 * FIRST_LOOK)


def test_a_busy_account_is_not_looked_at_for_each_arrival():
    account = expecting(seen=1, rung=True)
    assert account.announced(NOW, NOW) == NOW + CLOSEST


def test_only_what_was_saved_after_the_first_announcement_counts():
    account = Expectation()
    account.announced(50.0, NOW)
    account.announced(40.0, NOW)
    assert account.since == 40.0
    account.looked({"a", "b"}, True, NOW)
    account.announced(60.0, NOW)
    assert account.since == 60.0, "what was awaited before has come"


def test_a_message_counts_once():
    account = expecting(announced=2)
    account.looked(account.unseen(["a"]), True, NOW)
    assert account.unseen(["a", "b"]) == {"b"}


STEPS = st.lists(st.tuples(st.sampled_from(["announce", "save", "confirm", "wait"]),
                           st.floats(0.0, 2.0)), max_size=60)


@given(STEPS)
def test_in_any_order_no_message_is_forgotten_and_no_burst_rings_more_than_twice(steps):
    """Driven as deliveries.py drives it; `saved` are messages on the disk."""
    account, now, due, saved, rings, saves = Expectation(), NOW, NOW, 0, [], []
    unconfirmed = announced = 0

    def look():
        nonlocal due, unconfirmed
        names = [f"m{number}" for number in range(saved)]
        fresh = account.unseen(names) if account.is_awaiting else set()
        account.looked(fresh, bool(fresh), now)
        if account.take_ring(now):
            rings.append(now)
            unconfirmed += 1
        due = account.next_look(now)

    for what, pause in steps:
        if what == "announce":
            saved, announced = (saved, announced) if account.is_awaiting else (0, 0)
            due = account.announced(now, now)
            announced += 1
        elif what == "save" and saved < announced and account.is_awaiting:
            saved += 1
            saves.append(now)
        elif what == "confirm" and unconfirmed:
            account.confirmed()
            unconfirmed -= 1
        elif what == "wait":
            end = now + pause
            while due <= end:
                now = max(now, due)
                look()
            now = end
    for _ in range(40):
        now = max(now, due)
        look()
    for _ in range(unconfirmed):
        account.confirmed()
    if saves:
        assert rings and rings[-1] >= saves[-1]
    assert all(later - earlier >= QUIET for earlier, later in zip(rings, rings[1:]))
    assert account.is_awaiting or account.state(now + QUIET) is State.OVER
