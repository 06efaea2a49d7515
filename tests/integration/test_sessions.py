"""Sessions end with the account, or when it is blocked; nobody else notices anything."""

import contextlib
import imaplib
import os
import smtplib

import pytest
from rig.host import PASSWORD
from rig.stock import ORDINARY_USERS
from rig.until import until

from chatmaild.accounts.crowds import EVERY


def is_open(imap):
    """Whether the server still answers. A connection that it closed is closed here as well: OpenSSL
    3.5 takes the error of a later write to it for the error of the next connection that is read."""
    try:
        return imap.noop()[0] == "OK"
    except (imaplib.IMAP4.error, OSError):
        with contextlib.suppress(OSError):     # it was found closed before
            imap.shutdown()
        return False


def delete(host, user):
    host.chatmaild("accounts", "delete", "--yes", user)


def delete_and_block(host, user):
    host.chatmaild("accounts", "delete", "--block", "--yes", user)


def block(host, user):
    host.chatmaild("accounts", "block", user)


def expire(host, user):
    with host.without("lastlogin"):     # which may not have noted the logins yet
        os.utime(host.mailbox(user) / "password", (86_400, 86_400))
    host.chatmaild("expire", user="_chatmaild")
    assert not host.mailbox(user).exists()


@pytest.mark.parametrize("end", [delete, delete_and_block, block, expire],
                         ids=lambda function: function.__name__)
def test_sessions_end_with_the_account(host, end):
    user, other = host.new_person(), host.new_person()
    selected, idle = host.imap(user, PASSWORD), host.imap(user, PASSWORD)
    selected.select()
    bystanders = [host.imap(other, PASSWORD), host.imap("alice", ORDINARY_USERS["alice"])]
    end(host, user)
    assert not is_open(selected) and not is_open(idle)
    for bystander in bystanders:
        assert is_open(bystander)
        bystander.logout()


def test_a_delivery_under_way_is_not_waited_for(host):
    """Dovecot 2.4 counts it among the sessions."""
    user = host.new_person()
    with contextlib.closing(smtplib.LMTP("/var/spool/postfix/private/dovecot-lmtp")) as lmtp:
        lmtp.ehlo("sender.example")
        lmtp.mail("alice@example.org")
        assert lmtp.rcpt(user)[0] == 250
        assert host.chatmaild("accounts", "block", user).stdout == f"{user}: blocked\n"


def test_the_next_owner_shares_nothing_with_the_one_before(host):
    user = host.new_person()
    former = host.imap(user, PASSWORD)
    former.append("INBOX", None, None, b"Subject: of the former owner\r\n\r\nx\r\n")
    delete(host, user)
    with host.imap(user, "the next owner's", source="127.0.5.1") as new:
        assert new.select() == ("OK", [b"0"])
        new.append("INBOX", None, None, b"Subject: of the next owner\r\n\r\nx\r\n")
        with pytest.raises((imaplib.IMAP4.error, OSError)):
            former.select()
        assert new.select() == ("OK", [b"1"])


def test_nobody_but_mail_user_and_root_ends_sessions(host):
    user = host.new_person()
    imap = host.imap(user, PASSWORD)
    code = ("import socket; s = socket.socket(socket.AF_UNIX); "
            "s.connect('/run/dovecot/chatmaild-sessions')")
    assert host.run("/usr/bin/python3", "-c", code, user="alice", check=False).returncode != 0
    assert host.chatmaild("end-sessions", "alice", check=False).returncode == 2
    assert is_open(imap)
    imap.logout()


def test_one_account_does_not_take_everybodys_sessions(host):
    before = host.ini.read_text()
    host.configure(before.replace("#max_user_sessions = 50", "max_user_sessions = 5"))
    try:
        user, other = host.new_person(), host.new_person()
        few = [host.imap(other, PASSWORD) for _ in range(5)]
        many = [host.imap(user, PASSWORD, source=f"127.0.7.{number % 4 + 1}")
                for number in range(EVERY - 1)]      # the first login of all made the account
        until(lambda: not any(map(is_open, many)), "the sessions of the one to end")
        assert all(map(is_open, few))
        host.imap(user, PASSWORD).logout()
    finally:
        host.configure(before)
