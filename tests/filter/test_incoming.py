"""The rules for incoming mail: every row of the policy, as values."""

import time

import dkimkit
import filterworld
import pytest
from dkimcheck import NAME, NOW
from filterworld import Session
from incomingmessages import encrypted, signed

from chatmaild.config import inifile
from chatmaild.filter.client import Client
from chatmaild.filter.questions import MailboxState

INI = "[chatmaild]\nmail_domains = chat.example Other.example\n"
STRANGER = Client("192.0.2.7")
STATES = {
    "strict@chat.example": MailboxState.ENFORCING, "open@chat.example": MailboxState.OPEN,
    "blocked@chat.example": MailboxState.BLOCKED, "strict@other.example": MailboxState.ENFORCING,
}


class World(filterworld.World):
    """Mailboxes and DNS as a test wants them."""

    def __init__(self, keys=None):
        super().__init__()
        self.records = {NAME: (dkimkit.rsa().record,)} if keys is None else keys

    def mailbox(self, address):
        self.asked.append(address)
        local, _, domain = address.lower().rpartition("@")
        return STATES.get(f"{local.split('+')[0]}@{domain}", MailboxState.UNKNOWN)

    def keys(self, names):
        return {name: self.records.get(name, ()) for name in names}


def begun(ini="", client=STRANGER, sender="<alice@sender.example>", world=None):
    config = inifile.parse((INI + ini).encode(), "test.ini")
    session = Session(config, client, world or World(), now=NOW)
    assert session.mail(sender) is None
    return session


def wanted(session):
    """Whether the message has to be seen, now that all recipients are named."""
    return session.transaction.data() is None and session.transaction.direction == "incoming"


def code(found):
    return None if found is None else found.reply and found.reply.code


def verdict(message, recipients=("<strict@chat.example>",), **options):
    session = begun(**options)
    for path in recipients:
        assert session.recipient(path) is None
    fields, body = dkimkit.split(message)
    headers = [(name.decode("latin-1"), value.replace(b"\r\n", b"\n")) for name, value in fields]
    assert wanted(session)
    return session.message(headers, body, 1000)


@pytest.mark.parametrize("path, expected", [
    ("<strict@chat.example>", None), ("<STRICT@Chat.Example>", None), ("strict@chat.example", None),
    ("<strict+tag@chat.example>", None), ("<strict@chat.example.>", None),
    ("<unknown@chat.example>", "550"), ("<blocked@chat.example>", "550"),
    ("<blocked+tag@chat.example>", "550"),
    ('<"a b"@chat.example>', "550"), ("<@chat.example>", "550"),
    ("<a@b@chat.example>", "550"), ("<+strict@chat.example>", "550"),
    ("<postmaster@chat.example>", None), ("<Abuse+x@chat.example>", None),
    ("<bob@ordinary.example>", None), ("<postmaster>", None), ("<>", None),
    ("<x@sub.chat.example>", None),
])
def test_recipients(path, expected):
    assert code(begun().recipient(path)) == expected


def test_unknown_and_blocked_look_the_same():
    unknown, blocked = (begun().recipient(f"<{name}@chat.example>") for name in ("no", "blocked"))
    assert unknown.reply == blocked.reply
    assert (unknown.reply.code, unknown.reply.status) == ("550", "5.1.1")


def test_aliases_are_taken_and_enforce_encryption():
    ini = "recipient_aliases = info@chat.example @other.example\n"
    for path in ("<info@chat.example>", "<Info+x@chat.example>", "<any@other.example>"):
        job = begun(ini)
        assert job.recipient(path) is None
        assert wanted(job)
    assert code(begun(ini).recipient("<unknown@chat.example>")) == "550"
    assert code(begun(ini).recipient("<blocked@chat.example>")) == "550"
    assert code(verdict(signed(dkimkit.MESSAGE), ["<info@chat.example>"], ini=ini)) == "523"


@pytest.mark.parametrize("client, expected", [
    (Client("192.0.2.7"), "530"), (Client("192.0.2.7", tls="TLSv1.3"), None),
    (Client("127.0.0.1"), None), (Client("192.0.2.7", "bob@ordinary.example"), None),
    (Client(""), "530")])
def test_tls_where_the_domain_demands_it(client, expected):
    ini = "incoming_tls = require\n"
    assert code(begun(ini, client=client).recipient("<strict@chat.example>")) == expected
    assert begun(ini, client=client).recipient("<bob@ordinary.example>") is None
    assert begun(client=client).recipient("<strict@chat.example>") is None


ORDINARY, CHAT = "<bob@ordinary.example>", "<open@chat.example>"


@pytest.mark.parametrize("first, second", [(ORDINARY, CHAT), (CHAT, ORDINARY),
                                           ("<postmaster@chat.example>", CHAT)])
def test_a_mixed_transaction_is_split(first, second):
    job = begun()
    assert job.recipient("<unknown@chat.example>").reply.code == "550"
    assert job.recipient(first) is None
    found = job.recipient(second)
    assert (found.reply.code, found.reply.status) == ("452", "4.5.3")
    assert job.recipient(first) is None
    assert wanted(job) is (first is CHAT)


def test_hosts_in_trusted_networks_are_split_too_but_users_are_not():
    job = begun(client=Client("127.0.0.1"))
    assert job.recipient(ORDINARY) is None
    assert code(job.recipient(CHAT)) == "452"
    job = begun(client=Client("192.0.2.7", "bob@ordinary.example"))
    assert job.recipient(ORDINARY) is None and job.recipient(CHAT) is None
    assert wanted(job)


def test_ordinary_recipients_only_are_not_wanted_and_cost_no_look_at_the_disk():
    world = World()
    job = begun(world=world)
    assert job.recipient(ORDINARY) is None
    assert not wanted(job)
    assert world.asked == []


def test_encrypted_and_signed_passes():
    assert verdict(signed(encrypted())).reason == "encrypted"


@pytest.mark.parametrize("message, keys, expected, reason", [
    (encrypted(), {}, "554", "no-signature"),
    (signed(encrypted()), {}, "554", "no-key"),
    (signed(encrypted()), {NAME: None}, "451", "dns-trouble"),
    (signed(encrypted(b"alice@other.test")), None, "554", "not-aligned"),
    (signed(encrypted()).replace(b"From: ", b"From: x "), None, "554", "signature-wrong"),
    (signed(encrypted()).replace(b"Version: 1\r\n", b"Version: 1\r\n\r\n"), None, "554",
     "body-hash"),
    (signed(dkimkit.MESSAGE), None, "523", "not-encrypted"),
])
def test_not_authentic_or_not_encrypted(message, keys, expected, reason):
    found = verdict(message, world=World(keys))
    assert (found.reply.code, found.reason) == (expected, reason)


def test_the_texts_that_others_rely_on():
    assert "No valid DKIM signature found" in verdict(encrypted()).reply.text
    assert "Invalid Unencrypted Mail" in verdict(signed(dkimkit.MESSAGE)).reply.text
    later = verdict(signed(encrypted()), world=World({NAME: None})).reply
    assert (later.code, later.status) == ("451", "4.7.1")


@pytest.mark.parametrize("recipients, expected", [
    (["<open@chat.example>"], None),
    (["<open+tag@chat.example>"], None),
    (["<open@chat.example>", "<strict@chat.example>"], "523"),
    (["<strict+tag@chat.example>"], "523"),
    (["<STRICT@chat.example>"], "523"),
])
def test_cleartext_where_every_recipient_takes_it(recipients, expected):
    assert code(verdict(signed(dkimkit.MESSAGE), recipients)) == expected


def test_cleartext_must_be_authentic_too():
    assert code(verdict(dkimkit.MESSAGE, ["<open@chat.example>"])) == "554"


@pytest.mark.parametrize("client", [
    Client("127.0.0.1"), Client("::1"), Client("10.1.2.3"),
    Client("192.0.2.7", "bob@ordinary.example")])
def test_no_signature_is_asked_of_users_and_trusted_networks(client):
    ini = "trusted_networks = 127.0.0.0/8 [::1]/128 10.0.0.0/8\n"
    assert verdict(encrypted(), client=client, ini=ini).reason == "encrypted"
    assert code(verdict(dkimkit.MESSAGE, client=client, ini=ini)) == "523"
    assert verdict(dkimkit.MESSAGE, ["<open@chat.example>"], client=client, ini=ini).accepted


@pytest.mark.parametrize("address", ["", "unknown", "10.1.2.3", "192.0.2.7"])
def test_everybody_else_is_asked(address):
    assert code(verdict(encrypted(), client=Client(address))) == "554"


@pytest.mark.parametrize("client", [
    STRANGER, Client("127.0.0.1"), Client("", "bob@ordinary.example")])
@pytest.mark.parametrize("address", [
    b"strict@chat.example", b"new@CHAT.example", b"x@other.example"])
def test_nobody_from_outside_is_a_chat_user(client, address):
    found = verdict(encrypted(address), client=client)
    assert (found.reply.code, found.reason) == ("554", "from-is-a-chat-user")


@pytest.mark.parametrize("from_, allowed", [
    (b"From: a@sender.example", True), (b"From: A <a@sender.example>", True),
    (b"From: a@sender.example (Cron Daemon)", True),
    (b"From: a@sender.example (<b@x.example>)", False),
    (b"From: a@sender.example, b@sender.example", False), (b"From: undisclosed:;", False),
    (b"From:", False), (b"X: y", False),
    (b"From: a@sender.example\r\nFrom: a@sender.example", True),     # Delta Chat 1.142
    (b"From: a@sender.example\r\nFrom: A <a@sender.example>", False),
    (b"From: a@sender.example\r\nFrom : b@sender.example", False),
    ("From: <\u00e1@sender.example>".encode(), False),
    ("From: <a@s\u00e9nder.example>".encode(), False),
])
def test_exactly_one_from(from_, allowed):
    message = encrypted().replace(b"From: <alice@sender.example>", from_)
    found = verdict(message, client=Client("127.0.0.1"))
    assert found.accepted is allowed
    assert allowed or (found.reply.code, found.reason) == ("554", "from-invalid")
    assert allowed or "exactly one address, in ASCII" in found.reply.text


@pytest.mark.parametrize("literal, client, reason", [
    (b"[192.0.2.7]", "192.0.2.7", "encrypted"), (b"[192.0.2.7]", "192.0.2.8", "client-not-literal"),
    (b"[IPv6:2001:db8::7]", "2001:db8::7", "encrypted"),
    (b"[ipv6:2001:DB8:0::7]", "2001:db8::7", "encrypted"),
    (b"[IPv6:2001:db8::7]", "2001:db8::8", "client-not-literal"),
    (b"[IPv6:::ffff:192.0.2.7]", "192.0.2.7", "encrypted"),
    (b"[192.0.2.7]", "::ffff:192.0.2.7", "encrypted"),
    (b"[192.0.2.7]", "", "client-not-literal"),
    (b"[192.0.2.7]", "2001:db8::7", "client-not-literal"),
    (b"[192.0.2.07]", "192.0.2.7", "from-invalid"), (b"[192.0.2]", "192.0.2.7", "from-invalid"),
    (b"[2001:db8::7]", "2001:db8::7", "from-invalid"), (b"192.0.2.7]", "192.0.2.7", "from-invalid"),
    (b"[IPv6:fe80::1%eth0]", "fe80::1%eth0", "from-invalid"),
    (b"[x-tag:192.0.2.7]", "192.0.2.7", "from-invalid"), (b"[]", "192.0.2.7", "from-invalid"),
])
@pytest.mark.parametrize("mode", ["dkim", "authentication-results"])
def test_an_address_literal_belongs_to_the_client_at_that_address(mode, literal, client, reason):
    ini = f"incoming_authenticity = {mode}\nauthserv_id = mx.chat.example\n"
    message = encrypted(b"alice@" + literal)
    assert verdict(message, ini=ini, client=Client(client)).reason == reason
    spoofed = b"Authentication-Results: mx.chat.example; dkim=pass header.d=" + literal + b"\r\n"
    assert verdict(spoofed + message, ini=ini, client=Client(client)).reason == reason


def test_who_is_trusted_may_pass_on_mail_from_a_literal():
    message = encrypted(b"alice@[192.0.2.7]")
    assert verdict(message, client=Client("127.0.0.1")).accepted
    assert verdict(message, client=Client("192.0.2.8", "alice")).accepted
    log = "incoming_authenticity = dkim-log\n"
    assert "client-not-literal" in verdict(message, ini=log, client=Client("192.0.2.8")).reason


@pytest.mark.parametrize("blank", [b" ", b"\t", b"\r\n "])
def test_a_from_field_of_blanks_does_not_hold_up_the_others(blank):
    """As many as Postfix shows; looked at from each of them anew, they took many seconds."""
    message = encrypted().replace(b"<alice@sender.example>",
                                  b"a@b" + blank * (60_000 // len(blank)), 1)
    began = time.thread_time()
    assert verdict(message, client=Client("127.0.0.1")).reason == "from-invalid"
    assert time.thread_time() - began < 0.5


def report(**changes):
    headers = {
        "From": "MAILER-DAEMON@sender.example (Mail Delivery System)", "To": "strict@chat.example",
        "Auto-Submitted": "auto-replied",
        "Content-Type": 'multipart/report; report-type=delivery-status; boundary="b"',
    } | changes
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return (head + "\r\n--b\r\n\r\nYour message could not be delivered\r\n--b--\r\n").encode()


def test_a_delivery_report_needs_a_signature_like_any_mail():
    assert verdict(signed(report()), sender="<>").reason == "report"
    assert code(verdict(report(), sender="<>")) == "554"


@pytest.mark.parametrize("sender, changes, reason", [
    ("<alice@sender.example>", {}, "report-with-sender"),
    ("<>", {"From": "alice@sender.example"}, "report-not-from-mailer-daemon"),
    ("<>", {"Auto-Submitted": None}, "report-not-auto-submitted"),
    ("<>", {"Auto-Submitted": "No"}, "report-not-auto-submitted"),
    ("<>", {"Auto-Submitted": "no (x)"}, "report-not-auto-submitted"),
    ("<>", {"Content-Type": "multipart/report; report-type=disposition-notification; boundary=b"},
     "report-of-other-type"),
    ("<>", {"Content-Type": "multipart/mixed; boundary=b"}, "not-encrypted"),
])
def test_what_is_no_delivery_report(sender, changes, reason):
    found = verdict(signed(report(**changes)), sender=sender)
    assert (found.reply.code, found.reason) == ("523", reason)


@pytest.mark.parametrize("ini", ["incoming_authenticity = dkim-log\n",
                                 "incoming_authenticity = authentication-results-log\n"
                                 "authserv_id = MX.host.example\n"])
def test_trial_period(ini):
    found = verdict(encrypted(), ini=ini)
    assert found.accepted and "would-refuse=" in found.reason
    assert code(verdict(signed(dkimkit.MESSAGE), ini=ini)) == "523"
    assert verdict(signed(encrypted()), world=World({NAME: None}), ini=ini).accepted


def test_off():
    assert verdict(encrypted(), ini="incoming_authenticity = off\n").reason == "encrypted"


@pytest.mark.parametrize("field, expected", [
    (b" mx.host.example; dkim=pass header.d=sender.example", None),
    (b" mx.host.example;\r\n dkim=pass header.d=sender.example", None),
    (b" mx.host.example; dkim=fail header.d=sender.example", "554"),
    (b" mx.host.example; dkim=temperror header.d=sender.example", "451"),
    (b" other.example; dkim=pass header.d=sender.example", "554"),
])
def test_authentication_results(field, expected):
    ini = "incoming_authenticity = authentication-results\nauthserv_id = MX.host.example\n"
    message = b"Authentication-Results:" + field + b"\r\n" + encrypted()
    assert code(verdict(message, ini=ini)) == expected
