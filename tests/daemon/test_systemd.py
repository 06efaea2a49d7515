"""What a service and its manager tell each other."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chatmaild.daemon import systemd


@pytest.mark.parametrize("environment, seconds", [
    ({}, None), ({"WATCHDOG_USEC": "60000000"}, 30), ({"WATCHDOG_USEC": "rubbish"}, None),
    ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
])
def test_feeds_the_watchdog_twice_as_often_as_asked(monkeypatch, environment, seconds):
    for key in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert systemd.watchdog_interval() == seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_notifies_as_the_manual_says(tmp_path, monkeypatch, abstract):
    name = f"chatmaild-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else f"{tmp_path}/notify")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else f"{tmp_path}/notify")
        systemd.notify("STATUS=mail_domains: \xe4\udc80")
        assert manager.recv(4096) == "STATUS=mail_domains: \xe4\\udc80".encode()
    systemd.notify("READY=1")       # the manager is gone


def test_without_a_manager_notifies_nobody(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")


HANDED_OVER = """
import os, sys
from chatmaild.daemon import systemd
os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[1]))
taken = systemd.listen_fds_by_unit() if sys.argv[2:] else systemd.listen_fds()
print(taken, [os.get_inheritable(fd) for fd in (3, 4)], systemd.listen_fds())
"""


@pytest.mark.parametrize("arguments, printed", [
    (["0"], "[3, 4] [False, False] []"),
    (["0", "units"], "{'a.socket': 3, 'b.socket': 4} [False, False] []"),
    (["1"], "[] [True, True] []"),       # they are another process's
])
def test_takes_the_sockets_that_are_handed_over_to_this_process(tmp_path, arguments, printed):
    command = [sys.executable, "-c", HANDED_OVER, *arguments]
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" 3</dev/null 4</dev/null', *command], text=True, check=True,
        stdout=subprocess.PIPE, env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"),
                                     "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a.socket:b.socket"})
    assert done.stdout.strip() == printed
