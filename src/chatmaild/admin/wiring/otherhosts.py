"""What the directory says about the hosts that share the chat domains of this one."""

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
            version = directory.version()
            return Known(tuple(directory.nodes()), version, directory.ahead(),
                         frozenset(directory.sessions()),
                         directory.told() if version and version >= 2 else {})
    except ChatmaildError as error:
        return Known(trouble=str(error))
