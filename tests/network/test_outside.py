"""Mail between the chatmail hosts and an ordinary one: what is genuine passes, what is not does
not."""

import email
import random
import re
import smtplib
import uuid

import chatmessages
import dkimkit
import openpgpmessages
import programs
import pytest
from network.sites import PHONES, PLAIN
from rig.host import PASSWORD
from rig.stock import ORDINARY_USERS

BOB = f"bob@{PLAIN.domain}"


@pytest.fixture(params=["one", "two"])
def home(hosts, request):
    """The chatmail host that mail goes to."""
    return hosts[request.param]


@pytest.fixture
def person(home):
    return home.new_person()


@pytest.fixture
def bob_sends(plain):
    """Submits a message of bob's, as Thunderbird would, to its recipient."""
    def send(recipient, message):
        plain.submit("bob", ORDINARY_USERS["bob"], BOB, [recipient], message)
    return send


def words():
    return f"words {uuid.uuid4()}"


def with_headers(sender, to, kind, body, subject="..."):
    """A message with an identifier to find it by, and that."""
    mark = str(uuid.uuid4())
    head = chatmessages.headers(sender, to).replace("Chat-Version: 1.0\r\n", "").replace(
        "Subject: [...]", f"Subject: {subject}")
    head = re.sub(r"Message-ID: <.*>", f"Message-ID: <{mark}@localhost>", head)
    return mark, (head + f"Content-Type: {kind}\r\n\r\n").encode() + body


def cleartext(sender, to, subject="Hello"):
    said = words()
    _, message = with_headers(sender, to, "text/plain; charset=utf-8", f"{said}\r\n".encode(),
                              subject)
    return said, message


def encrypted(sender, to):
    return with_headers(sender, to, 'multipart/encrypted; protocol="application/pgp-encrypted";\r\n'
                        f' boundary="{openpgpmessages.BOUNDARY}"',
                        openpgpmessages.mime_body(openpgpmessages.gpg_symmetric()))


def test_cleartext_comes_to_whom_allows_it(home, person, bob_sends):
    home.takes_cleartext(person)
    said, message = cleartext(BOB, person)
    bob_sends(person, message)
    assert b"Subject: Hello" in home.inbox(person, said)


def test_other_cleartext_goes_back_to_its_sender(home, plain, person, bob_sends, expect):
    said, message = cleartext(BOB, person)
    bob_sends(person, message)
    assert b"Encryption Needed" in plain.spool("bob", person)
    assert home.size_of_inbox(person) == 0
    expect("milter-reject: END-OF-MESSAGE", "refuse reason=", "status=bounced")


@pytest.mark.parametrize("program", programs.INCOMING)
def test_encrypted_mail_of_every_program(home, person, bob_sends, program):
    """By gpg, in the form of the program."""
    mark = str(uuid.uuid4())
    armored = openpgpmessages.gpg_symmetric()
    drawn, body = programs.INCOMING[program](random.Random(program), armored)
    own = {"From": BOB, "To": person, "Message-ID": f"<{mark}@localhost>"}
    headers = dict(drawn) | {name: value.encode() for name, value in own.items()}
    bob_sends(person, b"".join(name.encode() + b": " + value.replace(b"\n", b"\r\n") + b"\r\n"
                               for name, value in headers.items()) + b"\r\n" + body)
    assert home.inbox(person, mark)


def test_a_chat_user_writes_to_an_ordinary_one(home, plain, person):
    mark, message = encrypted(person, BOB)
    home.submit(person, PASSWORD, person, [BOB], message)
    got, = [message for message in plain.spool("bob", mark).split(b"\n\nFrom ")
            if mark.encode() in message]
    signature = email.message_from_bytes(got.partition(b"\n")[2])["DKIM-Signature"]
    assert f"d={home.site.chat_domain};" in signature, got


def test_an_alias_that_leads_on_leaves_signatures_whole(hosts, plain, home, person):
    name = f"leads-on-{home.site.key}"
    plain.alias(name, person)
    other = hosts["two" if home.site.key == "one" else "one"]
    sender = other.new_person()
    mark, message = encrypted(sender, f"{name}@{PLAIN.domain}")
    other.submit(sender, PASSWORD, sender, [f"{name}@{PLAIN.domain}"], message)
    assert home.inbox(person, mark)


LIST = """#!/usr/bin/python3
# {name}: a list as small as can be. It marks the subject, and says who it is if it is told to.
import email, subprocess, sys
message = email.message_from_binary_file(sys.stdin.buffer)
del message["Subject"]
message["Subject"] = "[{name}] something"
if {munge}:
    del message["From"]
    message["From"] = "{name} <{name}@{domain}>"
message["List-Id"] = "<{name}.{domain}>"
subprocess.run(["/usr/sbin/sendmail", "-f", "bob@{domain}", "{reader}"],
               input=message.as_bytes(), check=True)
"""


@pytest.mark.parametrize("munge", [True, False], ids=["in its own name", "in the author's name"])
def test_a_mailing_list(hosts, plain, home, person, munge, expect):
    """It changes what the author signed. In its own name it signs anew; else it is a forger."""
    name = f"list-{home.site.key}-{munge}".lower()
    plain.alias(name, "|" + plain.program(name, LIST.format(
        name=name, domain=PLAIN.domain, reader=person, munge=munge)))
    other = hosts["two" if home.site.key == "one" else "one"]
    sender = other.new_person()
    mark, message = encrypted(sender, f"{name}@{PLAIN.domain}")
    other.submit(sender, PASSWORD, sender, [f"{name}@{PLAIN.domain}"], message)
    if munge:
        assert home.inbox(person, mark)
    else:
        plain.wait_for_log(f"to=<{person}>, relay={home.site.mx}")
        expect("refuse reason=signature-wrong", "milter-reject: END-OF-MESSAGE", "status=bounced")
        assert home.size_of_inbox(person) == 0


def deliver(home, sender, recipient, message):
    """A stranger without a host of their own connects to port 25; the answer."""
    with smtplib.SMTP(home.site.address, 25, "phones.example", timeout=60,
                      source_address=(PHONES, 0)) as smtp:
        try:
            smtp.sendmail(sender, [recipient], message)
        except smtplib.SMTPDataError as error:
            return error.smtp_code
        return 250


def test_forged_mail_does_not_arrive(hosts, home, person, expect):
    """In the name of bob, of a user of the other host, and of one of this host."""
    other = hosts["two" if home.site.key == "one" else "one"].new_person()
    for author in (BOB, other, home.new_person()):
        _, message = encrypted(author, person)
        strange = dkimkit.sign(message, dkimkit.rsa(1024), domain=b"one.example")
        wrong_key = dkimkit.sign(message, dkimkit.rsa(1024), selector=b"s1",
                                 domain=author.partition("@")[2].encode())
        for forged in (message, strange, wrong_key):
            assert deliver(home, "someone@phones.example", person, forged) == 554
    expect("refuse reason=no-signature", "refuse reason=not-aligned",
           "refuse reason=from-is-a-chat-user",
           "refuse reason=signature-wrong", "milter-reject: END-OF-MESSAGE")
    assert home.size_of_inbox(person) == 0


def test_a_bounce_comes_back_to_a_chat_user(home, plain, person, expect):
    """From the ordinary host, which took the message and could not deliver it."""
    name = f"gone-{home.site.key}"
    elsewhere = f"nobody-there@{'two' if home.site.key == 'one' else 'one'}.example"
    plain.alias(name, elsewhere)
    _, message = encrypted(person, f"{name}@{PLAIN.domain}")
    home.submit(person, PASSWORD, person, [f"{name}@{PLAIN.domain}"], message)
    report = home.inbox(person, "multipart/report")
    assert elsewhere.encode() in report and b"DKIM-Signature" in report
    expect("status=bounced", "reject: RCPT")


def test_what_is_stored_about_the_path(hosts, home, person):
    """Servers and times, and no address of the writer's phone."""
    other = hosts["two" if home.site.key == "one" else "one"]
    sender = other.new_person()
    mark, message = encrypted(sender, person)
    other.submit(sender, PASSWORD, sender, [person], message)
    stored = email.message_from_bytes(home.inbox(person, mark))
    assert stored.keys()[:5] == ["Return-Path", "Delivered-To", "Received", "Received",
                                 "DKIM-Signature"]
    delivered, received = stored.get_all("Received")
    assert "with LMTP" in delivered and received.startswith(f"from {other.site.name} ")


def test_a_bounce_goes_to_the_envelope_sender(hosts, plain, expect):
    """Even to one who never wrote; it takes a mailbox that goes between RCPT and delivery."""
    home, other = hosts["one"], hosts["two"]
    person, sender = home.new_person(), other.new_person()
    mark, message = encrypted(sender, person)
    other.submit(sender, PASSWORD, sender, [person], message)
    stored = home.inbox(person, mark)
    signed = stored[stored.index(b"DKIM-Signature:"):]
    home.run("postconf", "-e", "defer_transports=lmtp")
    home.reload_postfix()
    assert deliver(home, BOB, person, signed) == 250
    home.chatmaild("accounts", "delete", "--yes", person)
    home.run("postconf", "-X", "defer_transports")
    home.reload_postfix()
    home.run("postqueue", "-f")
    assert person.encode() in plain.spool("bob", mark)
    expect("status=deferred (deferred transport)", "status=bounced")


def test_a_deleted_and_a_blocked_peer(hosts, home, person, expect):
    """Their host refuses them; the writer is told by the own host."""
    other = hosts["two" if home.site.key == "one" else "one"]
    for command in (("accounts", "delete", "--yes"), ("accounts", "block")):
        peer = other.new_person()
        other.chatmaild(*command, peer)
        _, message = encrypted(person, peer)
        home.submit(person, PASSWORD, person, [peer], message)
        assert b"multipart/report" in home.inbox(person, peer)
    expect("status=bounced", "milter-reject: RCPT", "refuse reason=recipient-unknown",
           "refuse reason=recipient-blocked")
