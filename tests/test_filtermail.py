"""The milter, black box: a real process of ours and the MTA's side of the protocol."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import openpgpmessages
import pytest
from milterclient import ACCEPT, MilterClient

SRC = Path(__file__).parent.parent / "src"
ALICE, BOB = "alice@chat.test", "bob@chat.test"


class Filter:
    """A filtermail process, ready when the constructor returns."""

    def __init__(self, directory, text, *arguments):
        self.directory = directory
        self.ini = directory / "chatmaild.ini"
        self.ini.write_text(text)
        self.socket = directory / "milter.sock"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify.sock"))
        self.notify.settimeout(20)
        self.log = open(directory / "log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chatmaild", "-c", self.ini, "filtermail",
             "--socket", f"unix:{self.socket}", *arguments],
            env=os.environ | {"PYTHONPATH": str(SRC),
                              "NOTIFY_SOCKET": str(directory / "notify.sock")},
            stderr=self.log)
        while b"READY=1" not in self.notify.recv(1000):
            pass

    def client(self):
        client = MilterClient(self.socket)
        client.connect()
        return client

    def logged(self):
        return (self.directory / "log").read_text()

    def wait_for_log(self, pattern):
        deadline = time.monotonic() + 10
        while not re.search(pattern, self.logged()):
            assert time.monotonic() < deadline, self.logged()
            time.sleep(0.01)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0
        self.close()

    def close(self):
        self.log.close()
        self.notify.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    filter_ = Filter(tmp_path_factory.mktemp("filter"),
                     "[chatmaild]\nmail_domains = chat.test\nmax_user_send_burst_size = 1000\n")
    yield filter_
    filter_.stop()


@pytest.fixture
def client(running):
    client = running.client()
    yield client
    client.close()


GOOD = openpgpmessages.mime_body(openpgpmessages.gpg_symmetric())


def test_several_messages_on_one_connection(client):
    for sender in (ALICE, ALICE):
        outcome = client.transaction(sender, [BOB], openpgpmessages.headers(sender), GOOD,
                                     login=sender)
        assert (outcome.answer, outcome.at) == (ACCEPT, b"E")
    outcome = client.transaction(ALICE, [BOB], [("From", b"<alice@chat.test>")], b"hi\r\n",
                                 login=ALICE)
    assert outcome.at == b"N"
    assert outcome.text == "523 5.7.1 Encryption Needed: Invalid Unencrypted Mail"
    outcome = client.transaction(ALICE, [BOB], openpgpmessages.headers(ALICE), GOOD, login=ALICE)
    assert outcome.accepted


@pytest.mark.parametrize("sender, login, code", [
    ("alice@chat.test", "bob@chat.test", "553 5.7.1"),
    ("alice@elsewhere.test", "bob@chat.test", "553 5.7.1"),
    ("", "bob@chat.test", "553 5.7.1"),
    ("alice@chat.test", "", "554 5.7.1"),
    ("alice@CHAT.test", "carol@ordinary.test", "554 5.7.1"),
])
def test_a_chat_address_needs_its_own_login(client, sender, login, code):
    outcome = client.transaction(sender, [BOB], openpgpmessages.headers(), GOOD, login=login)
    assert outcome.at == b"M" and outcome.text.startswith(code)


def test_what_is_not_ours_is_never_looked_at(client):
    outcome = client.transaction("carol@ordinary.test", ["dave@ordinary.test"], [], b"hi\r\n")
    assert (outcome.answer, outcome.at) == (ACCEPT, b"T")


def test_headers_are_cleaned(client):
    outcome = client.transaction(
        ALICE, [BOB],
        [("Received", b"from a by b"), ("X-Mailer", b"x"), *openpgpmessages.headers(),
         ("Received", b"from c by d"), ("Subject", b"x")][:-1], GOOD, login=ALICE)
    assert outcome.changes == [(2, "Received", ""), (1, "X-Mailer", ""), (1, "Received", "")]


def test_sigterm_ends_it_within_a_second_and_finishes_what_is_under_way(tmp_path):
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n")
    client = filter_.client()
    client.define(b"M", **{"{auth_authen}": ALICE})
    assert client.ask(b"M", b"<alice@chat.test>\0")[0] == b"c"
    idle = filter_.client()
    began = time.monotonic()
    filter_.process.send_signal(signal.SIGTERM)
    assert client.ask(b"R", b"<bob@chat.test>\0")[0] == b"c"
    assert client.ask(b"T")[0] == b"c"
    for name, value in openpgpmessages.headers():
        client.ask(b"L", name.encode() + b"\0 " + value + b"\0")
    assert client.ask(b"N")[0] == b"c"
    client.ask(b"B", GOOD)
    assert client.ask(b"E")[0] == ACCEPT
    assert filter_.process.wait(10) == 0
    assert time.monotonic() - began < 1
    idle.close()
    client.close()
    filter_.close()


def test_a_broken_configuration_is_refused_on_reload_and_the_old_one_kept(tmp_path):
    filter_ = Filter(tmp_path, "[chatmaild]\nmail_domains = chat.test\n")
    filter_.ini.write_text("[chatmaild]\nmail_domians = other.test\n")
    filter_.process.send_signal(signal.SIGHUP)
    filter_.wait_for_log("mail_domians.*did you mean mail_domains")
    client = filter_.client()
    assert client.transaction(ALICE, [BOB], [], b"").text.startswith("554")
    filter_.ini.write_text("[chatmaild]\nmail_domains = other.test\n")
    filter_.process.send_signal(signal.SIGHUP)
    filter_.wait_for_log("checking mail of other.test")
    assert client.transaction(ALICE, ["x@y.test"], [], b"").accepted
    client.close()
    filter_.stop()


def test_without_a_chat_domain_everything_is_accepted(tmp_path):
    filter_ = Filter(tmp_path, "[chatmaild]\n")
    client = filter_.client()
    outcome = client.transaction(ALICE, [BOB], [], b"hi\r\n")
    assert (outcome.answer, outcome.at) == (ACCEPT, b"M")
    client.close()
    filter_.stop()
    assert "mail_domains is empty, every message is accepted" in filter_.logged()
