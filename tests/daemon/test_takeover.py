"""A new process takes over from a running filter while Postfix's sessions go on."""

import os
import re
import select
import signal
import socket
import threading

import openpgpmessages
import pytest
from filterprocess import ALICE, BOB, GOOD, Filter

INI = "[chatmaild]\nmail_domains = chat.test\nmax_user_send_burst_size = 100000\n"


@pytest.fixture
def filter_(tmp_path):
    started = Filter(tmp_path, INI)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()
    started.close()


def send(client):
    return client.transaction(ALICE, [BOB], openpgpmessages.headers(ALICE), GOOD, login=ALICE)


def successor_of(filter_):
    """Ask for a successor; its process id, once it is READY."""
    filter_.process.send_signal(signal.SIGUSR2)
    said = b""
    while b"READY=1" not in said:       # WATCHDOG=1 may come at any time
        said += filter_.notify.recv(1000) + b"\n"
    pid = int(re.search(rb"^MAINPID=(\d+)$", said, re.MULTILINE)[1])
    assert said.index(b"MAINPID=") < said.index(b"READY=1")
    return pid


def end(pid):
    with os.fdopen(os.pidfd_open(pid)) as exited:
        os.kill(pid, signal.SIGTERM)
        assert select.select([exited], [], [], 60)[0], "the successor ignores SIGTERM"


def test_open_sessions_go_on_and_new_ones_meet_the_successor(filter_):
    before = filter_.client()
    assert send(before).accepted
    filter_.ini.write_text(INI.replace("chat.test", "other.test"))
    pid = successor_of(filter_)
    after = filter_.client()
    assert after.transaction(ALICE, ["x@y.test"], [], b"").accepted, "its configuration is new"
    assert not before.transaction(ALICE, [BOB], [], b"", login=ALICE).accepted
    assert send(before).accepted
    assert filter_.process.poll() is None
    before.close()
    assert filter_.process.wait(60) == 0
    assert after.transaction(ALICE, ["x@y.test"], [], b"").accepted
    after.close()
    end(pid)


def test_nobody_is_refused_while_successors_come_and_go(filter_):
    over = threading.Event()
    failures, sent = [], []

    def work():
        while not over.is_set():
            try:
                client = filter_.client()
                for _ in range(3):
                    sent.append(send(client).accepted)
                client.close()
            except (OSError, EOFError) as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        pid = successor_of(filter_)
        assert filter_.process.wait(60) == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
    end(pid)
    assert not failures and all(sent) and len(sent) > 3


def test_a_broken_configuration_leaves_everything_as_it_is(filter_):
    client = filter_.client()
    filter_.ini.write_text(INI + "no_such_key = 1\n")
    filter_.process.send_signal(signal.SIGUSR2)
    filter_.wait_for_log("this one goes on")
    assert "no_such_key: unknown key" in filter_.logged()
    assert send(client).accepted
    client.close()
    later = filter_.client()
    assert send(later).accepted
    later.close()
    filter_.ini.write_text(INI)
    filter_.stop()


def test_sigterm_ends_a_predecessor_as_well(filter_):
    client = filter_.client()
    pid = successor_of(filter_)
    filter_.process.terminate()
    assert filter_.process.wait(60) == 0
    client.close()
    end(pid)


def test_a_successor_logs_to_the_journal_and_into_no_session(tmp_path):
    """systemd gives a service a socket for its log, not a file."""
    reading, writing = socket.socketpair()
    reading.settimeout(60)
    filter_ = Filter(tmp_path, INI, stderr=writing)
    writing.close()
    pid = successor_of(filter_)
    assert filter_.process.wait(60) == 0
    client = filter_.client()
    assert send(client).accepted
    said = b""
    while b"accept reason=encrypted" not in said:
        said += reading.recv(1000)
    assert f"process {pid} has taken over".encode() in said
    client.close()
    end(pid)
    filter_.close()
    reading.close()


def test_a_successor_can_have_a_successor(filter_):
    first = successor_of(filter_)
    assert filter_.process.wait(60) == 0
    os.kill(first, signal.SIGUSR2)
    said = b""
    while b"READY=1" not in said:
        said += filter_.notify.recv(1000) + b"\n"
    second = int(re.search(rb"MAINPID=(\d+)", said)[1])
    assert second != first
    client = filter_.client()
    assert send(client).accepted
    client.close()
    end(second)
