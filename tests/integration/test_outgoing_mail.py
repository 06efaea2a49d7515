"""Chat users' mail through a real Postfix: the tables of attacks and of good messages again."""

import smtplib

import attacks
import goodmessages
import pytest

PASSWORD = "rather-long-password"
EVERY = 7
"""Of the tables: the whole of them runs against the rules and against the protocol."""


@pytest.fixture(scope="module")
def fast(running_host):
    """The host with no limit of the sending rate that these tests would notice."""
    before = running_host.ini.read_text()
    text = before.replace("\n#max_user_send_burst_size = 10\n",
                          "\nmax_user_send_burst_size = 100000\n")
    assert text != before
    running_host.configure(text)
    yield running_host
    running_host.configure(before)


@pytest.fixture(scope="module")
def people(running_host):
    found = [f"{name}@{running_host.chat_domain}" for name in ("outgoing1", "outgoing2")]
    for address in found:
        running_host.imap(address, PASSWORD).logout()
    return found


def raw(headers, body, sender):
    """The message as it goes over the wire, from `sender` instead of alice@chat.test."""
    text = b"".join(name.encode() + b":" + (b" " if not value.startswith(b" ") else b"")
                    + value.replace(b"\n", b"\r\n") + b"\r\n" for name, value in headers)
    return text.replace(b"alice@chat.test", sender.encode()).replace(
        b"Alice@Chat.Test", sender.encode()) + b"\r\n" + body


def rows(table):
    return [(name, headers, body) for name, headers, body in table[::EVERY]
            if len(body) < 300_000
            and not any(b"\0" in value or b"\r" in value for _, value in headers)]


def test_no_attack_leaves_the_host(host, fast, people):
    sender, recipient = people
    passed = []
    for name, headers, body in rows(attacks.table()):
        # One connection each: Postfix slows down and hangs up on those that make many errors.
        with host.smtp(sender, PASSWORD) as smtp:
            try:
                smtp.sendmail(sender, [recipient], raw(headers, body, sender))
                passed.append(name)
            except smtplib.SMTPDataError as error:
                assert error.smtp_code in (523, 554, 550), (name, error)   # 550: MIME nesting
    # What passes is delivered without the header that the text stood in. Postfix itself mends
    # what no client may send: a missing From, a source route, a final dot, a bare CR, a space
    # before the colon, two headers of some kinds.
    with host.imap(recipient, PASSWORD) as imap:
        for message in host.wait_for_mail(imap, len(passed)) if passed else []:
            assert attacks.TEXT not in message
    assert all(name.startswith(("header ", "Subject", "no From", "From route", "From trailing dot",
                                "Content-Type with a space", *attacks.REMOVED))
               for name in passed), passed


def test_what_clients_send_arrives(host, fast, people):
    sender, recipient = people
    smtp = host.smtp(sender, PASSWORD)
    for name, headers, body in rows(goodmessages.table()):
        if "From" in name:
            continue    # other spellings of one address; here it is another address
        try:
            smtp.sendmail(sender, [recipient], raw(headers, body, sender))
        except smtplib.SMTPException as error:
            pytest.fail(f"{name}: {error}")
    smtp.quit()
