"""The sessions of an account are counted now and then, not at every login."""

from chatmaild.accounts.crowds import EVERY, MAX_ACCOUNTS, Crowds


def test_sessions_are_counted_at_every_so_many_logins_of_one_account():
    crowds = Crowds()
    due = [crowds.count_is_due("bob@chat.example") for _ in range(3 * EVERY)]
    assert [number for number, is_due in enumerate(due, 1) if is_due] == [
        EVERY, 2 * EVERY, 3 * EVERY]
    assert not any(crowds.count_is_due(f"user{number}@chat.example") for number in range(EVERY))


def test_what_is_remembered_has_an_end():
    crowds = Crowds()
    for number in range(MAX_ACCOUNTS):
        crowds.count_is_due(f"user{number}@chat.example")
    assert not any(crowds.count_is_due("bob@chat.example") for _ in range(EVERY - 1))
    assert crowds.count_is_due("bob@chat.example")
