"""Accounts through a real Dovecot: in on the first login, never locked out."""

import imaplib
import itertools

import pytest

PASSWORD = "a chat pässword \\\"'%u {PLAIN}"
NUMBERS = itertools.count(1)

MAIL = """\
From: stranger@example.net
To: {to}
Subject: [...]

Nothing.
"""


@pytest.fixture
def address(host):
    """A new address at each use."""
    return f"user{next(NUMBERS):05d}@{host.chat_domain}"


def encoded(password):
    """imaplib encodes text as ASCII only; PLAIN takes any bytes."""
    return password.encode() if isinstance(password, str) else password


def login(host, user, password):
    imap = host.imap_connection()
    try:
        imap.authenticate("PLAIN", lambda _: b"\0" + user.encode() + b"\0" + encoded(password))
    except BaseException:
        imap.shutdown()
        raise
    return imap


def can_login(host, user, password=PASSWORD):
    try:
        login(host, user, password).logout()
    except imaplib.IMAP4.error as error:
        text = str(error)
        assert "AUTHENTICATIONFAILED" in text or "UNAVAILABLE" in text, text
        return False
    return True


def test_the_first_login_creates_the_account(host, address):
    login(host, address, PASSWORD).logout()
    home = host.mailbox(address)
    assert home.owner() == "_chatmaild" and home.stat().st_mode & 0o777 == 0o700
    assert (home / "password").read_text().startswith("{SHA512-CRYPT}$6$")
    assert can_login(host, address)
    assert not can_login(host, address, "another password")
