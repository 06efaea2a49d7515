"""The private host by itself: an ordinary mail host that serves ordinary mail."""

import imaplib
import socket

import pytest
from rig.stock import ORDINARY_USERS

MESSAGE = """\
From: alice@example.org
To: {to}
Subject: Lunch

At noon, under the clock {port}?
"""


@pytest.mark.parametrize("port", [465, 587])
def test_ordinary_users_write_each_other(host, port):
    to = "bob@example.org"
    with host.smtp("alice", ORDINARY_USERS["alice"], port) as smtp:
        smtp.sendmail("alice@example.org", [to], MESSAGE.format(to=to, port=port))
    with host.imap("bob", ORDINARY_USERS["bob"]) as imap:
        assert host.wait_for_mail(imap, words=f"clock {port}")


def test_a_wrong_password_is_refused(host):
    with pytest.raises(imaplib.IMAP4.error):
        host.imap("alice", "wrong", source="127.0.0.2")  # Dovecot slows that address down


def test_the_network_is_private():
    with pytest.raises(OSError):
        socket.create_connection(("198.51.100.1", 25), timeout=5)
