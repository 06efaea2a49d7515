"""Compares the private host before and after each test, and mends it.

What counts as the host: its configuration files, who listens on which port, which servers and
services run, what is mounted, which processes there are, and Postfix's queue. A mailbox of a chat
user does not; each test has users of its own.
"""

import contextlib
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rig import dovecot, files, postfix, processes
from rig.host import Host
from rig.until import until

_CONFIGURATION = tuple(map(Path, (
    "/etc/postfix", "/etc/dovecot", "/etc/chatmaild", "/usr/share/chatmaild", "/etc/aliases",
    "/etc/hosts", "/etc/resolv.conf", "/etc/passwd", "/etc/group")))
_SOCKETS = tuple(map(Path, ("/run/chatmaild", "/var/spool/postfix/chatmaild",
                            "/var/spool/postfix/private", "/var/spool/postfix/public")))
_QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
_SERVERS = ("/usr/lib/postfix", "/usr/lib/dovecot", "/usr/sbin/dovecot")


class Unsound(AssertionError):
    """The host is not as it was; the text says in which way."""


@dataclass(frozen=True)
class State:
    """The host at one moment; two of them can be compared."""

    files: dict[Path, files.Entry]
    ports: frozenset[int]
    running: frozenset[str]
    mounts: frozenset[str]
    processes: frozenset[processes.Process]
    queue: frozenset[str]

    @property
    def settings(self) -> dict[Path, files.Entry]:
        """The files that nobody changes but who is told to: all but sockets."""
        return {path: entry for path, entry in self.files.items() if not stat.S_ISSOCK(entry.mode)}

    def differences(self, later: "State") -> list[str]:
        """What is otherwise `later`, one line each; empty if nothing is."""
        return [
            *(f"{path}: {how}" for path, how in files.differences(self.files, later.files)),
            *(f"port {port}: nobody listens any more" for port in self.ports - later.ports),
            *(f"port {port}: somebody still listens" for port in later.ports - self.ports),
            *(f"{name} does not run any more" for name in self.running - later.running),
            *(f"{name} still runs" for name in later.running - self.running),
            *(f"{point}: not mounted any more" for point in self.mounts - later.mounts),
            *(f"{point}: still mounted" for point in later.mounts - self.mounts),
            *(f"process {one.pid} still runs: {one.command()[:80]}"
              for one in later.processes - self.processes),
            *(f"queue: {name}" for name in later.queue - self.queue),
        ]


def look(host: Host) -> State:
    return State(
        files=files.look(_CONFIGURATION) | _sockets(),
        ports=frozenset(processes.listening()),
        running=frozenset(_running(host)),
        mounts=frozenset(line.split()[4] for line in
                         Path("/proc/self/mountinfo").read_text().splitlines()),
        processes=frozenset(_strangers(host)),
        queue=frozenset(_queue()))


def left_by(host: Host, before: State, seconds: float = 60, processes_too: bool = True
            ) -> list[str]:
    """How the host differs from `before`, when what is under way has had time to end.

    Files that were changed do not change back by themselves.
    """
    left: list[str] = []

    def ended() -> bool:
        nonlocal left
        now = look(host)
        left = [line for line in before.differences(now)
                if processes_too or not line.startswith("process")]
        return not left or now.settings != before.settings

    with contextlib.suppress(AssertionError):
        until(ended, "the host to be as before", seconds)
    return left


def dead(host: Host, before: State) -> list[str]:
    """Which servers and ports of `before` are gone now, without waiting for anything."""
    now = look(host)
    return ([f"{name} does not run any more" for name in before.running - now.running]
            + [f"port {port}: nobody listens any more" for port in before.ports - now.ports])


def silent() -> list[str]:
    """Which ports of the servers that run do not greet."""
    lost = []
    for host, port, wrapped in postfix.ports():
        if not _comes(lambda: postfix.greets(host, port, wrapped)):
            lost.append(f"port {port}: nobody greets")
    return lost if _comes(dovecot.greets) else [*lost, "port 143: nobody greets"]


def _comes(greeting: Callable[[], bool]) -> bool:
    with contextlib.suppress(AssertionError):
        return until(greeting, "a greeting")
    return False


def make_anew(host: Host, state: State) -> None:
    """End everything and start it as it was in `state`. Raises `Unsound` if that is no use."""
    for name in look(host).mounts - state.mounts:
        subprocess.run(["umount", "--lazy", name], check=False)
    for service in host.services.values():
        service.end()
    for process in _strangers(host):
        if process not in state.processes:
            process.kill()
    postfix.kill()
    dovecot.kill()
    files.restore(state.files, _CONFIGURATION)
    subprocess.run(["postsuper", "-d", "ALL"], check=False, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    if "Postfix" in state.running:
        host.start_postfix()
    if "Dovecot" in state.running:
        host.start_dovecot()
    for name, service in host.services.items():
        if name in state.running:
            service.start()
    if left := left_by(host, state):
        raise Unsound("could not be made anew: " + "; ".join(left))


def _sockets() -> dict[Path, files.Entry]:
    """The sockets that somebody has; a server may leave its own behind, which harms nobody."""
    bound = processes.bound()
    return {path: entry for path, entry in files.look(_SOCKETS).items()
            if str(path) in bound or str(path).removeprefix(f"{postfix.QUEUE}/") in bound}


def _running(host: Host) -> Iterator[str]:
    if postfix.running():
        yield "Postfix"
    if dovecot.running():
        yield "Dovecot"
    for name, service in host.services.items():
        if service.running and not service.hanging:
            yield name


def _strangers(host: Host) -> Iterator[processes.Process]:
    """Processes that are neither the tests, nor the servers, nor services of ours."""
    everybody = list(processes.everybody())
    known = {1, os.getpid()} | processes.family(
        (service.process.pid for service in host.services.values() if service.running), everybody)
    for process in everybody:
        if process.pid not in known and not process.program.startswith(_SERVERS):
            yield process


def _queue() -> Iterator[str]:
    for name in _QUEUES:
        for directory, _, found in os.walk(postfix.QUEUE / name):
            for file in found:
                path = Path(directory, file)
                try:
                    if stat.S_ISREG(path.stat().st_mode):
                        yield f"{file} is {name}"
                except FileNotFoundError:
                    pass
