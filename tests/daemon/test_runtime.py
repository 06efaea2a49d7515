"""Sockets, messages about them, labels, and the life of a service as a manager sees it."""

import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chatmaild.daemon import runtime
from chatmaild.errors import SocketError, UsageError

SRC = Path(__file__).parents[2] / "src"


def listens(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    return True


def test_listens_on_a_path(tmp_path):
    path = tmp_path / "a.sock"
    with runtime.listening_socket(f"unix:{path}"):
        assert listens(path)


def test_takes_the_place_of_a_socket_that_nobody_serves(tmp_path):
    path = tmp_path / "a.sock"
    runtime.listening_socket(f"unix:{path}").close()
    assert path.exists()
    with runtime.listening_socket(f"unix:{path}"):
        assert listens(path)


def test_leaves_a_served_socket_alone(tmp_path):
    path = tmp_path / "a.sock"
    with runtime.listening_socket(f"unix:{path}"):
        with pytest.raises(SocketError, match="another process already listens.*mode"):
            runtime.listening_socket(f"unix:{path}")
        assert listens(path)


def test_a_busy_listener_is_one(tmp_path):
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(SocketError, match="another process already listens"):
            runtime.listening_socket(f"unix:{path}")


def test_leaves_a_file_in_the_way_alone(tmp_path):
    path = tmp_path / "a.sock"
    path.write_text("precious")
    with pytest.raises(SocketError, match=r"there is a file of \S+:\S+ with mode 0\d+ in the way"):
        runtime.listening_socket(f"unix:{path}")
    assert path.read_text() == "precious"


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(SocketError, match=f"directory {tmp_path}/no is missing; create it"):
        runtime.listening_socket(f"unix:{tmp_path}/no/a.sock")


def test_a_path_too_long_is_told(tmp_path):
    with pytest.raises(SocketError, match="at most 107 octets"):
        runtime.listening_socket(f"unix:{tmp_path}/{'x' * 120}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without permission")
def test_no_permission_names_user_owner_and_mode(public_path):
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setuid(65534)
        try:
            runtime.listening_socket(f"unix:{public_path}/a.sock")
        except SocketError as error:
            os.write(tell, str(error).encode())
        os._exit(0)
    os.close(tell)
    with open(told) as file:
        text = file.read()
    os.waitpid(child, 0)
    assert "no permission for user nobody" in text
    assert "is a directory of root:root with mode 0755" in text


def test_listens_on_a_port_and_says_when_it_is_taken():
    with runtime.listening_socket("inet:0@127.0.0.1") as first:
        port = first.getsockname()[1]
        with pytest.raises(SocketError, match=f"inet:{port}@127.0.0.1: Address already in use"):
            runtime.listening_socket(f"inet:{port}@127.0.0.1")


@pytest.mark.parametrize("spec", [
    "", "unix:", "unix:relative", "inet:99999@host", "inet:25", "fd:", "fd:-1", "tcp:25@host",
    "/run/a.sock", "inet:x@host",
])
def test_a_malformed_spec_says_what_it_must_be(spec):
    with pytest.raises(UsageError, match="must be unix:/path, inet:port@host or fd:N"):
        runtime.listening_socket(spec)


def test_adopts_a_descriptor_that_listens_and_no_other(tmp_path):
    with runtime.listening_socket(f"unix:{tmp_path}/a.sock") as sock:
        with runtime.listening_socket(f"fd:{os.dup(sock.fileno())}") as adopted:
            assert adopted.getsockname() == sock.getsockname()
    with socket.socket(socket.AF_UNIX) as idle:
        with pytest.raises(SocketError, match="does not listen"):
            runtime.listening_socket(f"fd:{os.dup(idle.fileno())}")
    with pytest.raises(SocketError, match="Bad file descriptor"):
        runtime.listening_socket("fd:9999")


def test_without_systemd_the_way_out_is_told(monkeypatch):
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    with pytest.raises(UsageError, match="start the .socket unit, or name a socket"):
        runtime.listening_socket(None)


def test_a_label_hides_an_address_and_tells_addresses_apart():
    label = runtime.AddressLabel(plain=False)
    assert "anna" not in label("anna@chat.example.org")
    assert label("anna@chat.example.org") == label("ANNA@chat.example.org")
    assert label("anna@chat.example.org") != label("bert@chat.example.org")
    assert label("anna@chat.example.org") != runtime.AddressLabel(False)("anna@chat.example.org")


def test_a_plain_label_cannot_forge_a_log_line():
    label = runtime.AddressLabel(plain=True)
    assert label("anna@chat.example.org") == "anna@chat.example.org"
    assert "\n" not in label("anna\nINFO all is well")
    assert label("\udcff").isascii()


def test_every_line_for_the_journal_has_its_level():
    record = logging.LogRecord("x", logging.ERROR, "", 0, "first\nsecond", (), None)
    assert runtime._JournalFormatter("%(message)s").format(record) == "<3>first\n<3>second"


@pytest.mark.parametrize("environment, seconds", [
    ({}, None), ({"WATCHDOG_USEC": "60000000"}, 30), ({"WATCHDOG_USEC": "rubbish"}, None),
    ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
])
def test_feeds_the_watchdog_twice_as_often_as_asked(monkeypatch, environment, seconds):
    for key in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert runtime.watchdog_interval() == seconds


SERVICE = """
from chatmaild.daemon import runtime
async def start():
    async def stop():
        print("stopped", flush=True)
    return stop
runtime.run_asyncio(start, lambda: print("reloaded", flush=True))
"""


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGINT])
def test_a_service_says_when_it_is_ready_reloads_and_stops(tmp_path, last):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        service = subprocess.Popen(
            [sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True,
            env={"PYTHONPATH": str(SRC), "NOTIFY_SOCKET": str(tmp_path / "notify")})

        def told(state):
            while manager.recv(4096) != state:
                pass

        with service:
            told(b"READY=1")
            service.send_signal(signal.SIGHUP)
            told(b"RELOADING=1")
            told(b"READY=1")
            service.send_signal(last)
            told(b"STOPPING=1")
            assert service.communicate(timeout=20)[0] == "reloaded\nstopped\n"
    assert service.returncode == 0


def test_threads_stay_on_one_cpu_of_those_that_are_allowed(monkeypatch):
    chosen = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4, 5, 7})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: chosen.append(cpus))
    for nth in range(4):
        runtime.stay_on_one_cpu(nth)
    assert chosen == [{7}, {5}, {4}, {7}]


def test_who_may_not_choose_a_cpu_runs_all_the_same(monkeypatch):
    def forbidden(pid, cpus):
        raise PermissionError
    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    runtime.stay_on_one_cpu(0)
