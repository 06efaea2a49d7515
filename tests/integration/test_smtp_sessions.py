"""SMTP sessions that outlive an account, and the commands that nobody's client uses."""

import itertools
import os
import smtplib

import chatmessages
import pytest
from rig.host import PASSWORD
from rig.stock import ORDINARY_USERS

ORDINARY = "alice@example.org"
DAY = 86_400
NUMBERS = itertools.count(1)


@pytest.fixture
def name(host):
    """An address that nobody has yet."""
    return f"session{next(NUMBERS):02d}@{host.chat_domain}"


def answer(smtp, sender, recipient, message=None):
    """The reply to the first command that is refused, or to the message."""
    smtp.rset()     # what was refused before leaves no transaction open
    code, text = smtp.mail(sender)
    if code == 250:
        code, text = smtp.rcpt(recipient)
    if code == 250:
        code, text = smtp.data(message or chatmessages.encrypted(sender, recipient, "hello"))
    return code, text.decode()


@pytest.mark.parametrize("ends", [("delete", "--yes"), ("delete", "--yes", "--block"), ("block",)])
def test_an_open_session_ends_with_its_account(host, person, name, ends):
    with host.smtp(name, PASSWORD) as smtp:
        assert answer(smtp, name, person)[0] == 250
        host.chatmaild("accounts", *ends, name)
        code, text = answer(smtp, name, person)
        assert (code, text[:5]) == (550, "5.7.1"), text


def test_an_open_session_ends_with_an_account_that_expires(host, person, name):
    with host.smtp(name, PASSWORD) as smtp:
        assert answer(smtp, name, person)[0] == 250
        os.utime(host.mailbox(name) / "password", (DAY, DAY))
        host.chatmaild("expire", user="_chatmaild")
        assert not host.mailbox(name).exists()
        code, text = answer(smtp, name, person)
        assert (code, text[:5]) == (550, "5.7.1"), text


def test_a_former_owner_does_not_write_as_the_next_one(host, person, name):
    with host.smtp(name, PASSWORD) as former:       # this login made the account
        host.chatmaild("accounts", "delete", "--yes", name)
        host.imap(name, "the next owner's password").logout()
        assert answer(former, name, person) == (
            550, "5.7.1 This account or its password changed since your login, log in again")
    with host.smtp(name, "the next owner's password") as smtp:
        assert answer(smtp, name, person)[0] == 250


def test_while_nobody_can_tell_only_chat_waits(host, person):
    with host.smtp(person, PASSWORD) as chat, \
            host.smtp("alice", ORDINARY_USERS["alice"]) as ordinary:
        with host.hanging("recipients"):
            assert answer(chat, person, person)[0] == 451
            assert answer(ordinary, ORDINARY, "bob@example.org")[0] == 250
        assert answer(chat, person, person)[0] == 250, "and not for longer"


@pytest.mark.parametrize("port", [25, 465])
def test_an_envelope_that_is_no_utf8_passes_as_ever(host, port):
    """With smtputf8_enable = no Postfix takes any octets."""
    host.run("postconf", "-e", "smtputf8_enable = no")
    host.reload_postfix()
    try:
        user = {} if port == 25 else {"user": "alice", "password": ORDINARY_USERS["alice"]}
        with host.smtp(port=port, source=host.stranger, **user) as smtp:
            smtp.ehlo()
            smtp.command_encoding = "latin-1"
            assert smtp.docmd("MAIL", "FROM:<m\xfcller@sender.example>")[0] == 250
            assert smtp.docmd("RCPT", "TO:<bob@example.org>")[0] == 250
            message = chatmessages.cleartext("a@b.example", "bob@example.org", "hi")
            assert smtp.data(message)[0] == 250
    finally:
        host.run("postconf", "-X", "smtputf8_enable")
        host.reload_postfix()


def by_bdat(smtp, sender, recipient, message, chunks):
    """The code of the answer to the last of `chunks` chunks (RFC 3030)."""
    smtp.mail(sender)
    smtp.rcpt(recipient)
    size = len(message) // chunks + 1
    for at in range(0, len(message), size):
        part = message[at:at + size]
        last = " LAST" if at + size >= len(message) else ""
        smtp.send(f"BDAT {len(part)}{last}\r\n".encode() + part)
        code, _ = smtp.getreply()
        assert last or code == 250
    return code


@pytest.mark.parametrize("chunks", [1, 3])
def test_bdat_is_no_way_around(host, person, chunks):
    """The filter sees the message as after DATA."""
    clear = chatmessages.cleartext(person, person, "hello")
    sealed = chatmessages.encrypted(person, person, "hello")
    with host.smtp(person, PASSWORD) as smtp:
        smtp.ehlo()
        assert "chunking" in smtp.esmtp_features
        assert by_bdat(smtp, person, person, clear, chunks) == 523
        assert by_bdat(smtp, person, person, sealed, chunks) == 250


def test_bdat_is_no_way_around_from_outside(host, person):
    stranger = "alice@sender.example"
    clear = chatmessages.cleartext(stranger, person, "hello")
    sealed = chatmessages.encrypted(stranger, person, "hello")
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        assert by_bdat(smtp, stranger, person, clear, 3) == 523
        assert by_bdat(smtp, stranger, person, sealed, 3) == 554, "it is not signed"


def test_binarymime_is_not_offered(host, person):
    with host.smtp(person, PASSWORD) as smtp:
        smtp.ehlo()
        assert "binarymime" not in smtp.esmtp_features
        assert smtp.mail(person, ["BODY=BINARYMIME"])[0] >= 500


def test_each_transaction_of_a_session_is_judged_by_itself(host, person):
    """Whatever came before: a refusal, another sender, RSET in the middle, a second login."""
    clear = chatmessages.cleartext(person, person, "hello")
    with host.smtp(person, PASSWORD) as smtp:
        assert answer(smtp, person, person)[0] == 250
        assert answer(smtp, person, person, clear)[0] == 523
        assert answer(smtp, ORDINARY, person)[0] in (553, 554)
        smtp.rset()
        smtp.mail(person)
        smtp.rset()
        assert answer(smtp, person, person, clear)[0] == 523
        assert smtp.docmd("AUTH", "PLAIN AAAA")[0] == 503, "one login a session"
        smtp.rset()
        assert answer(smtp, person, person)[0] == 250


SPELLINGS = [
    '"{name}"@{domain}', '{name}@"chat".example.org', "{name}@chat\\.example.org",
    "{name}@[{domain}]", '"{name}@{domain}" <alice@example.org>', "{name} @ chat . example . org",
    "=?utf-8?q?{name}=40chat=2Eexample=2Eorg?=", '{name}"@"{domain}',
    "<{name}@(a (b))CHAT.example.org>",
]


def test_no_spelling_of_a_chat_address_passes_from_a_user_of_the_host(host, person):
    """From a client outside of mynetworks: for others Postfix may rewrite the header."""
    name, domain = person.split("@")
    with host.smtp("alice", ORDINARY_USERS["alice"], source=host.stranger) as smtp:
        for spelling in SPELLINGS:
            author = spelling.format(name=name, domain=domain)
            message = chatmessages.cleartext(ORDINARY, "bob@example.org", "hello").replace(
                f"From: <{ORDINARY}>".encode(), f"From: {author}".encode())
            assert author.encode() in message
            code, text = answer(smtp, ORDINARY, "bob@example.org", message)
            assert code == 554, f"{author}: {text}"


def test_a_stranger_cannot_say_who_they_are(host, person):
    """XCLIENT and XFORWARD are for mynetworks that the admin lists, and nobody is by default."""
    for source in ("127.0.0.1", host.stranger):
        with host.smtp(port=25, source=source) as smtp:
            smtp.ehlo()
            assert "xclient" not in smtp.esmtp_features
            assert smtp.docmd("XCLIENT", f"LOGIN={person} ADDR=127.0.0.1")[0] >= 500
            assert answer(smtp, person, person)[0] == 554


def test_no_command_but_rcpt_tells_who_has_an_account(host, person):
    """RCPT must, or mail to nobody would bounce; Postfix makes guessing slow and hangs up."""
    nobody = f"nobody-at-all@{host.chat_domain}"
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        for command in ("VRFY", "EXPN", "ETRN"):
            there, not_there = (smtp.docmd(command, address) for address in (person, nobody))
            assert there[0] == not_there[0], command
            assert there[1].replace(person.encode(), b"") == not_there[1].replace(
                nobody.encode(), b""), command
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        smtp.mail("x@sender.example")
        guesses = 0
        with pytest.raises(smtplib.SMTPServerDisconnected):
            while smtp.rcpt(nobody)[0] != 421:
                guesses += 1
                assert guesses < 30
            raise smtplib.SMTPServerDisconnected("hung up politely")
