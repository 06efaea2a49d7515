"""chatmaild filter-test, black box."""

import json
import os
import subprocess
import sys
from pathlib import Path

import attacks
import pytest
from openpgpmessages import gpg_symmetric, headers, mime_body

SRC = Path(__file__).parents[2] / "src"
BODY = mime_body(gpg_symmetric(1500))


def raw(message_headers, body):
    text = b"".join(name.encode() + b": " + value.replace(b"\n", b"\r\n") + b"\r\n"
                    for name, value in message_headers)
    return text + b"\r\n" + body


def filter_test(*arguments, config=None, message=None):
    done = subprocess.run(
        [sys.executable, "-m", "chatmaild", *(["-c", config] if config else []), "filter-test",
         *arguments], input=message, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SRC), "CHATMAILD_CONFIG": ""})
    assert b"Traceback" not in done.stderr, done.stderr
    return done


def test_a_message_that_passes(tmp_path):
    file = tmp_path / "message.eml"
    file.write_bytes(raw([*headers(), ("X-Mailer", b"x")], BODY))
    done = filter_test(file)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[:3] == [
        "verdict: accept", "reason: encrypted", "meaning: The message is end-to-end encrypted."]
    assert "packet: 1 x SKESK v4" in done.stdout.decode()
    assert "header: X-Mailer deleted" in done.stdout.decode()


@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
def test_both_kinds_of_line_ends_and_standard_input(ends):
    message = raw(headers(), BODY).replace(b"\r\n", ends)
    assert filter_test("-", message=message).returncode == 0
    assert filter_test("-", message=message[:-len(ends)]).returncode == 0


def test_the_offset_is_where_it_went_wrong():
    body = BODY.replace(b"\r\n-----END", b"\r\n" + attacks.TEXT + b"\r\n-----END")
    message = raw(headers(), body)
    done = filter_test("--json", "-", message=message)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["verdict"] == "refuse" and found["reason"] == "text-in-armor"
    assert found["reply"] == "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"
    assert message[found["offset"]:].startswith(attacks.TEXT)


def test_what_is_not_line_ends_stays_visible():
    message = raw(headers(), BODY)
    for old, new in ((b"Version: 1\r\n", b"Version: 1\r\r\n"), (b"Version: 1", b"Version: 1\0"),
                     (b"Version: 1\r\n", b"Version: 1\n")):
        assert filter_test("-", message=message.replace(old, new)).returncode == 1
    bare_lf = message.replace(b"\r\n", b"\n")
    assert filter_test("-", message=bare_lf.replace(b"Version: 1", b"Version\r: 1")).returncode == 1


def test_envelope_and_configuration(tmp_path):
    config = tmp_path / "chatmaild.ini"
    config.write_text("[chatmaild]\nmail_domains = chat.test\npassthrough_recipients = @ok.test\n")
    plain = b"From: <alice@chat.test>\nTo: <x@ok.test>\n\nHello\n"
    assert filter_test("-", config=config, message=plain).returncode == 0
    assert filter_test("--rcpt", "x@no.test", "-", config=config, message=plain).returncode == 1
    done = filter_test("--from", "bob@chat.test", "-", config=config, message=plain)
    assert b"from-is-not-sender" in done.stdout and done.returncode == 1


def test_incoming_is_tolerant_of_armor_headers(tmp_path):
    unsigned = tmp_path / "chatmaild.ini"
    unsigned.write_text("[chatmaild]\nincoming_authenticity = off\n")
    body = BODY.replace(b"MESSAGE-----\r\n\r\n", b"MESSAGE-----\r\nVersion: x 1.0\r\n\r\n", 1)
    message = raw(attacks.replaced("From", b"<x@elsewhere.test>"), body)
    assert filter_test("-", message=message).returncode == 1
    incoming = ("--direction", "incoming", "--rcpt", "bob@chat.test", "-")
    assert filter_test(*incoming, config=unsigned, message=message).returncode == 0
    assert b"no-signature" in filter_test(*incoming, message=message).stdout


@pytest.fixture
def host(tmp_path):
    """A configuration with mailboxes: one takes encrypted mail only, one cleartext, one none."""
    config = tmp_path / "chatmaild.ini"
    config.write_text(f"[chatmaild]\nmail_domains = chat.test\nmailboxes_dir = {tmp_path}/mail\n"
                      "incoming_authenticity = off\n")
    for name, marker in (("bob", "enforceE2EEincoming"), ("open", "x"), ("gone", "blocked")):
        home = tmp_path / "mail/chat.test" / f"{name}@chat.test"
        home.mkdir(parents=True)
        (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
        (home / marker).touch()
    return config


@pytest.mark.parametrize("name, state, reason", [
    ("bob", "takes encrypted mail only", "not-encrypted"),
    ("Open+tag", "takes cleartext", "cleartext-allowed"),
    ("gone", "blocked", "recipient-blocked"), ("nobody", "unknown", "recipient-unknown"),
])
def test_the_mailbox_counts_as_it_is(host, name, state, reason):
    plain = b"From: <x@elsewhere.test>\n\nHello\n"
    done = filter_test("--direction", "incoming", "--rcpt", f"{name}@chat.test", "--json", "-",
                       config=host, message=plain)
    found = json.loads(done.stdout)
    assert found["mailboxes"] == {f"{name}@chat.test": state}
    assert found["reason"] == reason


def test_outgoing_mail_to_a_chat_user_who_is_not_there(host):
    message = raw(attacks.replaced("From", b"<alice@chat.test>"), BODY)
    for recipient, code in (("bob", 0), ("alice", 0), ("nobody", 1)):
        done = filter_test("--rcpt", f"{recipient}@chat.test", "-", config=host, message=message)
        assert done.returncode == code, done.stdout
    assert b"recipient-unknown" in done.stdout and b"nobody@chat.test: unknown" in done.stdout


def test_what_cannot_be_known_of_a_mailbox_is_said(host):
    (host.parent / "mail").rename(host.parent / "elsewhere")
    message = raw(headers(), BODY)
    for recipient in ("bob@chat.test", "bob@any.test"):
        done = filter_test("--direction", "incoming", "--rcpt", recipient, "-", config=host,
                           message=message.replace(b"chat.test", b"other.test"))
        assert done.returncode == 0
        assert f"mailbox {recipient}: not known here" in done.stdout.decode()


def test_usage():
    assert filter_test("/no/such/file").returncode == 2
    assert filter_test().returncode == 2
    assert filter_test("-", config="/no/such/file", message=b"").returncode == 2
    assert filter_test("-", message=b"").returncode == 1
    assert filter_test("-", message=b"\0\xff: \r\n\n\r").returncode == 1


def test_a_file_without_end_is_no_message():
    """Read as a whole, it would take all memory."""
    done = filter_test("/dev/zero")
    assert done.returncode == 2 and b"/dev/zero: larger than 256 MiB" in done.stderr
