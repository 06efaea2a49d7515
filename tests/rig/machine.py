"""A machine of its own, made of namespaces: nothing in it can touch the one it runs on.

It has its own mounts, network, processes, host name and IPC. Its root directory is an overlay:
below lies the root of the machine (or of an unpacked Debian), everything written goes to memory
and is gone afterwards. So the stock paths (/etc/postfix, /etc/dovecot, /run, ...) and the stock
ports can be used as on a real host. When the command ends, so does every process in there,
because they share a process namespace whose first process is `become`.
"""

import os
import shutil
import subprocess
from pathlib import Path

SCRATCH = Path("/run/chatmaild-rig")
"""Where the memory file system is mounted, in the private mount namespace only."""

TREE_INSIDE = Path("/usr/src/chatmaild")
"""The checkout as the private host sees it: a copy that every user there may read."""

NAME = "mail.example.org"
PUBLIC = "192.0.2.1"
"""The host's address in the outside world; mail to it comes from outside mynetworks."""
STRANGER = "192.0.2.99"
"""An address to connect from for a test that plays a foreign client or server."""

_HOSTS = f"""\
127.0.0.1 localhost
::1 localhost ip6-localhost
{PUBLIC} {NAME} mail example.org chat.example.org
{STRANGER} stranger.example.net
"""
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_SKIP = shutil.ignore_patterns(".git", "__pycache__", ".pytest_cache", ".hypothesis", "*.pyc")


def become(lower: Path, tree: Path, command: list[str]) -> int:
    """As first process of fresh namespaces: set the machine up, run `command`, reap. Exit code."""
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
    _devices(root / "dev")
    _mount("-t", "proc", "proc", root / "proc")
    _mount("-t", "sysfs", "-o", "ro", "sysfs", root / "sys")
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", root / "run")
    (root / "run/lock").mkdir(mode=0o1777)
    copy = root / TREE_INSIDE.relative_to("/")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(tree, copy, symlinks=True, ignore=_SKIP)
    subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
    _network(root)
    os.chroot(root)
    os.chdir(TREE_INSIDE / where)
    return _run(command)


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


def _network(root: Path) -> None:
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
    for name, text in {"hosts": _HOSTS, "hostname": "mail\n", "mailname": "example.org\n",
                       "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
                       }.items():
        path = etc / name
        path.unlink(missing_ok=True)
        path.write_text(text)


def _run(command: list[str]) -> int:
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
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) % 256
