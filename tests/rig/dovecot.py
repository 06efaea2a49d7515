"""Dovecot as a running server: when it has started, and when it has stopped."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from rig import processes
from rig.until import until

CONFIGURATION = tuple(map(Path, ("/etc/dovecot", "/usr/share/chatmaild/chatmaild.lua",
                                 "/etc/chatmaild/auth.lua")))
PORTS = (143, 993)

SHARED_24 = """\
namespace inbox {
  separator = /
}
namespace shared {
  type = shared
  separator = /
  prefix = Shared/$user/
  mail_driver = maildir
  mail_path = %{owner_home}
  mail_index_path = ~/Shared/%{owner_user}
  subscriptions = no
  list = children
}
"""
"""Mailboxes that users share, as hosts with Dovecot 2.4 have them."""

_PID = Path("/run/dovecot/master.pid")
PROGRAMS = ("/usr/sbin/dovecot", "/usr/lib/dovecot")
_PATIENCE = 10
"""Seconds that Dovecot's processes get to end by themselves when their master has ended."""

Command = Callable[..., object]


def running() -> bool:
    return _master() is not None


def start(run: Command) -> None:
    """Dovecot runs: ports greet, which they do when auth is ready, and sockets are there."""
    assert not running(), "Dovecot runs already"
    kill()
    until(lambda: not processes.listening() & set(PORTS), "the ports of IMAP to be free")
    run("dovecot")
    answers()


def answers() -> None:
    """Wait until IMAP greets on its ports and whoever connects to a socket is taken."""
    until(lambda: running() and greets(), "Dovecot to greet at port 143")
    until(lambda: set(PORTS) <= processes.listening(), "Dovecot to listen at port 993")
    for path in _sockets_of_postfix():
        until(lambda: _takes(path), f"Dovecot to listen at {path}")


def stop(run: Command) -> None:
    """Dovecot's processes are gone, and its ports are free. It may have stopped before."""
    if master := _master():
        family = _family(master)
        run("doveadm", "stop")
        _gone(family, _PATIENCE)
    kill()
    until(lambda: not processes.listening() & set(PORTS), "the ports of IMAP to be free")


def kill() -> None:
    """No process of Dovecot is left, whatever state they were in."""
    def gone() -> bool:
        left = processes.running(*PROGRAMS)
        for process in left:
            process.kill()
        return not left
    until(gone, "Dovecot's processes to be gone")
    _PID.unlink(missing_ok=True)    # Dovecot does not start while anybody has that number


def reload() -> None:
    """Dovecot's master has read its configuration again, and answers."""
    master = _master()
    assert master, "Dovecot's master has died; its last words are in dovecot.log"
    former = {process for process in _family(master) if process.program.endswith("/config")}
    os.kill(master.pid, signal.SIGHUP)
    _gone(former, 60)
    answers()


def _family(master: processes.Process) -> set[processes.Process]:
    everybody = list(processes.everybody())
    pids = processes.family([master.pid], everybody)
    return {process for process in everybody if process.pid in pids}


def _gone(whom: set[processes.Process], seconds: float) -> None:
    try:
        until(lambda: not [one for one in whom if processes.look(one.pid) == one],
              "Dovecot's processes to be gone", seconds)
    except AssertionError:
        pass    # they are killed next: a login that lingers would keep the ports


def _master() -> processes.Process | None:
    try:
        process = processes.look(int(_PID.read_text()))
    except (OSError, ValueError):
        return None
    return process if process and process.program == PROGRAMS[0] else None


def greets() -> bool:
    """Whether IMAP says OK, which it does when auth is ready."""
    try:
        with socket.create_connection(("localhost", PORTS[0]), timeout=30) as client:
            return client.recv(200).startswith(b"* OK")
    except OSError:
        return False


def _sockets_of_postfix() -> list[str]:
    """The sockets in Postfix's queue directory that the configuration tells Dovecot to open."""
    text = subprocess.run(["doveconf", "-n"], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout
    return re.findall(r"unix_listener \"?(/var/spool/postfix/[^\s\"]+)", text)


def _takes(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        try:
            client.connect(path)
        except OSError:
            return False
    return True
