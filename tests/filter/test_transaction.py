"""Whose mail it is: logins, senders and From headers that name chat users."""

from base64 import b64encode

import pytest
from filterworld import Session

from chatmaild.config import inifile
from chatmaild.filter.client import Client

CONFIG = inifile.parse(b"[chatmaild]\nmail_domains = chat.example\n", "test.ini")
USER = Client("192.0.2.7", "carol@ordinary.example")
STRANGER = Client("192.0.2.7")
LOCAL = Client("127.0.0.1", is_local=True)


def begun(client, path="<carol@ordinary.example>", resolved="", recipient="<x@other.example>"):
    """A transaction after its RCPT, and the verdict on its sender."""
    session = Session(CONFIG, client)
    refused = session.mail(path, resolved=resolved)
    if refused is None:
        session.recipient(recipient)
    return session.transaction, refused


@pytest.mark.parametrize("client", [USER, STRANGER])
@pytest.mark.parametrize("path, resolved", [
    ("<bob@chat.example>", "bob@chat.example"), ("<BOB@Chat.Example.>", ""),
    ("<bob%chat.example>", "bob@chat.example"), ("<chat.example!bob>", "bob@chat.example"),
    ('<bob@"chat.example">', "bob@chat.example"),
])
def test_nobody_sends_as_a_chat_user_without_the_login(client, path, resolved):
    transaction, refused = begun(client, path, resolved)
    assert (refused.reason, refused.reply.code) == ("sender-without-login", "554")
    assert transaction.direction == "outgoing"


@pytest.mark.parametrize("value, shown", [
    (b"<bob@chat.example>", True), (b"bob@CHAT.example", True), (b"bob @ chat\n .example.", True),
    (b"bob@(a (nested) comment)chat.example", True), (b'"bob"@chat.example', True),
    (b"alice@other.example, bob@chat.example", True), (b"( <bob@chat.example>", True),
    (b'"bob@chat.example" <carol@ordinary.example>', True),
    (b"bob@chat.example and others <carol@ordinary.example>", True),
    (b"bob@chat.example<carol@ordinary.example>", True), (b'bob@"chat".example', True),
    (b"bob@chat\\.example", True), (b"bob@[chat.example]", True), (b'bob"@"chat.example', True),
    (b"bob@<chat.example>", True), (b"bob@,chat.example", True), (b"bob@\x0bchat.example", True),
    (b"=?utf-8?q?bob=40chat=2Eexample?=", True), (b"bob@=?utf-8?q?chat.example?=", True),
    ("bob\uff20\uff43hat.example".encode(), True), ("bob@ch\xadat.example".encode(), True),
    ("bob@chat\u3002example".encode(), True), ("bob@chat\uff61example".encode(), True),
    (b"=?iso-2022-jp?b?%b?=" % b64encode("bob@chat\u3002example".encode("iso2022_jp")), True),
    (b"=?unicode-1-1-utf-7*en?q?bob+AEA-chat.example?=", True), (b"bob@)chat.example", True),
    (b"=?UTF-16BE?b?%b?=" % b64encode("bob@chat.example".encode("utf-16-be")), True),
    (b"<carol@ordinary.example>", False), (b"<bob@sub.chat.example>", False),
    (b"<bob@chat.example.org>", False), (b"chat.example <carol@ordinary.example>", False),
    (b"", False), (b"\xff(((\\", False),
])
def test_a_user_of_the_host_writes_from_no_chat_address(value, shown):
    transaction, _ = begun(USER)
    assert transaction.data() is None
    found = transaction.headers([("To", b"<bob@chat.example>"), ("FROM", value)], 0.0)
    if shown:
        assert (found.reason, found.reply.code) == ("from-is-a-chat-user", "554")
        assert transaction.direction == "outgoing"
    else:
        assert found.reason == "not-ours" and found.accepted
        assert not transaction.direction, "ordinary mail would be in our log"


@pytest.mark.parametrize("client", [USER, LOCAL])
@pytest.mark.parametrize("name, value, accepted", [
    ("from", b"<bob@chat.example>", False), ("Sender", b"bob@chat.example", False),
    ("From", b"<carol@ordinary.example>", True), ("To", b"<bob@chat.example>", True)])
def test_no_author_hides_behind_a_thousand_headers(client, name, value, accepted):
    transaction, _ = begun(client)
    transaction.note_author(name, value)
    assert transaction.data() is None
    assert transaction.headers([("From", b"<carol@ordinary.example>")], 0.0).accepted is accepted


def test_a_user_of_the_host_shows_chat_users_no_other_as_the_author():
    """What is refused in mail to others is refused in mail to chat users, and to both at once."""
    session = Session(CONFIG, USER)
    assert session.mail("<carol@ordinary.example>") is None
    for recipient in ("<alice@chat.example>", "<x@other.example>"):
        assert session.recipient(recipient) is None
    found = session.message([("From", b'"bob@chat.example" <carol@ordinary.example>')], b"")
    assert (found.reason, found.reply.code) == ("from-is-a-chat-user", "554")


@pytest.mark.parametrize("value, shown", [
    (b"<bob@chat.example>", True), (b"root <root@host.example>", False)])
def test_a_local_program_writes_from_no_chat_address(value, shown):
    transaction, _ = begun(LOCAL)
    assert transaction.data() is None
    assert transaction.headers([("From", value)], 0.0).accepted is not shown
    assert begun(LOCAL, "<bob@chat.example>")[1].reply.code == "554"


def test_a_local_program_may_write_to_everybody():
    """Postfix would keep the message for all of them if one was refused; Dovecot does that."""
    session = Session(CONFIG, LOCAL)
    assert session.mail("<root@host.example>") is None
    for recipient in ("<carol@ordinary.example>", "<nobody@chat.example>", "<bob@chat.example>"):
        assert session.recipient(recipient) is None
    assert session.transaction.data() is None
    found = session.transaction.headers([("From", b"<root@host.example>")], 0.0)
    assert found.accepted and not session.world.asked


def test_ordinary_mail_from_outside_is_not_read():
    transaction, _ = begun(STRANGER)
    assert transaction.data().reason == "not-ours"
    assert not transaction.direction
