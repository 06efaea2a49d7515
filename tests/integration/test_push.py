"""A delivery by a real Dovecot rings its recipient's phones, and nobody else's."""

import contextlib
import imaplib
import itertools
import json
import re
import smtplib
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from pushgateway import Gateway
from rig.files import replace
from rig.speed import in_time
from rig.until import until

PASSWORD = "a long password"
NUMBERS = itertools.count(1)
LMTP = "/var/spool/postfix/private/dovecot-lmtp"

CONFIGURED = {
    "max_smtp_recipients": "777",
    "iroh_relay": "https://iroh.example.org/",
    "turn_server": "turn.example.org:3478",
    "turn_secret_file": "/etc/chatmaild/turn.secret",
    "metadata_comment": "Be kind.",
    "metadata_admin": "mailto:postmaster@example.org",
}


@pytest.fixture
def gateway(host):
    """Where the notifier of `host` sends to for the length of a test."""
    before = host.ini.read_text()
    gateway = Gateway()
    secret = host.ini.parent / "turn.secret"
    secret.write_text("a secret\n")
    lines = [f"{key} = {value}" for key, value in CONFIGURED.items()]
    lines.append(f"push_gateway = {gateway.url}")
    host.configure(before.replace("[chatmaild]", "[chatmaild]\n" + "\n".join(lines), 1))
    yield gateway
    host.configure(before)
    secret.unlink()
    gateway.shutdown()
    gateway.server_close()


@pytest.fixture
def address(host):
    return f"push{next(NUMBERS):05d}@{host.chat_domain}"


@contextlib.contextmanager
def logged_in(host, address):
    imap = host.imap(address, PASSWORD)
    try:
        yield imap
    finally:
        imap.logout()


def set_token(host, address, *tokens):
    with logged_in(host, address) as imap:
        for token in tokens:
            assert setmetadata(imap, "INBOX", "/private/devicetoken", f'"{token}"') == "OK"


def setmetadata(imap, mailbox, key, value):
    return imap.xatom("SETMETADATA", f'"{mailbox}"', f"({key} {value})")[0]


def getmetadata(imap, mailbox, *keys):
    """What the server knows of `keys`: by key, without those that do not exist."""
    status, _ = imap.xatom("GETMETADATA", f'"{mailbox}"', f"({' '.join(keys)})")
    assert status == "OK"
    words = []
    for part in imap.untagged_responses.pop("METADATA", []):
        line, literal = part if isinstance(part, tuple) else (part, None)
        words += re.findall(r'"[^"]*"|[^\s()]+', re.sub(rb"\{\d+\}$", b"", line).decode())
        words += [literal.decode()] if literal is not None else []
    return {key: value.strip('"') for key, value in zip(words[1::2], words[2::2])
            if value != "NIL"}


def deliver(to, sender="friend@example.net", header_from=None):
    """By LMTP, as Postfix does."""
    client = smtplib.LMTP(LMTP)
    with client:
        client.sendmail(sender, [to], f"From: {header_from or sender}\r\nTo: {to}\r\n"
                        "Subject: [...]\r\n\r\nNothing.\r\n")


def test_a_delivery_rings_each_device(host, gateway, address):
    set_token(host, address, "phone-token", "tablet-token", "phone-token")
    deliver(address)
    assert {gateway.next(), gateway.next()} == {"phone-token", "tablet-token"}
    deliver(f"{address.replace('@', '+tag@')}")
    assert {gateway.next(), gateway.next()} == {"phone-token", "tablet-token"}
    assert gateway.rung.empty()


@pytest.fixture
def phone(host, client_packages, tmp_path):
    """Registers a phone with the real core, with an address and a token of its system.

    It is offline afterwards, as a phone that has to ring is: one that is online may have fetched
    and deleted a message before anybody has looked whom it is for.
    """
    def make(address, token):
        login = (f"dclogin:{address}?p={quote(PASSWORD)}&v=1&ih=127.0.0.1&ip=993&is=ssl"
                 "&sh=127.0.0.1&sp=465&ss=ssl&ic=3")
        done = subprocess.run(
            [sys.executable, host.tree / "tests/rig/phone.py",
             client_packages / "deltachat/capi.abi3.so", tmp_path / token, login, token],
            input="", stdout=subprocess.PIPE, text=True, timeout=180)
        assert done.stdout == "registered\n"

    return make


def test_the_real_clients_phones_ring(host, gateway, address, phone):
    phone(address, "apns-token-of-a-phone")
    with logged_in(host, address) as imap:
        token = getmetadata(imap, "INBOX", "/private/devicetoken")["/private/devicetoken"]
        assert token.startswith("openpgp:") and "apns" not in token
        deliver(address)
        assert gateway.next() == token
        phone(address, "fcm-token-of-a-tablet")
        tokens = getmetadata(imap, "INBOX", "/private/devicetoken")["/private/devicetoken"].split()
        assert len(tokens) == 2 and token in tokens
    deliver(address)
    assert sorted([gateway.next(), gateway.next()]) == sorted(tokens)


def test_the_own_copy_does_not_ring(host, gateway, address):
    set_token(host, address, "phone-token")
    deliver(address, address)
    deliver(address, address, header_from=f'"Me" <{address.upper()}>')
    deliver(address, "friend@example.net", header_from=f"{address}.example.net")
    assert gateway.next() == "phone-token"
    assert gateway.rung.empty()


def test_nobody_rings_himself(host, gateway, address):
    set_token(host, address, "phone-token")
    with logged_in(host, address) as imap:
        assert setmetadata(imap, "INBOX", "/private/messagenew", '""') == "OK"
        assert setmetadata(imap, "", "/private/messagenew", '"x"') == "OK"
    deliver(address)
    assert gateway.next() == "phone-token" and gateway.rung.empty()


def test_tokens_are_read_back_and_unset(host, gateway, address):
    set_token(host, address, "phone-token", "tablet-token")
    with logged_in(host, address) as imap:
        known = getmetadata(imap, "INBOX", "/private/devicetoken")["/private/devicetoken"]
        assert sorted(known.split()) == ["phone-token", "tablet-token"]
        assert setmetadata(imap, "INBOX", "/private/devicetoken", "NIL") == "OK"
        assert getmetadata(imap, "INBOX", "/private/devicetoken") == {}


def test_a_token_may_be_set_on_the_server_too_and_be_long(host, gateway, address):
    token = "openpgp:" + "x" * 4088
    with logged_in(host, address) as imap:
        assert setmetadata(imap, "", "/private/devicetoken", f'"{token}"') == "OK"
    deliver(address)
    until(lambda: gateway.next() == token, "the long token to ring")   # another may ring once more


def test_what_cannot_be_stored_is_refused(host, gateway, address):
    with logged_in(host, address) as imap:
        for key, value in (("/private/devicetoken", '"' + "x" * 4097 + '"'),
                           ("/private/devicetoken", '"' + "x" * 20_000 + '"'),
                           ("/private/devicetoken", '"two words"'),
                           ("/private/comment", '"mine"'), ("/shared/comment", '"ours"')):
            assert setmetadata(imap, "INBOX", key, value) == "NO", key


def test_clients_read_what_is_configured(host, gateway, address):
    vendor = "/shared/vendor/deltachat/"
    with logged_in(host, address) as imap:
        found = getmetadata(imap, "", "/shared/comment", "/shared/admin",
                            *(vendor + key for key in ("maxsmtprecipients", "irohrelay", "turn",
                                                       "appversions", "unknown")))
    turn = found.pop(vendor + "turn")
    assert turn.startswith("turn.example.org:3478:1")
    assert found == {"/shared/comment": "Be kind.", "/shared/admin": CONFIGURED["metadata_admin"],
                     vendor + "maxsmtprecipients": "777",
                     vendor + "irohrelay": CONFIGURED["iroh_relay"]}


def test_ordinary_users_do_not_get_any_of_it(host, gateway):
    from rig import stock
    imap = host.imap("alice", stock.ORDINARY_USERS["alice"])
    with contextlib.suppress(imaplib.IMAP4.error):
        status, _ = imap.xatom("GETMETADATA", '""', "(/shared/vendor/deltachat/turn)")
        assert status != "OK" or not imap.untagged_responses.get("METADATA")
    imap.logout()


def test_a_token_that_is_gone_is_forgotten(host, gateway, address):
    set_token(host, address, "dead-token")
    gateway.status = 410
    deliver(address)
    assert gateway.next() == "dead-token"

    def forgotten():
        with logged_in(host, address) as imap:
            return not getmetadata(imap, "INBOX", "/private/devicetoken")
    until(forgotten, "the token is forgotten")


def test_a_relays_token_rings_at_the_first_delivery(host, gateway, address):
    host.imap(address, PASSWORD).logout()
    relay = host.mailbox(address) / "metadata.json"
    host.run("tee", relay, user="_chatmaild",
             text=json.dumps({"devicetoken": {"relay-token": time.time() - 100}}))
    deliver(address)
    assert gateway.next() == "relay-token" and not relay.exists()
    deliver(address)
    assert gateway.next() == "relay-token"


def test_an_admin_rings_a_phone_and_sees_the_numbers(host, gateway, address):
    set_token(host, address, "phone-token")
    assert f"{address}: device 1 of 1: taken (200 OK)" in host.chatmaild(
        "push-test", address).stdout
    assert gateway.next() == "phone-token"
    gateway.status = 410
    done = host.chatmaild("push-test", "--json", address, check=False)
    assert (done.returncode, json.loads(done.stdout)["devices"][0]["status"]) == (1, 410)
    until(lambda: "no device" in host.chatmaild("push-test", address, check=False).stdout,
          "the token is forgotten")
    assert "Push since the notifier started" in host.chatmaild("report").stdout


@pytest.mark.parametrize("service", ["metadata", "notifier"])
def test_killed_nothing_is_lost(host, gateway, address, service):
    set_token(host, address, "phone-token")
    host.services[service].kill()
    deliver_in_background = threading.Thread(target=deliver, args=(address,))
    deliver_in_background.start()
    host.services[service].start()
    deliver_in_background.join(60)
    assert gateway.next() == "phone-token"


def test_a_notifier_that_hangs_does_not_hold_up_mail(host, gateway, address):
    set_token(host, address, "phone-token")
    with host.hanging("notifier"):
        for _ in range(20):
            deliver(address)
    assert gateway.next() == "phone-token"


def test_a_metadata_that_hangs_does_not_hold_up_mail(host, gateway, address):
    set_token(host, address, "phone-token")
    with host.hanging("metadata"):
        begin = time.monotonic()
        for _ in range(5):
            deliver(address)
        # Dovecot's own dict client would take 30 s for each.
        assert in_time(time.monotonic() - begin, 20)
    assert gateway.next() == "phone-token"


def test_without_metadata_mail_is_delivered_and_rings_when_it_is_back(host, gateway, address):
    set_token(host, address, "waiting-token")
    with host.without("metadata"):
        deliver(address)
        assert "waiting-token" not in gateway.rung.queue    # another's may ring once more
    until(lambda: gateway.next() == "waiting-token", "the phone to ring")


def test_the_log_says_why_no_phone_rings(host, gateway, address):
    set_token(host, address, "phone-token")
    arrivals = Path("/run/chatmaild/arrivals")
    arrivals.rename("/run/chatmaild/away")
    try:
        deliver(address)
        host.wait_for_log("no phone rings", "dovecot.log")
    finally:
        Path("/run/chatmaild/away").rename(arrivals)
    deliver(address)
    assert gateway.next() == "phone-token"


def test_the_own_append_does_not_ring(host, gateway, address):
    set_token(host, address, "phone-token")
    mine = b"From: friend@example.net\r\n\r\nNothing.\r\n"
    with logged_in(host, address) as imap:
        imap.append("INBOX", None, None, mine)
        deliver(address)
        assert gateway.next() == "phone-token"
        imap.append("INBOX", None, None, mine)
        imap.select("INBOX")
        imap.copy("1", "INBOX")
    deliver(address, address)
    other = f"push{next(NUMBERS):05d}@{host.chat_domain}"
    set_token(host, other, "other-token")
    deliver(other)
    assert gateway.next() == "other-token"
    deliver(other)      # rings when the quiet time is over, as what was wrong would have before
    assert gateway.next() == "other-token"
    assert gateway.rung.empty()


def test_nothing_is_left_of_a_delivery_when_push_is_off(host, gateway, address):
    before = host.ini.read_text()
    set_token(host, address, "phone-token")
    replace(host.ini, before.replace("[chatmaild]", "[chatmaild]\npush = no", 1))
    seen = set()
    try:
        with host.without("metadata"):
            deliver(address)
            seen.update(path.name for path in Path("/run/chatmaild/arrivals").rglob("*"))
    finally:
        replace(host.ini, before)
    assert not any(address in name for name in seen)


def test_no_log_has_a_token_or_an_address(host, gateway, address):
    set_token(host, address, "token-that-must-not-be-logged")
    deliver(address)
    gateway.next()
    for name, text in host.logs().items():
        assert "must-not-be-logged" not in text, name
        if name in ("metadata", "notifier"):
            assert "@" not in text, name


def test_the_store_is_for_the_service_alone(host, gateway, address):
    set_token(host, address, "phone-token")
    for name, owner in (("push-tokens", "_chatmaild"), ("push-queue", "_chatmaild-push")):
        directory = host.mailboxes.parent / name
        assert (directory.owner(), directory.stat().st_mode & 0o777) == (owner, 0o700)
        for file in directory.iterdir():
            assert file.owner() == owner and not file.stat().st_mode & 0o077, file


def test_only_metadata_reaches_the_notifier(host):
    done = host.run("python3", "-c", "import socket; socket.socket(socket.AF_UNIX)"
                    ".connect('/run/chatmaild/notifier.sock')", user="mail", check=False)
    assert "Permission" in done.stderr
