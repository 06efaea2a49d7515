"""What services say in the log, and how an address looks there."""

import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chatmaild.daemon import logs
from chatmaild.daemon.logoutput import Descriptor, PatientHandler, Syslog

SRC = Path(__file__).parents[2] / "src"


def test_a_label_hides_an_address_and_tells_addresses_apart():
    label = logs.AddressLabel(plain=False)
    assert "anna" not in label("anna@chat.example.org")
    assert label("anna@chat.example.org") == label("ANNA@chat.example.org")
    assert label("anna@chat.example.org") != label("bert@chat.example.org")
    assert label("anna@chat.example.org") != logs.AddressLabel(False)("anna@chat.example.org")


def test_a_plain_label_cannot_forge_a_log_line():
    label = logs.AddressLabel(plain=True)
    assert label("anna@chat.example.org") == "anna@chat.example.org"
    assert "\n" not in label("anna\nINFO all is well")
    assert label("\udcff").isascii()


def test_every_line_for_the_journal_has_its_level():
    program = """
import logging
from chatmaild.daemon import logs
logs.setup("chatmaild-test", is_daemon=True)
logging.error("first\\nsecond")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": str(SRC), "JOURNAL_STREAM": "8:1"})
    assert done.stderr == "<3>first\n<3>second\n"


@pytest.mark.parametrize("reader, lines", [("journal", ["<6>50% done"] * 2),
                                           ("terminal", ["INFO 50% done"] * 2)])
def test_a_quick_line_looks_like_any_other(reader, lines):
    program = """
import logging
from chatmaild.daemon import logs
logs.setup("chatmaild-test", is_daemon=True)
log = logging.getLogger("test")
quick = logs.quick(log)
log.info("50% done")
quick("50% done")
assert (quick == log.info) == ("JOURNAL_STREAM" not in logs.os.environ)
"""
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    environment.pop("JOURNAL_STREAM", None)
    if reader == "journal":
        environment["JOURNAL_STREAM"] = "8:1"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60, env=environment)
    assert [line[-len(lines[0]):] for line in done.stderr.splitlines()] == lines


def test_what_logs_while_a_line_is_written_does_not_wait_for_ever():
    """The garbage collector may run asyncio's finalizers at any place, and they log."""
    lines = []

    class Output:
        def take(self, data):
            if not lines:
                lines.append(data)
                handler.write("within")
            lines.append(data)
            return len(data)

    handler = PatientHandler(Output())
    thread = threading.Thread(target=handler.write, args=["line"], daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive() and b"within\n" in lines


def test_the_place_of_an_error_does_not_quote_it():
    try:
        {}["secret"]
    except KeyError as error:
        assert logs.place(error).startswith(f"KeyError in {__file__}:")
    assert logs.place(KeyError("secret")) == "KeyError"


def logger(output):
    found = logging.Logger("test")
    handler = PatientHandler(output)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    found.addHandler(handler)
    return found


def pipe():
    reading, writing = os.pipe()
    return open(reading, "rb", buffering=0), open(writing, "wb", buffering=0)


def sockets():
    ours, theirs = socket.socketpair()
    return ours.makefile("rb", buffering=0), theirs


LINES = 5000
"""More than any pipe or socket keeps."""


@pytest.mark.parametrize("pair", [pipe, sockets])
def test_nobody_waits_for_who_does_not_read_the_log(pair):
    reading, writing = pair()
    log = logger(Descriptor(writing.fileno()))
    for number in range(LINES):
        log.info("%04d %s", number, "x" * 100)
    kept = reading.read(1 << 20)
    log.info("read again")
    while not kept.endswith(b"read again\n"):
        kept += reading.read(1 << 20)
    *before, notice, again = kept.decode().splitlines()
    assert before == [f"INFO {number:04d} {'x' * 100}" for number in range(len(before))]
    assert 0 < len(before) < LINES
    assert notice == f"WARNING the log took no lines for a while; lost: {LINES - len(before)}"
    assert again == "INFO read again"


@pytest.mark.parametrize("pair", [pipe, sockets])
def test_a_line_longer_than_what_the_reader_takes_at_once_comes_whole(pair):
    reading, writing = pair()
    log = logger(Descriptor(writing.fileno()))
    long = "y" * (1 << 20)
    log.info(long)
    got = b""
    while b"\n" not in got:
        got += reading.read(1 << 20)
        log.info("next")
    assert got.startswith(f"INFO {long}\n".encode())


@pytest.mark.parametrize("pair", [pipe, sockets])
def test_a_reader_that_has_gone_is_nobodys_trouble(pair):
    reading, writing = pair()
    log = logger(Descriptor(writing.fileno()))
    reading.close()
    log.info("nobody reads this")


def daemon(path):
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(str(path))
    found.setblocking(False)
    return found


def test_a_syslog_daemon_may_be_stuck_gone_or_new(tmp_path):
    path = tmp_path / "log"
    log = logger(Syslog(str(path)))
    log.info("before there is one")
    with daemon(path) as first:
        for number in range(LINES):
            log.info("%d", number)
        assert first.recv(1000) == b"WARNING the log took no lines for a while; lost: 1"
        assert first.recv(1000) == b"INFO 0"
    path.unlink()
    with daemon(path) as second:
        log.info("and on")
        assert second.recv(1000).startswith(b"WARNING the log took no lines for a while; lost: 4")
        assert second.recv(1000) == b"INFO and on"
