"""The sockets on which services listen: named by ``--socket``, or handed over by systemd."""

import argparse
import errno
import grp
import os
import re
import socket
import stat
from pathlib import Path

from chatmaild.daemon import systemd
from chatmaild.daemon.owners import describe, user_name
from chatmaild.errors import SocketError, UsageError

BACKLOG = 1024
"""Connections that may wait to be accepted."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The argument ``--socket`` of a service's command."""
    parser.add_argument("--socket", metavar="SPEC",
                        help="listen on unix:/path, inet:port@host or fd:N (default: the socket "
                        "handed over by systemd)")


def listening(spec: str | None) -> socket.socket:
    """The socket a service accepts on, already listening.

    `spec` is ``unix:/path``, ``inet:port@host`` or ``fd:N``; None means the one socket that
    systemd handed over. Raises `UsageError` for a malformed spec and `SocketError`, naming path,
    owner and mode, if the socket cannot be opened.
    """
    if spec is None:
        return inherited(1)[0]
    kind, _, rest = spec.partition(":")
    if kind == "fd" and re.fullmatch(r"[0-9]{1,6}", rest):
        return _adopt(int(rest))
    if kind == "unix" and rest.startswith("/"):
        return _listen_unix(Path(rest))
    match = re.fullmatch(r"([0-9]{1,5})@(.+)", rest)
    if kind in ("inet", "inet6") and match and int(match[1]) < 65536:
        return _listen_inet(match[2].strip("[]"), int(match[1]))
    raise UsageError(f"--socket {spec}: must be unix:/path, inet:port@host or fd:N")


def inherited(count: int) -> list[socket.socket]:
    """The `count` sockets that systemd hands over, in the order of the unit's ListenStream lines.

    Raises `UsageError` if there are more or fewer, `SocketError` for one that does not listen.
    """
    fds = systemd.listen_fds()
    if len(fds) != count:
        raise UsageError(
            f"expected {'one socket' if count == 1 else f'{count} sockets'} from systemd, got "
            f"{len(fds)}: start the .socket unit, or name a socket with --socket unix:/path"
        )
    return [_adopt(fd) for fd in fds]


def inherited_from(unit: str, other: str) -> tuple[socket.socket, socket.socket | None]:
    """The sockets that systemd hands over from two .socket units; None if it does not run `other`.

    Raises `UsageError` if there is none of `unit`, `SocketError` for one that does not listen.
    """
    fds = systemd.listen_fds_by_unit()
    if unit not in fds:
        raise UsageError(f"no socket from systemd: start {unit}, or name a socket with --socket "
                         "unix:/path")
    return _adopt(fds[unit]), _adopt(fds[other]) if other in fds else None


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
    except (OSError, TypeError) as error:   # TypeError: characters that no host name has
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
            pass    # somebody listens, but is too busy to take one more
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


def share(fd: int, group: str) -> None:
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
