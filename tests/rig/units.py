"""Start a service as systemd would, from the unit files that we ship.

The sockets are made here, with the path, owner and mode of the .socket unit, and handed over as
LISTEN_FDS; the service runs as the unit's user, and counts as started when it says READY=1.
"""

import fcntl
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
from collections import defaultdict
from pathlib import Path

from rig.notifications import Notifications
from rig.until import until

UNITS = Path("/usr/lib/systemd/system")
LOGS = Path("/var/log/chatmaild")


class ServiceFailed(AssertionError):
    """A service did not start, or died; the text ends with what it logged."""


def read_unit(path: Path) -> dict[str, list[str]]:
    """The settings of a unit file, by key; a key that occurs more than once has several values."""
    settings = defaultdict(list)
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            settings[key.strip()].append(value.strip())
    return settings


_PREFIX = "@-:+!"
"""What may stand before a command, see systemd.service(5)."""


def _prefix(line: str) -> str:
    return line[:len(line) - len(line.lstrip(_PREFIX))]


def _words(line: str) -> list[str]:
    return shlex.split(line.lstrip(_PREFIX))


def _listening(path: str, unit: dict[str, list[str]]) -> socket.socket:
    def setting(key: str, default: str) -> str:
        return unit.get(key, [default])[-1]

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    shutil.chown(path, setting("SocketUser", "root"), setting("SocketGroup", "root"))
    Path(path).chmod(int(setting("SocketMode", "0666"), 8))
    sock.listen(int(setting("Backlog", "128")))
    return sock


class Service:
    """One ``chatmaild-NAME.service`` with its sockets, if it has any."""

    def __init__(self, name: str):
        self.name = name
        self.log = LOGS / f"{name}.log"
        self.process: subprocess.Popen | None = None
        self.hanging = False
        self.sockets: list[socket.socket] = []
        self._socket_names: list[str] = []
        self._notifications: Notifications | None = None
        self._unit = read_unit(UNITS / f"chatmaild-{name}.service")
        names = self._service("Sockets", f"chatmaild-{name}.socket").split()
        self._socket_units = {unit: read_unit(UNITS / unit) for unit in names
                              if (UNITS / unit).exists()}

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def listen(self) -> None:
        """Open the sockets, as starting the .socket units does."""
        if self.sockets:
            return
        for name, unit in self._socket_units.items():
            for stream in unit.get("ListenStream", ()):
                self.sockets.append(_listening(stream, unit))
                self._socket_names.append(name)

    def start(self, seconds: float = 60) -> None:
        """Start and wait for READY=1. Raises `ServiceFailed`."""
        assert not self.running, f"{self.name} runs already"
        self.listen()
        LOGS.mkdir(exist_ok=True)
        for line in self._unit.get("ExecStartPre", ()):
            assert self._run_as_root(line) or "-" in _prefix(line), self.log_text()
        user = pwd.getpwnam(self._service("User", "root"))
        self._forget_notifications()
        self._notifications = notifications = Notifications(f"/run/notify-{self.name}")
        with open(self.log, "ab") as log:
            high = [fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 100) for sock in self.sockets]
            moves = " ".join(f"{n}<&{fd}-" for n, fd in enumerate(high, 3))
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", f'exec {moves}; LISTEN_PID=$$ exec "$0" "$@"',
                 *self._command()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=self._environment(user, notifications.path), pass_fds=high,
                umask=int(self._service("UMask", "0022"), 8),
                user=user.pw_uid, group=user.pw_gid,
                extra_groups=os.getgrouplist(user.pw_name, user.pw_gid))
        for fd in high:
            os.close(fd)
        if self._notifies:
            self._wait_for(0, "READY=1", seconds)

    def stop(self, seconds: float = 60) -> None:
        """SIGTERM, wait, close the sockets: connecting now fails, as for a unit that is down."""
        if self.running:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise ServiceFailed(f"{self.name} ignored SIGTERM for {seconds:g} s") from None
        self._close()

    def end(self) -> None:
        """As `stop`, at once and whatever state it is in."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self._close()

    def _close(self) -> None:
        self.process, self.hanging = None, False
        self._forget_notifications()
        for sock in self.sockets:
            Path(sock.getsockname()).unlink(missing_ok=True)
            sock.close()
        self.sockets, self._socket_names = [], []

    def _forget_notifications(self) -> None:
        if self._notifications:
            self._notifications.close()
        self._notifications = None

    def kill(self) -> None:
        """SIGKILL; the sockets stay open, as under systemd, which would start it again."""
        self.process.kill()
        self.process.wait()

    def hang(self) -> None:
        """Stop it in mid-air: connections are accepted by the kernel and never answered."""
        self.hanging = True
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.hanging = False
        self.process.send_signal(signal.SIGCONT)

    def reload(self, seconds: float = 60) -> bool:
        """Run ExecReload=; the service has read its configuration. False if a command failed.

        One that hangs reads it when it goes on.
        """
        seen = len(self._notifications.seen)
        if not all(map(self._run_as_root, self._unit["ExecReload"])):
            return False
        if self._notifies and not self.hanging:
            after = self._wait_for(seen, "RELOADING=1", seconds)
            self._wait_for(after, "READY=1", seconds)
        return True

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _service(self, key: str, default: str) -> str:
        return self._unit.get(key, [default])[-1]

    def _command(self) -> list[str]:
        return _words(self._unit["ExecStart"][-1])

    def _run_as_root(self, line: str) -> bool:
        """Run a command of the unit that may run as root: it is marked with +, or only kills."""
        words = [word.replace("$MAINPID", str(self.process.pid if self.process else 0))
                 for word in _words(line)]
        assert "+" in _prefix(line) or words[0] == "/usr/bin/kill", line
        with open(self.log, "ab") as log:
            return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  cwd="/").returncode == 0

    def _environment(self, user: pwd.struct_passwd, notify_path: str) -> dict[str, str]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                       "HOME": user.pw_dir, "USER": user.pw_name, "NOTIFY_SOCKET": notify_path}
        for line in self._unit.get("Environment", ()):
            environment |= dict(word.split("=", 1) for word in shlex.split(line))
        if self.sockets:
            environment["LISTEN_FDS"] = str(len(self.sockets))
            environment["LISTEN_FDNAMES"] = ":".join(self._socket_names)
        return environment

    @property
    def _notifies(self) -> bool:
        return self._service("Type", "simple").startswith("notify")

    def _wait_for(self, start: int, state: str, seconds: float) -> int:
        """The index after the first notification of `state` from `start` on. `ServiceFailed`."""
        def said() -> bool:
            return state in self._notifications.seen[start:]

        try:
            until(lambda: said() or not self.running, f"{self.name} to say {state}", seconds)
        except AssertionError as error:
            raise ServiceFailed(f"{error}:\n{self.log_text()[-2000:]}") from None
        if not said():
            raise ServiceFailed(f"{self.name} ended with {self.process.wait()}:\n"
                                + self.log_text()[-2000:])
        return self._notifications.seen.index(state, start) + 1
