"""A whole Debian with systemd as its first process, booted with systemd-nspawn in a second.

Its root is an overlay over a directory of `rig.debian`, kept in memory: what is changed lasts
through a reboot of the machine and is gone with the test process. It has the loopback interface
and no other network, so everything it installs must be there already.

The test process gives itself a mount namespace first (`private_mounts`), so that neither mounts nor
machines outlive it.
"""

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from rig import processes
from rig.machine import (
    CLONE_NEWNET, CLONE_NEWNS, NAME, PUBLIC, STRANGER, TREE_INSIDE, unshare, write_names,
)
from rig.until import until

TREE = Path(__file__).parents[2]
SCRATCH = Path("/run/chatmaild-container")

_libc = ctypes.CDLL(None, use_errno=True)
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root",
                "DEBIAN_FRONTEND": "noninteractive"}


def private_mounts() -> None:
    """Mounts of this process are its own from now on, and end with it."""
    os.umask(0o022)     # whatever that of root is here: others live in the machines as well
    unshare(CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    SCRATCH.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", SCRATCH], check=True)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Machine:
    """One booted Debian. `root` is its root directory as seen from outside."""

    def __init__(self, name: str, lower: Path, *visible: Path):
        """`visible` are directories that are seen in there as /usr/src/NAME, read-only."""
        self.name = name
        self.lower = lower
        self._visible = visible
        self.root = SCRATCH / name / "root"
        self._process: subprocess.Popen | None = None
        self._leader = 0

    # -- life --------------------------------------------------------------------------------

    def create(self) -> None:
        for directory in ("upper", "work", "root"):
            (SCRATCH / self.name / directory).mkdir(parents=True)
        subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o",
             f"lowerdir={self.lower},upperdir={self.root.with_name('upper')},"
             f"workdir={self.root.with_name('work')}", self.root], check=True)
        write_names(self.root / "etc")

    def boot(self) -> None:
        """Start it, and return when systemd has started everything."""
        command = ["systemd-nspawn", "--quiet", f"--directory={self.root}",
                   f"--machine={self.name}", f"--hostname={NAME.partition('.')[0]}",
                   "--register=no", "--keep-unit", "--console=pipe", "--private-network",
                   "--resolv-conf=off", "--timezone=off",
                   f"--bind-ro={TREE}:{TREE_INSIDE}",
                   *(f"--bind-ro={path}:/usr/src/{path.name}" for path in self._visible), "--boot"]
        join = "".join(f"echo $$ >{group}/cgroup.procs || true; " for group in self._cgroups())
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "sh", "-c", f"{join} exec {shlex.join(command)}"],
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL, stdout=open(self.console, "ab"), stderr=subprocess.STDOUT)
        self._leader = until(self._find_leader, f"{self.name} to boot: see {self.console}", 300)
        until(lambda: self.run("systemctl", "is-system-running", "--wait", check=False).stdout
              .strip() in ("running", "degraded"), f"{self.name} to be up", 300)
        for address in (PUBLIC, STRANGER):
            self.run("ip", "address", "replace", f"{address}/32", "dev", "lo")

    def shut_down(self) -> None:
        if self._process and self._process.poll() is None:
            os.kill(self._leader, signal.SIGRTMIN + 4)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def reboot(self) -> None:
        self.shut_down()
        self.boot()

    def destroy(self) -> None:
        self.shut_down()
        subprocess.run(["umount", "--lazy", self.root], check=True)
        shutil.rmtree(SCRATCH / self.name)
        for group in self._cgroups():
            with contextlib.suppress(OSError):
                for path, _, _ in os.walk(group, topdown=False):
                    os.rmdir(path)

    @property
    def console(self) -> Path:
        return SCRATCH / self.name / "console"

    def _cgroups(self) -> list[Path]:
        """A control group of its own in each hierarchy: systemd needs one that it may fill."""
        top = Path("/sys/fs/cgroup")
        hierarchies = [top] if (top / "cgroup.procs").exists() else [
            path for path in top.iterdir() if (path / "cgroup.procs").exists()]
        groups = [path / f"chatmaild-{os.getpid()}-{self.name}" for path in hierarchies]
        for group in groups:
            group.mkdir(exist_ok=True)
        return groups

    def _find_leader(self) -> int:
        """The process that is number 1 inside, once it has become systemd."""
        if self._process.poll() is not None:
            raise AssertionError(f"systemd-nspawn: {self.console.read_text(errors='replace')}")
        for pid in processes.family([self._process.pid], processes.everybody()):
            with contextlib.suppress(OSError):
                status = dict(line.split(":\t", 1) for line in
                              Path(f"/proc/{pid}/status").read_text().splitlines())
                if status["NSpid"].split()[-1] == "1" and status["Name"] == "systemd":
                    return pid
        return 0

    # -- use ---------------------------------------------------------------------------------

    def run(self, *command: str | Path, check: bool = True, text: str = "", seconds: float = 300,
            **environment: str) -> subprocess.CompletedProcess:
        """Run a command in there as root; with `check`, AssertionError with its output if it
        fails."""
        settings = [f"{key}={value}" for key, value in (_ENVIRONMENT | environment).items()]
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", "env", "-i", *settings,
             *map(str, command)],
            input=text, text=True, errors="replace", capture_output=True, timeout=seconds)
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(map(str, command))}: exit code {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def shell(self, script: str, **options) -> subprocess.CompletedProcess:
        """Run a shell script, each command of which must succeed."""
        return self.run("bash", "-euo", "pipefail", "-c", script, **options)

    def python(self, code: str) -> str:
        """Run Python with the tests' own modules, on what is installed in there."""
        return self.run("/usr/bin/python3", "-Bc", code, PYTHONPATH=f"{TREE_INSIDE}/tests").stdout

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Sockets that this thread opens within the block are in there; they stay there."""
        own = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
        with open(own) as home, open(f"/proc/{self._leader}/ns/net") as there:
            _check(_libc.setns(there.fileno(), CLONE_NEWNET))
            try:
                yield
            finally:
                _check(_libc.setns(home.fileno(), CLONE_NEWNET))

    def path(self, path: str) -> Path:
        """A file in there, for reading and writing from outside (never below /run, /tmp)."""
        return self.root / path.lstrip("/")

    def journal(self, unit: str = "chatmaild*") -> str:
        return self.run("journalctl", "--no-pager", "--output=short-monotonic",
                        f"--unit={unit}").stdout

    def state(self, unit: str) -> str:
        """``active``, ``inactive``, ``failed`` or ``activating``."""
        return self.run("systemctl", "is-active", unit, check=False).stdout.strip()

    def main_pid(self, unit: str) -> int:
        return int(self.run("systemctl", "show", "--value", "--property=MainPID", unit).stdout)
