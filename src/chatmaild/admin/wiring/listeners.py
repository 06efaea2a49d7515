"""The unix sockets at which Dovecot listens."""

from collections.abc import Iterator

from chatmaild.admin.servers.doveconf import Block, Dovecot


def path(dovecot: Dovecot, listener: Block) -> str:
    """Return the path of the socket; a name without a directory is in base_dir."""
    name = listener.name or listener.get("path")
    base = dovecot.get("base_dir") or "/run/dovecot"
    return name if name.startswith("/") else f"{base}/{name}"


def listeners(dovecot: Dovecot, service: str) -> Iterator[tuple[str, Block]]:
    """Yield path and settings of each; mode 0 turns a listener off, so it is left out."""
    for block in dovecot.service(service).all("unix_listener"):
        if block.get("mode") not in ("0", "00", "000", "0000"):
            yield path(dovecot, block), block


def lmtp_listeners(dovecot: Dovecot) -> list[str]:
    """Return the paths at which Dovecot takes mail by LMTP."""
    return [where for where, _ in listeners(dovecot, "lmtp")]
