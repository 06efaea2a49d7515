"""What every service shares with the system: logging, listening sockets, systemd, signals.

The only importer of ``systemd`` and ``daemon``; both, and what is large in the standard library,
are loaded when first needed, because the short commands do not need them.
"""

import contextlib
import errno
import grp
import logging
import os
import pwd
import re
import signal
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from chatmaild.errors import SocketError, StoreError, UsageError

BACKLOG = 1024
"""Connections that may wait to be accepted."""

_SYSLOG_LEVEL = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class _JournalFormatter(logging.Formatter):
    """One line a record, with the ``<N>`` level prefix of sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_SYSLOG_LEVEL.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


_detached = False
"""Whether `daemonize` took the process from its terminal, so that stderr leads nowhere."""


def setup_logging(verbose: bool = False) -> None:
    """Log to stderr, under systemd with levels that the journal understands; a daemon to syslog."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if _detached:
        from logging.handlers import SysLogHandler
        handler = SysLogHandler("/dev/log", facility=SysLogHandler.LOG_MAIL)
        handler.setFormatter(logging.Formatter(f"chatmaild[{os.getpid()}]: %(message)s"))
    elif "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if verbose else logging.INFO,
                        force=True)


def share_heap() -> None:
    """Let all threads that start from now on allocate from one heap. Otherwise each has one of its
    own, and keeps what its largest work needed; behind Python's lock that saves them no time."""
    import ctypes
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_ARENA_MAX, 1)
    # Pieces of messages come and go at its end. Given back at once, each costs page faults again.
    libc.mallopt(_M_TRIM_THRESHOLD, 1 << 20)


_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
"""Of mallopt(3), in <malloc.h>."""


def stay_on_one_cpu(nth: int) -> None:
    """Run on one CPU only, with all threads that start from now on: the `nth` from the end, from 0,
    of those that are allowed, around the circle.

    For threads that hold Python's lock nearly all the time, more CPUs mean only that each finds
    the other's data in the wrong cache.
    """
    cpus = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):      # an admin's sandbox may forbid it; it works without
        os.sched_setaffinity(0, {cpus[-1 - nth % len(cpus)]})


class AddressLabel:
    """How a mail address appears in the log: a keyed hash, unless the admin wants it plain.

    The key is random and lives as long as the process, so that lines of one run can be told to
    belong together while nothing in a kept log leads back to an address. The hash is Python's own
    of strings, SipHash, which was made for hashing under a secret key; ours goes in front, in case
    that Python's is known (PYTHONHASHSEED).
    """

    def __init__(self, plain: bool):
        self.plain = plain
        self._key = os.urandom(16)

    def __call__(self, address: str) -> str:
        if self.plain:
            return address.encode("unicode_escape", "backslashreplace").decode("ascii")
        raw = self._key + address.lower().encode("utf-8", "surrogateescape")
        return f"addr-{hash(raw) & 0xFFFFFFFFFF:010x}"


def listening_socket(spec: str | None) -> socket.socket:
    """The socket a service accepts on, already listening.

    `spec` is ``unix:/path``, ``inet:port@host`` or ``fd:N``; None means the one socket that
    systemd handed over. Raises `UsageError` for a malformed spec and `SocketError`, naming path,
    owner and mode, when the socket cannot be had.
    """
    if spec is None:
        return inherited_sockets(1)[0]
    kind, _, rest = spec.partition(":")
    if kind == "fd" and re.fullmatch(r"[0-9]{1,6}", rest):
        return _adopt(int(rest))
    if kind == "unix" and rest.startswith("/"):
        return _listen_unix(Path(rest))
    match = re.fullmatch(r"([0-9]{1,5})@(.+)", rest)
    if kind in ("inet", "inet6") and match and int(match[1]) < 65536:
        return _listen_inet(match[2].strip("[]"), int(match[1]))
    raise UsageError(f"--socket {spec}: must be unix:/path, inet:port@host or fd:N")


def inherited_sockets(count: int) -> list[socket.socket]:
    """The `count` sockets that systemd hands over, in the order of the unit's ListenStream lines.

    Raises `UsageError` if there are more or fewer, `SocketError` for one that does not listen.
    """
    from systemd import daemon
    fds = daemon.listen_fds(True)
    if len(fds) != count:
        raise UsageError(
            f"expected {'one socket' if count == 1 else f'{count} sockets'} from systemd, got "
            f"{len(fds)}: start the .socket unit, or name a socket with --socket unix:/path"
        )
    return [_adopt(fd) for fd in fds]


def _adopt(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise SocketError(f"inherited descriptor {fd} is a socket that does not listen")
    except OSError as error:
        raise SocketError(f"inherited descriptor {fd}: {error.strerror}") from None
    return sock


def _listen_inet(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except (OSError, TypeError) as error:   # TypeError: not even a host name's characters
        sock.close()
        raise SocketError(f"inet:{port}@{host}: {getattr(error, 'strerror', error)}") from None
    return sock


def _listen_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise SocketError(_explain(path, error)) from None
    except SocketError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    """Unlink a socket that a killed process left behind; raise if somebody still serves it."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise SocketError(f"{path}: there is {describe(path)} in the way; move it, or name "
                              "another path with --socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass    # somebody listens, and is too busy to take one more
    raise SocketError(f"{path}: another process already listens there ({describe(path)}); "
                      "stop it, or name another path with --socket")


def _explain(path: Path, error: OSError) -> str:
    parent = path.parent
    if error.errno == errno.ENOENT:
        return f"{path}: directory {parent} is missing; create it, or reinstall the package"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (f"{path}: no permission for user {user_name(os.geteuid())} "
                f"({parent} is {describe(parent)}); chown the directory, or use another user")
    if error.errno == errno.EINVAL or "too long" in str(error):
        return f"{path}: a socket's path can have at most 107 octets; choose a shorter one"
    return f"{path}: {error.strerror or error}"


def describe(path: Path) -> str:
    """Kind, owner and mode of `path` in one phrase, for messages to the admin."""
    try:
        info = os.lstat(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    kind = kinds.get(stat.S_IFMT(info.st_mode), "a file")
    return (f"{kind} of {user_name(info.st_uid)}:{group_name(info.st_gid)} "
            f"with mode {stat.S_IMODE(info.st_mode):04o}")


def become(user: str) -> None:
    """Run as `user` from here on, with his groups, if run by root; others stay who they are.

    Raises `UsageError` if there is no such user.
    """
    if os.geteuid() != 0 or user == "root":
        return
    entry = known_user(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def known_user(user: str) -> pwd.struct_passwd:
    """Raises `UsageError` if there is no such user."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise UsageError(
            f"{user}: there is no such user; the package makes _chatmaild, mail_user in "
            "chatmaild.ini names another"
        ) from None


def become_owner(path: Path) -> None:
    """Go on with the rights of whoever owns `path`, and no more, if run by root.

    For work on the mailboxes, which belong to mail_user: even a mistake of ours could then reach
    nothing else. Raises `StoreError`.
    """
    try:
        become(user_name(os.stat(path).st_uid))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; mount it, or name another mailboxes_dir in "
                         "chatmaild.ini") from None


def share_socket(fd: int, group: str) -> None:
    """Let `group` connect to the unix socket `fd`, as SocketGroup= and SocketMode=0660 do.

    Raises `UsageError` if there is no such group.
    """
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(f"--socket-group {group}: there is no such group") from None
    with socket.socket(fileno=os.dup(fd)) as sock:
        path = sock.getsockname()
    os.chown(path, -1, gid)
    os.chmod(path, 0o660)


def daemonize(pidfile: Path, user: str | None, keep: Sequence[int]) -> None:
    """Leave the terminal, keep the descriptors `keep`, write `pidfile`, and become `user`.

    For hosts without systemd. The parent exits with 0 in here. Signals stay as they are: each
    service sets its own. Raises `UsageError` where python3-daemon is not installed.
    """
    global _detached
    try:
        import daemon
    except ImportError:
        raise UsageError("--daemonize needs the package python3-daemon") from None
    daemon.DaemonContext(files_preserve=list(keep), umask=0o077, signal_map={},
                         detach_process=True).open()
    _detached = True
    pidfile.write_text(f"{os.getpid()}\n")
    if user:
        become(user)    # not DaemonContext's uid and gid, which leave root's other groups


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def notify(state: str) -> None:
    """Tell the service manager, as sd_notify(3) does; nothing happens without one."""
    if "NOTIFY_SOCKET" in os.environ:
        from systemd import daemon
        try:
            daemon.notify(state)
        except OSError as error:    # it went away, or restarts; our work goes on
            logging.getLogger(__name__).debug("sd_notify: %s", error)


def watchdog_interval() -> float | None:
    """Seconds between two WATCHDOG=1, half of what the unit allows; None without a watchdog."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2_000_000


def run_asyncio(
    start: Callable[[], Awaitable[Callable[[], Awaitable[None]]]],
    reload: Callable[[], None],
) -> None:
    """Run an asyncio service until SIGTERM or SIGINT.

    `start` begins to accept and returns the coroutine function that winds it down. READY is told
    after `start` returned; SIGHUP calls `reload`, which must keep the old state when the new
    configuration is broken. The watchdog is fed from the loop itself, so that a stuck loop is
    noticed.
    """
    import asyncio
    asyncio.run(_supervise(start, reload))


async def _supervise(start, reload) -> None:
    import asyncio
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    stop = await start()
    loop.add_signal_handler(signal.SIGHUP, _reload, reload)
    notify("READY=1")
    interval = watchdog_interval()
    while not stopping.is_set():
        notify("WATCHDOG=1")
        try:
            await asyncio.wait_for(stopping.wait(), interval)
        except TimeoutError:
            pass
    notify("STOPPING=1")
    await stop()


def _reload(reload: Callable[[], None]) -> None:
    notify("RELOADING=1")
    reload()
    notify("READY=1")
