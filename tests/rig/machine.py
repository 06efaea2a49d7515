"""A machine of its own, made of namespaces: nothing in it can touch the one it runs on.

It has its own mounts, network, processes, host name and IPC. Its root directory is an overlay:
below lies the root of the machine (or of an unpacked Debian), everything written goes to memory
and is gone afterwards. So the stock paths (/etc/postfix, /etc/dovecot, /run, ...) and the stock
ports can be used as on a real host. When the command ends, so does every process in there,
because they share a process namespace whose first process is ours.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from rig.debian import CACHE
from rig.site import EXAMPLE

SCRATCH = Path("/run/chatmaild-rig")
"""Where the memory file system is mounted, in the private mount namespace only."""

TREE_INSIDE = Path("/usr/src/chatmaild")
"""The checkout as the private host sees it: a copy that every user there may read."""

NAME = EXAMPLE.name
PUBLIC = EXAMPLE.address
"""The host's address in the outside world; mail to it comes from outside mynetworks."""
STRANGER = EXAMPLE.stranger

OUTSIDE, REACHABLE = "198.18.25.1", "198.18.25.2"
"""With --keep: the machine's and the private host's end of the line between them."""
KEPT = Path("/run/chatmaild-rig.pid")
"""With --keep: the process of the machine whose end is the end of the private host."""
_LINE = "chatmaild-rig"

_LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
_PR_SET_PDEATHSIG = 1

_HOSTS = f"""\
127.0.0.1 localhost
::1 localhost ip6-localhost
{PUBLIC} {NAME} mail example.org chat.example.org
{STRANGER} stranger.example.net
"""
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_SKIP = shutil.ignore_patterns(".git", "__pycache__", ".pytest_cache", ".hypothesis", "*.pyc",
                               ".mypy_cache", "build", ".coverage", ".coverage.*")
"""Of no use in there; and files of other stages come and go in them while the tree is copied."""


class Unable(Exception):
    """There can be no private host here; the text says why and what helps."""


Network = Callable[[Path, int], None]
"""Gives a fresh machine its network and names: told where its root directory is, and a file
descriptor of the network that it was started in."""


def run(lower: Path, tree: Path, command: list[str], keep: bool = False,
        network: Network | None = None) -> int:
    """Run `command` on a private machine with the root `lower`. Its exit code.

    With `keep` the machine stays when the command has succeeded, until `stop_kept`. Without
    `network` it is alone in the world.
    """
    if keep and _kept():
        raise Unable(f"one is running already, process {_kept()}: end it with --stop")
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET)
    status, report = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(status)
        if keep:
            os.setsid()
        else:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _become(lower, tree, lambda root: (network or _alone)(root, outside))
        if keep:
            _connect(outside)
        _reap(_start(command), report, keep)
    os.close(report)
    with open(status, "rb") as file:
        code = int(file.read() or 1)    # nothing: it ended before the command could
    if keep and code == 0:
        KEPT.write_text(f"{first}\n")
    return code


def unshare(what: int) -> None:
    """Give this process namespaces of its own: CLONE_NEW* of unshare(2). Raises `Unable`."""
    if _LIBC.unshare(what):
        raise Unable(f"namespaces: {os.strerror(ctypes.get_errno())} (in a container, "
                     "run it with --privileged)")


def stop_kept() -> int:
    if not _kept():
        print("nothing is running")
        return 0
    process = os.pidfd_open(_kept())
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [])
    KEPT.unlink()
    return 0


def _kept() -> int | None:
    try:
        pid = int(KEPT.read_text())
        return pid if b"enter" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except FileNotFoundError:
        return None


def _become(lower: Path, tree: Path, network: Callable[[Path], None]) -> None:
    """As first process of fresh namespaces: make the machine, and stand in its checkout."""
    where = Path.cwd().relative_to(tree) if Path.cwd().is_relative_to(tree) else Path()
    _mount("--make-rprivate", "/")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", SCRATCH)
    root = SCRATCH / "root"
    _overlay(lower, root, "root")
    if lower == Path("/"):
        for name in ("usr", "var", "etc", "opt"):
            if os.path.ismount(lower / name):
                _overlay(lower / name, root / name, name)
    else:
        cache = root / CACHE.relative_to("/")
        cache.mkdir(parents=True)
        _mount("--bind", "-o", "ro", CACHE, cache)
    _devices(root / "dev")
    _mount("-t", "proc", "proc", root / "proc")
    _own_limit(root / "proc/sys/fs/inotify/max_user_instances")
    _mount("-t", "sysfs", "-o", "ro", "sysfs", root / "sys")
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", root / "run")
    (root / "run/lock").mkdir(mode=0o1777)
    copy = root / TREE_INSIDE.relative_to("/")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(tree, copy, symlinks=True, ignore=_SKIP)
    subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
    network(root)
    os.chroot(root)
    os.chdir(TREE_INSIDE / where)


def _own_limit(path: Path) -> None:
    """A limit of the kernel that may be read and set without setting it for the machine."""
    own = SCRATCH / path.name
    own.write_text("128\n")
    _mount("--bind", own, path)


def _mount(*args) -> None:
    subprocess.run(["mount", *args], check=True)


def _overlay(lower: Path, target: Path, name: str) -> None:
    upper, work = SCRATCH / f"{name}.upper", SCRATCH / f"{name}.work"
    for directory in (upper, work, target):
        directory.mkdir(exist_ok=True)
    _mount("-t", "overlay", "overlay",
           "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", target)


def _devices(dev: Path) -> None:
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", dev)
    for name in _DEVICES:
        (dev / name).touch()
        _mount("--bind", f"/dev/{name}", dev / name)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620", "devpts", dev / "pts")
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", dev / "shm")
    for name, target in {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0",
                         "stdout": "fd/1", "stderr": "fd/2"}.items():
        (dev / name).symlink_to(target)


def _alone(root: Path, _outside: int) -> None:
    for line in (
        "link set lo up",
        f"address add {PUBLIC}/32 dev lo",
        f"address add {STRANGER}/32 dev lo",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    subprocess.run(["hostname", NAME.partition(".")[0]], check=True)
    write_names(root / "etc")


def write_names(etc: Path) -> None:
    """The names of the host and of those it talks to, in /etc and without DNS."""
    write_files(etc, {"hosts": _HOSTS, "hostname": "mail\n", "mailname": "example.org\n",
                      "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"})


def write_files(directory: Path, files: dict[str, str]) -> None:
    """Put files there, by their names, for whatever files or links had these names."""
    for name, text in files.items():
        path = directory / name
        path.unlink(missing_ok=True)
        path.write_text(text)


def _connect(outside: int) -> None:
    """A line to the network `outside`, by which only that machine reaches this one."""
    there = f"/proc/self/fd/{outside}"
    for command in (
        f"ip link add world type veth peer name {_LINE} netns {there}",
        f"ip address add {REACHABLE}/30 dev world",
        "ip link set world up",
        f"nsenter --net={there} ip address add {OUTSIDE}/30 dev {_LINE}",
        f"nsenter --net={there} ip link set {_LINE} up",
    ):
        subprocess.run(command.split(), check=True, pass_fds=[outside])


def _start(command: list[str]) -> int:
    child = os.fork()
    if child == 0:
        os.environ |= {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "CHATMAILD_RIG": "1",
            "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8",
            "PYTHONPATH": f"{TREE_INSIDE}/tests",
        }
        if command[0] == "pytest":
            command = ["/usr/bin/python3", "-m", *command]
        os.execvp(command[0], command)
    return child


def _reap(child: int, report: int, keep: bool) -> None:
    """Bury the dead until `child` is among them; with `keep`, as long as anybody lives."""
    while True:
        pid, status = os.wait()
        if pid != child:
            continue
        code = os.waitstatus_to_exitcode(status) % 256
        if not keep or code:
            os.write(report, b"%d" % code)
            os._exit(code)
        quiet = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(quiet, fd)
        os.write(report, b"0")
        os.close(report)
