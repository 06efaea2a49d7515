"""chatmaild.ini as a service reads it: at its start, and again at each SIGHUP.

At its start a service goes by the last good configuration if the file is broken; at SIGHUP it keeps
the one it has. Either way it says so in the log and in ``systemctl status`` until the file is in
order again.
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
        """What the command line names."""
        return cls(args.config, args.last_good)

    def load(self) -> Config:
        """For the start. Raises `ConfigError` if there is not even a last good configuration."""
        loaded = lastgood.load(self._path, self._copy)
        if loaded.problems:     # else silence: a filter's successor may not yet speak to systemd
            self._tell("on the last good configuration", loaded.problems)
        return loaded.config

    def reload(self, configure: Callable[[Config], None]) -> None:
        """For SIGHUP: `configure` is called with the file read anew, unless it is broken."""
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
