"""--daemonize, for hosts without systemd."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from rig import processes
from rig.until import until

SRC = Path(__file__).parents[2] / "src"


def chatmaild(ini: Path, *arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "chatmaild", "-c", ini, "lastlogin", *arguments], text=True,
        capture_output=True, timeout=60, env=os.environ | {"PYTHONPATH": str(SRC)})


@pytest.fixture
def ini(tmp_path):
    path = tmp_path / "chatmaild.ini"
    path.write_text("[chatmaild]\n")
    return path


def test_detaches_with_its_socket_and_ends_on_sigterm(ini, tmp_path):
    pytest.importorskip("daemon")
    pidfile, path = tmp_path / "pid", tmp_path / "sock"
    group = os.getgid()
    done = chatmaild(ini, "--socket", f"unix:{path}", "--daemonize", "--pidfile", pidfile,
                     "--socket-group", "root" if group == 0 else str(group))
    if group:
        assert done.returncode == 2
        return
    assert (done.returncode, done.stderr) == (0, "")
    pid = int(until(lambda: pidfile.exists() and pidfile.read_text(), "the pid file"))
    try:
        assert os.getsid(pid) != os.getsid(0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            client.sendall(b"H3\t2\t0\t\tlastlogin\nB1\ta@b\nC1\n")
            assert client.recv(100)
    finally:
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGTERM)
    until(lambda: processes.look(pid) is None, "the daemon to end")


def test_mistakes_are_told_in_the_foreground(ini, tmp_path):
    ini.write_text("[chatmaild]\nno_such_key = 1\n")
    arguments = ("--socket", f"unix:{tmp_path}/sock", "--daemonize", "--pidfile", tmp_path / "pid")
    done = chatmaild(ini, *arguments)
    assert done.returncode == 2 and "no_such_key" in done.stderr
    ini.write_text("[chatmaild]\n")
    done = chatmaild(ini, "--daemonize", "--pidfile", tmp_path / "pid")
    assert done.returncode == 2 and "--daemonize needs --socket" in done.stderr
    done = chatmaild(ini, *arguments, "--socket-group", "no-such-group")
    assert done.returncode == 2 and "no such group" in done.stderr
    assert not (tmp_path / "pid").exists()
