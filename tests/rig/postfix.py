"""Postfix as a running server: what is true when it has started, stopped or reloaded.

Postfix's own commands say that something begins. These return when it is so.
"""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from rig import processes
from rig.until import until

QUEUE = Path("/var/spool/postfix")
CONFIGURATION = (Path("/etc/postfix"),)
_PID = QUEUE / "pid/master.pid"
_PROGRAMS = "/usr/lib/postfix"
_STATUS = 5
"""MASTER_STATUS_FD of Postfix's master_proto.h. By it a process tells master whether it is busy;
master makes a new one for each service at a reload and closes the old one, at which whoever is
idle exits. So a process whose end master no longer has is one of the former configuration."""

Command = Callable[..., object]


def running() -> bool:
    return _master() is not None


def start(run: Command) -> None:
    """Postfix runs, and each of its SMTP ports has greeted. `run` runs a command."""
    run("postfix", "start")
    until(_current_children, "Postfix's master to start its processes")
    _greeted()


def stop(run: Command, check: bool = True) -> None:
    """No process of Postfix is left. With `check`, AssertionError if there was no master."""
    run("postfix", "stop", check=check)
    until(lambda: not processes.running(_PROGRAMS), "Postfix's processes to be gone")


def kill() -> None:
    """No process of Postfix is left, whatever state they were in."""
    def gone() -> bool:
        left = processes.running(_PROGRAMS)
        for process in left:
            process.kill()
        return not left
    until(gone, "Postfix's processes to be gone")


def reload(run: Command | None = None) -> None:
    """Whoever connects from now on meets the configuration as it is on the disk.

    Sessions that are under way keep the former one. Without `run`, master is told directly,
    and the files are not checked before.

    What was being delivered meanwhile the new queue manager has put aside, for up to five minutes
    if nobody tells it to look.
    """
    status = until(lambda: {process.descriptors().get(_STATUS) for process in _current_children()},
                   "Postfix's master to have started its processes")
    if run:
        run("postfix", "reload")
    else:
        os.kill(_running_master().pid, signal.SIGHUP)
    until(lambda: not status & _descriptors(_running_master()), "Postfix's master to reload")
    until(lambda: not _former(), "idle processes of the former configuration to be gone")
    subprocess.run(["postkick", "public", "qmgr", "IA"], check=False)   # may die of SIGPIPE
    _greeted()


def ports() -> list[tuple[str, int, bool]]:
    """Host, port and whether TLS comes first, of each SMTP service of master.cf."""
    services = _postconf("-Mf", "inet")
    wrapped = set(re.findall(r"^(\S+)/inet/smtpd_tls_wrappermode *= *yes",
                             _postconf("-P"), re.MULTILINE))
    found = []
    for entry in re.split(r"\n(?=\S)", services):
        fields = entry.split()
        if len(fields) > 7 and fields[7] in ("smtpd", "postscreen"):
            host, _, port = fields[0].rpartition(":")
            number = int(port) if port.isdigit() else socket.getservbyname(port, "tcp")
            found.append((host.strip("[]") or "localhost", number, fields[0] in wrapped))
    return found


def greets(host: str, port: int, wrapped: bool, seconds: float = 30) -> bool:
    """Whether the port says 220, or with TLS first, whether somebody takes the connection."""
    try:
        with socket.create_connection((host, port), timeout=seconds) as client:
            if wrapped:
                return True
            greeting = client.recv(200)
            client.sendall(b"QUIT\r\n")
            client.recv(200)
            return greeting.startswith(b"220")
    except OSError:
        return False


def waiting() -> list[str]:
    """What waits in the queue, a line each: from whom, to whom, and why."""
    said = subprocess.run(["postqueue", "-j"], text=True, capture_output=True).stdout
    found = map(json.loads, said.splitlines())
    return [f"{mail['queue_id']} from {mail['sender'] or '<>'} to {recipient['address']}: "
            f"{recipient.get('delay_reason', 'no reason')}"
            for mail in found for recipient in mail["recipients"]]


def _greeted() -> None:
    for host, port, wrapped in ports():
        until(lambda: greets(host, port, wrapped), f"Postfix to greet at {host}:{port}")


def _postconf(*arguments: str) -> str:
    return subprocess.run(["postconf", *arguments], text=True, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def _master() -> processes.Process | None:
    try:
        process = processes.look(int(_PID.read_text()))
    except (OSError, ValueError):
        return None
    return process if process and process.program.endswith("/master") else None


def _running_master() -> processes.Process:
    master = _master()
    assert master, "Postfix's master has died; its last words are in mail.log"
    return master


def _descriptors(process: processes.Process) -> set[str]:
    return set(process.descriptors().values())


def _children() -> list[processes.Process]:
    """Without those that still run master's own program, and so may have its descriptors."""
    master = _master()
    return [process for process in processes.running(_PROGRAMS)
            if master and process.parent == master.pid and process.program != master.program]


def _current_children() -> list[processes.Process]:
    known = _descriptors(master) if (master := _master()) else set()
    return [process for process in _children()
            if process.descriptors().get(_STATUS, "gone") in known]


def _former() -> list[processes.Process]:
    """Processes of a configuration before, but those that still serve a client."""
    known = _descriptors(_running_master())
    former = [process for process in _children()
              if process.descriptors().get(_STATUS) not in known | {None}]
    busy = [process for process in former
            if process.program.endswith("/smtpd") and processes.has_a_peer(process)]
    if busy:        # such a session has a cleanup of its own time, until it ends
        former = [process for process in former if not process.program.endswith("/cleanup")]
    return [process for process in former if process not in busy]
