"""Do our services answer, as the users and from the roots that Postfix and Dovecot ask from?"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatmaild.admin.check import hostfiles
from chatmaild.admin.check.findings import Finding, failure, ok, unseen
from chatmaild.admin.check.hostfiles import Identity
from chatmaild.admin.servers import milters
from chatmaild.admin.servers.postconf import PROBE, Postfix
from chatmaild.config.config import Config
from chatmaild.daemon import owners

TIMEOUT = 5
"""Seconds for a service to start, if need be, and to answer."""

RUN = "/run/chatmaild"
HOMES_SOCKET = "chatmaild/homes.sock"


@dataclass(frozen=True)
class Question:
    """A request that a healthy service answers and that changes nothing."""

    send: bytes
    healthy: tuple[bytes, ...]
    """What the answer may begin with, past its first `skip` octets."""
    skip: int = 0


@dataclass(frozen=True)
class Door:
    """A socket, the user who must be able to use it, and the root directory they see."""

    service: str
    path: str
    who: Identity
    question: Question
    chroot: str = "/"


def dict_question(name: str, key: str) -> Question:
    """Return a lookup of a key that does not exist, in Dovecot's dict protocol."""
    return Question(f"H3\t2\t0\t\t{name}\nL{key}\t{PROBE}\n".encode(), (b"N\n", b"O"))


def homes_question(address: str) -> Question:
    """Return what Postfix asks on one of several hosts."""
    return Question(f"get {address}\r\n".encode(), (b"END", b"VALUE"))


MILTER_QUESTION = Question(
    struct.pack("!IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF), (b"O",), skip=4
)
"""SMFIC_OPTNEG of the milter protocol, as Postfix sends it first."""


def doors(config: Config, postfix: Postfix | None) -> Iterator[Door]:
    """Yield each of our sockets that Dovecot, our own filter, or Postfix as configured uses."""
    probe = f"{PROBE}@{config.mail_domains[0]}"
    root = Identity("root", 0, 0, frozenset({0}))
    owner = hostfiles.identity(config.mail_user, "dovecot") or root
    yield Door("doveauth", f"{RUN}/doveauth.sock", root,
               dict_question("auth", f"shared/userdb/{probe}"))
    yield Door("lastlogin", f"{RUN}/lastlogin.sock", owner,
               dict_question("lastlogin", f"shared/last-login/{probe}"))
    for name in ("metadata", "metadata-lmtp"):
        yield Door("metadata", f"{RUN}/{name}.sock", owner,
                   dict_question("metadata", "shared/none/comment"))
    filter_user = hostfiles.identity("_chatmaild-filter") or root
    yield Door("recipients", f"{RUN}/recipients.sock", filter_user,
               dict_question("recipients", f"shared/mailbox/{probe}"))
    if postfix is None:
        return
    queue = postfix.get("queue_directory")
    user = hostfiles.identity(postfix.get("mail_owner") or "postfix") or root
    rewriting = postfix.service("rewrite/unix")
    if config.directory and rewriting:
        yield Door("homes", postfix.resolve(HOMES_SOCKET, rewriting), user, homes_question(probe),
                   queue if rewriting.chroot else "/")
    seen = set()
    for service in postfix.servers():
        for milter in milters.milters(postfix.get("smtpd_milters", service)):
            path = postfix.resolve(milter.endpoint.partition(":")[2], service)
            if milter.is_ours and path not in seen:
                seen.add(path)
                yield Door(milter.socket_name.removesuffix(".sock"), path, user, MILTER_QUESTION,
                           queue if service.chroot else "/")


def check(
    config: Config,
    postfix: Postfix | None,
    ask: Callable[[Door], bytes] | None = None,
) -> Iterator[Finding]:
    """Yield a finding about each socket. `ask` returns the answer or raises OSError."""
    for door in doors(config, postfix):
        yield judge(door, ask or ask_as)


def judge(door: Door, ask: Callable[[Door], bytes]) -> Finding:
    """Return the finding on one socket. `ask` returns the answer or raises OSError."""
    unit = f"chatmaild-{door.service}"
    service = "chatmaild-recipients" if door.service == "homes" else unit
    # enable --now does nothing if systemd still has a socket whose file somebody removed
    cure = (f"systemctl enable {unit}.socket; systemctl restart {unit}.socket; "
            f"journalctl -u {service}")
    user = f"user {door.who.name}" + ("" if door.chroot == "/" else f" in {door.chroot}")
    try:
        answer = ask(door)
    except FileNotFoundError:
        return failure("socket-missing", door.path, "there is no such socket", cure)
    except ConnectionRefusedError:
        return failure("socket-dead", door.path, "nobody listens there", cure)
    except (TimeoutError, BlockingIOError):
        return failure("service-hangs", door.path,
                       f"no answer within {TIMEOUT} s", f"systemctl restart {service}.service")
    except PermissionError:
        if os.geteuid() != 0:
            return unseen("socket", door.path, f"cannot be asked as {user}", "run as root")
        return failure("socket-mode", door.path,
                       f"{user} cannot use it; it is {owners.describe(door.path)}",
                       f"systemctl restart {unit}.socket   (its unit has the right owner and mode)")
    except OSError as error:
        return failure("socket", door.path, f"{user}: {error.strerror}", cure)
    if not answer[door.question.skip:].startswith(door.question.healthy):
        return failure("service-ill", door.path,
                       "the service hung up" if not answer else "the service reports trouble",
                       f"journalctl -u {service}")
    return ok("socket", door.path, f"{service} answers {user}")


def ask_as(door: Door) -> bytes:
    """Ask as `door.who` within `door.chroot`; as ourselves if we are not root.

    Raises OSError as connect(2) and recv(2) do.
    """
    path = door.path
    if os.geteuid() != 0:
        return _ask(path, door.question)
    if door.chroot != "/":
        path = "/" + os.path.relpath(path, door.chroot)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(door, path, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        status, answer = struct.unpack("!i", pipe.read(4) or b"\0\0\0\5")[0], pipe.read()
    os.waitpid(child, 0)
    if status:
        raise OSError(status, os.strerror(status))
    return answer


def _child(door: Door, path: str, writer: int) -> None:
    """Become the other program, ask, and tell the parent. Never returns."""
    status, answer = 0, b""
    try:
        os.chroot(door.chroot)
        os.chdir("/")
        os.setgroups(list(door.who.groups))
        os.setgid(door.who.gid)
        os.setuid(door.who.uid)
        answer = _ask(path, door.question)
    except TimeoutError:
        status = errno.ETIMEDOUT
    except OSError as error:
        status = error.errno or errno.EIO
    finally:
        with contextlib.suppress(OSError):
            os.write(writer, struct.pack("!i", status) + answer)
        os._exit(0)


def _ask(path: str, question: Question) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(path)
        connection.sendall(question.send)
        answer = connection.recv(4096)
    return answer
