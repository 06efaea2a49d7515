"""The processes of this (private) machine and the sockets they have, as /proc tells."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_LISTEN, _ESTABLISHED = "0A", "01"


@dataclass(frozen=True)
class Process:
    """One process. `started` (clock ticks since boot) tells it from a later one of its number."""

    pid: int
    started: int
    parent: int = field(compare=False)
    program: str = field(compare=False)
    """The file it runs; empty for one of which that cannot be read, like the kernel's own."""

    def descriptors(self) -> dict[int, str]:
        """What each open file descriptor refers to; none of a process that is gone."""
        found = {}
        with suppress(OSError):
            for name in os.listdir(f"/proc/{self.pid}/fd"):
                with suppress(OSError):     # it was closed since that list
                    found[int(name)] = os.readlink(f"/proc/{self.pid}/fd/{name}")
        return found

    def command(self) -> str:
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return self.program
        return b" ".join(words).decode(errors="replace").strip() or self.program

    def kill(self) -> None:
        """SIGKILL, if it is still there."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if look(self.pid) == self:
            with suppress(ProcessLookupError):      # it ended since that look
                os.kill(self.pid, number)


def look(pid: int) -> Process | None:
    """The process with this number; None if there is none or it is only not buried yet."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        state, parent, started = fields[0], int(fields[1]), int(fields[19])
    except (OSError, IndexError):
        return None
    if state in "ZX":
        return None
    try:
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        program = ""
    return Process(pid, started, parent, program)


def everybody() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := look(int(name))):
            yield process


def running(*places: str) -> list[Process]:
    """The processes whose program is one of `places` or below one of them."""
    return [process for process in everybody()
            if any(process.program == place or process.program.startswith(place + "/")
                   for place in places)]


def family(pids: Iterable[int], among: Iterable[Process]) -> set[int]:
    """The numbers of these processes and of everything that they started, directly or not."""
    children: dict[int, list[int]] = {}
    for process in among:
        children.setdefault(process.parent, []).append(process.pid)
    found, todo = set[int](), list(pids)
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += children.get(one, [])
    return found


def listening() -> set[int]:
    """The TCP ports that somebody listens on, at any address."""
    return {int(address.rpartition(":")[2], 16)
            for address, state, _ in _connections() if state == _LISTEN}


def bound() -> set[str]:
    """The names of all local sockets, as who made them gave them: Postfix's are relative."""
    return {fields[7] for line in _lines("unix") if len(fields := line.split(maxsplit=7)) > 7}


def has_a_peer(process: Process) -> bool:
    """Whether it has an established TCP connection."""
    own = set(process.descriptors().values())
    return any(state == _ESTABLISHED and f"socket:[{inode}]" in own
               for _, state, inode in _connections())


def _connections() -> Iterator[tuple[str, str, str]]:
    for name in ("tcp", "tcp6"):
        for line in _lines(name):
            fields = line.split()
            yield fields[1], fields[3], fields[9]


def _lines(name: str) -> set[str]:
    """The lines of a list of sockets in /proc/net, without its head.

    The kernel gives it out in pieces, and where a socket goes meanwhile, another one may be left
    out that stays. So it is read twice.
    """
    return {line for _ in range(2)
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]}
