"""What the directory says about the hosts that share the chat domains of this one."""

from dataclasses import dataclass

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
    trouble: str = ""
    """Why it says nothing."""


def ask(config: Config) -> Known:
    """Ask the directory, if this host has one."""
    if config.directory is None:
        return Known()
    try:
        with Directory(conninfo(config.directory), config.node, lines=1,
                       patience=PATIENCE) as directory:
            return Known(tuple(directory.nodes()), directory.version(), directory.ahead(),
                         frozenset(directory.sessions()))
    except ChatmaildError as error:
        return Known(trouble=str(error))
