"""What the directory says about the hosts that share the chat domains of this one."""

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from chatmaild.accounts import sharedsettings
from chatmaild.accounts.directory import PATIENCE, Directory
from chatmaild.accounts.directorylines import Session, conninfo
from chatmaild.accounts.directoryrows import Node
from chatmaild.config.config import Config
from chatmaild.errors import ChatmaildError


@dataclass(frozen=True)
class Known:
    """What the directory says; nothing on a host that is alone."""

    nodes: tuple[Node, ...] = ()
    version: int | None = None
    """Of its tables."""
    ahead: float = 0
    """Seconds by which its clock is ahead of ours."""
    sessions: frozenset[Session] = frozenset()
    """Who is connected to it."""
    is_here: bool = True
    """Whether this host has the address that the directory has of it."""
    told: Mapping[str, sharedsettings.Told] = field(default_factory=dict)
    """The settings of each host, as it told them; of a former release it does not."""
    trouble: str = ""
    """Why it says nothing."""


def ask(config: Config) -> Known:
    """Ask the directory, if this host has one."""
    if config.directory is None:
        return Known()
    try:
        with Directory(conninfo(config.directory), config.node, lines=1,
                       patience=PATIENCE) as directory:
            version, nodes = directory.version(), directory.nodes()
            return Known(tuple(nodes), version, directory.ahead(), frozenset(directory.sessions()),
                         all(_is_here(node.ip) for node in nodes if node.name == config.node),
                         directory.told() if version and version >= 2 else {})
    except ChatmaildError as error:
        return Known(trouble=str(error))


def _is_here(ip: str) -> bool:
    """Whether Dovecot could listen at this address."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET,
                           socket.SOCK_DGRAM) as probe:
            probe.bind((ip, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
