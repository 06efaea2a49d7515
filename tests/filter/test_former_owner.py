"""A session that stayed open when its account ended sends nothing in the next owner's name."""

import pytest
from filterworld import Session, World

from chatmaild.config import inifile
from chatmaild.errors import StoreError
from chatmaild.filter import outgoing
from chatmaild.filter.client import Client
from chatmaild.filter.questions import Account, MailboxState

ALICE = "alice@chat.example"
INI = "[chatmaild]\nmail_domains = chat.example\n"
CONNECTED = 1000.0
THERE = MailboxState.ENFORCING


def refusal(account, at=CONNECTED + 10, ini=""):
    """What MAIL is answered in a session that connected at CONNECTED; None: go on."""
    world = World()
    world.account = lambda address: account
    config = inifile.parse((INI + ini).encode(), "test.ini")
    session = Session(config, Client(login=ALICE, connected=CONNECTED), world)
    found = session.mail(f"<{ALICE}>", at=at)
    assert session.transaction.direction == "outgoing"
    return found and (found.reply.code, found.reply.status, found.reason)


@pytest.mark.parametrize("account, expected", [
    (Account(THERE), None),
    (Account(MailboxState.OPEN), None),
    (Account(MailboxState.BLOCKED), ("550", "5.7.1", "sender-blocked")),
    (Account(MailboxState.UNKNOWN), ("550", "5.7.1", "sender-unknown")),
    (Account(MailboxState.UNKNOWN, CONNECTED + 1), ("550", "5.7.1", "sender-ended")),
])
def test_who_has_no_account_sends_nothing(account, expected):
    assert refusal(account) == expected


@pytest.mark.parametrize("ended, refused", [
    (CONNECTED + 1, True), (CONNECTED, True),
    (CONNECTED - 1, False),         # whoever logged in since then logged in to the new account
    (CONNECTED + 100, False),       # a mark from before the last boot: the clock began anew
    (None, False),                  # the account may be seconds old: its first login makes it
])
def test_a_login_holds_for_the_account_that_it_was_for(ended, refused):
    assert (refusal(Account(THERE, ended)) is not None) is refused


def test_a_session_older_than_what_is_remembered_has_to_log_in_again():
    assert refusal(Account(THERE), at=CONNECTED + outgoing.MAX_SESSION) is None
    code, status, _ = refusal(Account(THERE), at=CONNECTED + outgoing.MAX_SESSION + 1)
    assert (code, status) == ("421", "4.7.0"), "which also ends the session"


def test_a_sender_whom_the_admin_lists_may_have_an_account_elsewhere():
    ini = f"passthrough_senders = {ALICE}\n"
    assert refusal(Account(MailboxState.UNKNOWN), ini=ini) is None
    assert refusal(Account(MailboxState.UNKNOWN, CONNECTED + 1), ini=ini)
    assert refusal(Account(MailboxState.BLOCKED), ini=ini)


def test_trouble_is_nobodys_verdict():
    world = World()

    def account(address):
        raise StoreError("nobody tells")
    world.account = account
    session = Session(inifile.parse(INI.encode(), "test.ini"), Client(login=ALICE), world)
    with pytest.raises(StoreError):
        session.mail(f"<{ALICE}>")


def test_what_is_refused_anyway_is_not_asked_about():
    session = Session(inifile.parse(INI.encode(), "test.ini"), Client(login=ALICE))
    assert session.mail("<bob@chat.example>").reason == "sender-is-not-login"
    assert session.mail(f"<{ALICE}>", size=1 << 40).reason == "too-large"
    assert session.world.asked == []
