"""Mail from outside through a real Postfix, with keys in a real DNS and real signatures."""

import re
import smtplib
from pathlib import Path

import chatmessages
import dkimkit
import dnsservers
import opendkim
import pytest
from rig.host import PASSWORD
from rig.stock import ORDINARY_USERS, postconf
from rig.until import until

ALICE = "alice@sender.example"
ELSEWHERE = "alice@dead.example"
BOB = "bob@example.org"
SPOOL = Path("/var/mail/bob")


@pytest.fixture(scope="module", autouse=True)
def dns(running_host, tmp_path_factory):
    """The world's DNS: a name server for sender.example; for others it answers REFUSED."""
    records = (f"s1._domainkey TXT {quoted(dkimkit.rsa().record)}\n"
               f"s2._domainkey TXT {quoted(dkimkit.ed25519().record)}\n")
    before = running_host.ini.read_text()
    with dnsservers.knot(tmp_path_factory.mktemp("knot"), "sender.example.", records) as port:
        running_host.configure(before.replace(
            "\n#dns_servers =", f"\ndns_servers = 127.0.0.1@{port}"))
        yield
    running_host.configure(before)


def quoted(record):
    text = record.decode()
    return "( " + " ".join(f'"{text[at:at + 200]}"' for at in range(0, len(text), 200)) + " )"


def accepts_cleartext(host, address):
    (host.mailbox(address) / "enforceE2EEincoming").unlink()
    return address


def encrypted(to, sender=ALICE):
    return chatmessages.encrypted(sender, to, "hello")


def signed(message, signer=None, **options):
    options.setdefault("include_headers", [b"from", b"to", b"date", b"from"])
    return dkimkit.sign(message, signer or dkimkit.rsa(), **options)


def arrived(host, address, count=1):
    with host.imap(address, PASSWORD) as imap:
        return host.wait_for_mail(imap, count)


@pytest.mark.parametrize("canonical", [
    b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"])
@pytest.mark.parametrize("signer, selector", [(dkimkit.rsa, b"s1"), (dkimkit.ed25519, b"s2")])
def test_signed_by_dkimpy(host, person, canonical, signer, selector):
    message = signed(encrypted(person), signer(), canonical=canonical, selector=selector)
    assert host.answer(message, person)[0] == 250
    got, = arrived(host, person)
    assert got.endswith(message.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("canonical", [
    "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
def test_signed_by_opendkim(host, person, canonical, tmp_path):
    with opendkim.running(tmp_path, dkimkit.rsa().private, canonical) as path:
        message = opendkim.sign(path, encrypted(person))
    assert host.answer(message, person)[0] == 250
    arrived(host, person)


@pytest.mark.parametrize("canonical", [b"simple/simple", b"relaxed/relaxed"])
def test_odd_header_fields_come_through_postfix_as_they_were_signed(host, person, canonical):
    odd = (b"X-Octets:caf\xe9 \xff\r\nX-Empty:\r\nX-Blank: \r\nX-Tab:\tone\t two\x0b3 \t \r\n"
           b"X-Folded:\r\n \t first\t\r\n\tsecond\r\n  third \r\nX-Long: " + b"x" * 900 + b"\r\n")
    names = [b"from", b"x-octets", b"x-empty", b"x-blank", b"x-tab", b"x-folded", b"x-long"]
    message = signed(odd + encrypted(person), include_headers=names, canonical=canonical)
    assert host.answer(message, person)[0] == 250
    arrived(host, person)
    code, _ = host.answer(message.replace(b"second", b"Second"), person)
    assert code == 554


def test_not_authentic(host, person):
    message = signed(encrypted(person))
    for broken in (encrypted(person), message.replace(b"From: <alice@", b"From: <mallory@"),
                   message.replace(b"Date: ", b"Date:  X", 1)):
        code, text = host.answer(broken, person)
        assert (code, "No valid DKIM signature found" in text) == (554, True)


def test_who_writes_from_an_address_in_utf8_is_told_what_is_asked_of_him(host, person):
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        smtp.mail("\u00e1lice@sender.example", ["SMTPUTF8"])
        smtp.rcpt(person)
        code, text = smtp.data(signed(encrypted(person, "\u00e1lice@sender.example")))
    assert (code, b"exactly one address, in ASCII" in text) == (554, True)


def test_dns_trouble_is_no_verdict(host, person):
    message = signed(encrypted(person, ELSEWHERE), domain=b"dead.example")
    code, text = host.answer(message, person, ELSEWHERE)
    assert (code, text[:5]) == (451, "4.7.1")


def test_cleartext_only_where_its_recipient_takes_it(host, person):
    message = signed(chatmessages.cleartext(ALICE, person, "Meet me at noon"))
    code, text = host.answer(message, person)
    assert (code, "Invalid Unencrypted Mail" in text) == (523, True)
    assert host.answer(message, person.replace("@", "+tag@"))[0] == 523
    accepts_cleartext(host, person)
    assert host.answer(message, person)[0] == 250
    assert host.answer(message, person.replace("@", "+tag@").upper())[0] == 250
    for got in arrived(host, person, 2):
        assert b"Meet me at noon" in got


def test_unknown_and_blocked_recipients(host, person):
    for address in (f"nobody000@{host.chat_domain}", f'"a b"@{host.chat_domain}'):
        assert host.answer(b"", address)[0] == 550
    (host.mailbox(person) / "blocked").touch()
    code, text = host.answer(b"", person)
    assert (code, text[:5]) == (550, "5.1.1")
    host.wait_for_log("milter-reject: RCPT")


@pytest.mark.parametrize("form", ["{local}%{domain}@example.org", "{domain}!{local}",
                                  "@example.org:{local}@{domain}", "{local}@{domain}."])
def test_no_other_way_to_write_an_address_leads_past_the_filter(host, person, form):
    local, _, domain = person.partition("@")
    message = chatmessages.cleartext(ALICE, person, "past the filter")
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        smtp.mail(ALICE)
        code, _ = smtp.rcpt(form.format(local=local, domain=domain))
        if code == 250:
            code, _ = smtp.data(message)
    assert code >= 500


def test_a_mixed_transaction_is_split_and_both_get_their_mail(host, person):
    message = signed(encrypted(person))
    for first, second in ((person, BOB), (BOB, person)):
        with host.smtp(port=25, source=host.stranger) as smtp:
            refused = smtp.sendmail(ALICE, [first, second], message)
        assert list(refused) == [second]
        assert refused[second][0] == 452 and refused[second][1][:5] == b"4.5.3"
        assert host.answer(message, second)[0] == 250
    arrived(host, person, 2)


def test_nobody_is_a_chat_user_from_outside(host, person):
    assert host.answer(signed(encrypted(person, person)), person)[0] == 554
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        smtp.mail(person)
        assert smtp.rcpt(BOB)[0] == 554


@pytest.mark.parametrize("form", [
    "{local}%{domain}", "{domain}!{local}", '"{local}@{domain}"', '{local}@"{domain}"',
    "{local}@{domain}(x)", "{local}@ {domain}"])
def test_no_other_way_to_write_a_sender_makes_one_a_chat_user(host, person, form):
    local, _, domain = host.new_person().partition("@")
    command = f"MAIL FROM:<{form.format(local=local, domain=domain)}>"
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        assert _until_refused(smtp, command) == 554
    with host.smtp("alice", ORDINARY_USERS["alice"], 465, host.stranger) as smtp:
        assert _until_refused(smtp, command) == 554


def _until_refused(smtp, command):
    """The code of the first refusal; Postfix itself may refuse the sender."""
    code, _ = smtp.docmd(command)
    return smtp.rcpt(BOB)[0] if code == 250 else code


def test_a_user_of_the_host_sends_from_no_chat_address(host, person):
    SPOOL.unlink(missing_ok=True)
    with host.smtp("alice", ORDINARY_USERS["alice"], 587, host.stranger) as smtp:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            smtp.sendmail("alice@example.org", [BOB],
                          chatmessages.cleartext(person, BOB, "I am not he"))
        assert refused.value.smtp_code == 554
        smtp.sendmail("alice@example.org", [BOB],
                      chatmessages.cleartext("alice@example.org", BOB, "I am Alice"))
    until(lambda: SPOOL.exists() and b"I am Alice" in SPOOL.read_bytes(), "her own mail")
    assert b"I am not he" not in SPOOL.read_bytes()


def test_mynetworks_and_users_need_no_signature_but_encryption(host, person):
    assert host.answer(encrypted(person), person, source="127.0.0.1")[0] == 250
    clear = chatmessages.cleartext("alice@example.org", person, "x")
    assert host.answer(clear, person, "alice@example.org", "127.0.0.1")[0] == 523
    for port, message, code in ((587, encrypted(person, "alice@example.org"), 250),
                                (465, clear, 523)):
        with host.smtp("alice", ORDINARY_USERS["alice"], port, host.stranger) as smtp:
            smtp.mail("alice@example.org")
            assert smtp.rcpt(person)[0] == 250
            assert smtp.rcpt(BOB)[0] == 250
            assert smtp.data(message)[0] == code
    arrived(host, person, 2)


def test_a_user_of_the_host_may_write_cleartext_to_who_takes_it(host, person):
    clear = chatmessages.cleartext("alice@example.org", person, "Lunch at noon")
    with host.smtp("alice", ORDINARY_USERS["alice"], 587, host.stranger) as smtp:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            smtp.sendmail("alice@example.org", [person], clear)
        assert refused.value.smtp_code == 523
        accepts_cleartext(host, person)
        assert smtp.sendmail("alice@example.org", [person], clear) == {}
    got, = arrived(host, person)
    assert b"Lunch at noon" in got
    assert host.answer(clear, person, "alice@example.org", "127.0.0.1")[0] == 250


@pytest.mark.parametrize("port", [587, 465])
def test_submissions_to_nobody_are_refused_at_rcpt(host, person, port):
    other = host.new_person()
    users = (("alice", ORDINARY_USERS["alice"], "alice@example.org"),
             (person, PASSWORD, person))
    (host.mailbox(other) / "blocked").touch()
    for login, password, sender in users:
        with host.smtp(login, password, port, host.stranger) as smtp:
            smtp.mail(sender)
            for nobody in (f"nobody000@{host.chat_domain}", other):
                code, text = smtp.rcpt(nobody)
                assert (code, text[:5]) == (550, b"5.1.1")
            assert smtp.rcpt(person)[0] == 250
            assert smtp.rcpt(BOB)[0] == 250


def test_without_an_answer_about_a_recipient_nothing_is_decided(host, person):
    with host.hanging("recipients"), \
            host.smtp("bob", ORDINARY_USERS["bob"], 587, host.stranger) as smtp:
        smtp.mail(BOB)
        assert smtp.rcpt(person)[0] == 451
    with host.smtp("bob", ORDINARY_USERS["bob"], 587, host.stranger) as smtp:
        smtp.mail(BOB)
        assert smtp.rcpt(person)[0] == 250


def test_a_delivery_report(host, person):
    head = ("From: MAILER-DAEMON@sender.example (Mail Delivery System)\r\n"
            f"To: {person}\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nDate: now\r\n"
            "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n")
    message = (head + "\r\n--b\r\n\r\nlost\r\n--b--\r\n").encode()
    assert host.answer(signed(message), person, "")[0] == 250
    assert host.answer(message, person, "")[0] == 554
    assert host.answer(signed(message), person)[0] == 523


def test_postmaster_of_the_chat_domain_is_an_ordinary_recipient(host):
    """Where that mail goes is Postfix's business; without an alias Dovecot has no such user."""
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        smtp.mail(ALICE)
        assert smtp.rcpt(f"postmaster@{host.chat_domain}")[0] == 250


def test_while_the_filter_is_down_nothing_is_lost(host, person):
    with host.without("filtermail-incoming"):
        code, _ = host.answer(encrypted(person), person)
        assert 400 <= code < 500


def kinds_of_ordinary_mail():
    """200 messages of all sorts, good and bad, by name; the name is the Message-ID."""
    every = bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b"")
    bodies = {
        "empty": b"", "one line": b"x\r\n", "dots": b".\r\n..\r\n.a\r\n", "blank": b"\r\n" * 5,
        "octets": every + b"\r\n", "long": b"x" * 990 + b"\r\n", "spaces": b"a  \t \r\n \r\n",
        "large": b"0123456789\r\n" * 30_000, "no end": b"last line", "nul": b"a\0b\r\n",
        "bare cr": b"a\rb\r\n", "from": b"From here\r\n>From there\r\n",
        "pgp": b"-----BEGIN PGP MESSAGE-----\r\n\r\nAAAA\r\n-----END PGP MESSAGE-----\r\n",
        "mime": b"--b\r\nContent-Type: text/html\r\n\r\n<b>x</b>\r\n--b--\r\n",
        "utf-8": "Grüße\r\n".encode(), "latin": b"Gr\xfc\xdfe\r\n", "form feed": b"a\x0cb\r\n",
        "tabs": b"\ta\r\n\t\r\n", "base64": b"QUJD\r\n" * 400, "soft": b"a=\r\nb=3D\r\n",
    }
    heads = {
        "plain": b"From: a@other.example\r\nSubject: x\r\n",
        "folded": b"From: a@other.example\r\nSubject: a\r\n b\r\n\tc\r\nX-Odd :  v \r\n",
        "none": b"", "twice": b"From: a@other.example\r\nFrom: b@other.example\r\n",
        "8bit": b"From: a@other.example\r\nSubject: Gr\xfc\xdfe \xff\r\n",
        "mime": b"From: a@other.example\r\nMIME-Version: 1.0\r\n"
                b"Content-Type: multipart/mixed; boundary=b\r\n",
        "encrypted": b"From: a@other.example\r\nContent-Type: multipart/encrypted; boundary=b;\r\n"
                     b" protocol=application/pgp-encrypted\r\n",
        "chat": b"From: new@chat.example.org\r\nChat-Version: 1.0\r\nSecure-Join: vc-request\r\n",
        "long": b"From: a@other.example\r\nReferences: " + b"<x@y>\r\n " * 500 + b"<z@y>\r\n",
        "signed": b"DKIM-Signature: v=1; a=broken\r\nAuthentication-Results: x; dkim=pass\r\n"
                  b"From: a@other.example\r\n",
    }
    fixed = b"Message-ID: <%s>\r\nDate: Sat, 1 Jan 2000 00:00:00 +0000\r\n"
    return {name: fixed % name.encode() + heads[head] + b"\r\n" + bodies[body]
            for head in heads for body in bodies for name in [f"{head}/{body}".replace(" ", "-")]}


def deliver(host, messages):
    """Send them to the ordinary domain; what lies in the mailbox, without Postfix's own lines."""
    SPOOL.unlink(missing_ok=True)
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        for message in messages.values():
            smtp.mail("a@other.example", ["BODY=8BITMIME"])
            smtp.rcpt(BOB)
            smtp.putcmd("data")
            assert smtp.getreply()[0] == 354
            stuffed = re.sub(rb"(?m)^\.", b"..", message)
            ending = b"" if stuffed.endswith(b"\r\n") else b"\r\n"
            smtp.send(stuffed + ending + b".\r\n")
            code, text = smtp.getreply()
            assert code == 250, text
    found = until(lambda: all_of(messages), "all messages in the mailbox")
    found = [re.sub(rb"(?s)\A.*?\n\tfor <bob@example\.org>; [^\n]*\n", b"", one) for one in found]
    return {re.search(rb"(?m)^Message-ID: <(.*)>", one)[1].decode(): one for one in found}


def all_of(messages):
    """The messages in the mailbox, once there is one for each."""
    mbox = SPOOL.read_bytes() if SPOOL.exists() else b""
    found = re.split(rb"(?m)^From a@other\.example  .*\n", mbox)[1:]
    return found if len(found) == len(messages) and found[-1].endswith(b"\n\n") else None


def test_ordinary_mail_arrives_byte_for_byte_as_without_us(host):
    messages = kinds_of_ordinary_mail()
    assert len(messages) == 200
    with_us = deliver(host, messages)
    host.run("postconf", "-PX", "smtp/inet/smtpd_milters")
    host.reload_postfix()
    try:
        without_us = deliver(host, messages)
    finally:
        postconf("-P", {"smtp/inet/smtpd_milters": "$chat_incoming_milters"})
        host.reload_postfix()
    assert without_us.keys() == messages.keys()
    assert with_us == without_us
