"""The sockets at which Dovecot listens."""

from collections.abc import Iterator

from chatmaild.admin.servers.doveconf import Block, Dovecot
from chatmaild.admin.servers.postconf import Postfix, in_run

LMTP_TCP_PORT = "24"
"""Where Postfix's lmtp(8) connects to unless told otherwise."""


def path(dovecot: Dovecot, listener: Block) -> str:
    """Return the path of the socket; a name without a directory is in base_dir."""
    name = listener.name or listener.get("path")
    base = dovecot.get("base_dir") or "/run/dovecot"
    return in_run(name if name.startswith("/") else f"{base}/{name}")


def listeners(dovecot: Dovecot, service: str) -> Iterator[tuple[str, Block]]:
    """Yield path and settings of each; mode 0 turns a listener off, so it is left out."""
    for block in dovecot.service(service).all("unix_listener"):
        if block.get("mode") not in ("0", "00", "000", "0000"):
            yield path(dovecot, block), block


def lmtp_listeners(dovecot: Dovecot) -> list[str]:
    """Return the paths at which Dovecot takes mail by LMTP."""
    return [where for where, _ in listeners(dovecot, "lmtp")]


def delivers(postfix: Postfix, dovecot: Dovecot, transport: str) -> bool:
    """Whether `transport` leads to Dovecot's LMTP.

    By TCP, the port tells it from LMTP servers of other programs.
    """
    path = postfix.lmtp_socket(transport)
    return _port(transport) in _ports(dovecot) if path == "" else path in lmtp_listeners(dovecot)


def _port(transport: str) -> str:
    nexthop = transport.partition(":")[2].removeprefix("inet:")
    host, colon, port = nexthop.rpartition(":")
    has_port = colon and host.count("[") == host.count("]")     # unlike [2001:db8::1]
    return port if has_port else LMTP_TCP_PORT


def _ports(dovecot: Dovecot) -> set[str]:
    return {block.get("port") for block in dovecot.service("lmtp").all("inet_listener")} - {"0"}


def mode(listener: Block) -> str:
    """Return the mode of a unix_listener; only ``lmtp`` is open to every user by itself."""
    return listener.get("mode") or ("0666" if listener.name == "lmtp" else "0600")


def is_open(listener: Block) -> bool:
    """Whether every user of this host can write to a unix_listener."""
    return mode(listener).isdigit() and int(mode(listener), 8) & 0o002 != 0


def addresses(dovecot: Dovecot, listener: Block) -> list[str]:
    """Return where an inet_listener listens; ``*`` stands for everywhere."""
    value = listener.get("address") or listener.get("listen") or dovecot.get("listen") or "*"
    return value.replace(",", " ").split()
