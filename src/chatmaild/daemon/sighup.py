"""Reads chatmaild.ini for a service: at each SIGHUP, and at its start.

If the file is broken, a service keeps the configuration it has at SIGHUP, and starts from the last
good one. Either way it says so in the log and in ``systemctl status`` until the file is in order
again. The signal itself arrives in `eventloop`, and for the filters in `services.filtermail`.
"""

import argparse
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from chatmaild.config import inifile, lastgood
from chatmaild.config.config import Config
from chatmaild.daemon import systemd
from chatmaild.errors import ConfigError

log = logging.getLogger(__name__)


class ConfigFile:
    """The file at `path`, and the place of the last good `copy` of it."""

    def __init__(self, path: Path, copy: Path):
        self._path = path
        self._copy = copy

    @classmethod
    def of(cls, args: argparse.Namespace) -> "ConfigFile":
        """Return the file and the copy that the command line names."""
        return cls(args.config, args.last_good)

    def load(self) -> Config:
        """Return the configuration to start with. Raises `ConfigError` without a last good one."""
        loaded = lastgood.load(self._path, self._copy)
        if loaded.problems:     # else silence: a filter's successor may not yet speak to systemd
            self._tell("on the last good configuration", loaded.problems)
        return loaded.config

    def reload(self, configure: Callable[[Config], None]) -> None:
        """Read the file again, at SIGHUP, and call `configure` with it unless it is broken."""
        try:
            configure(inifile.load(self._path))
        except ConfigError as error:
            self._tell("on the former configuration", error.problems)
        else:
            log.info("configuration read again")
            self._tell("", ())

    def _tell(self, state: str, problems: Iterable[str]) -> None:
        first = ""
        for problem in problems:
            first = first or f"{state}: {problem}"
            log.error("%s: %s", state, problem)
        systemd.notify(f"STATUS={first}")
