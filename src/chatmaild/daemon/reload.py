"""What SIGHUP does: the configuration is read again, and kept as it was if the file is broken."""

import logging
from collections.abc import Callable
from pathlib import Path

from chatmaild.config import inifile
from chatmaild.config.config import Config
from chatmaild.errors import ConfigError

log = logging.getLogger(__name__)


def reloader(path: Path, configure: Callable[[Config], None]) -> Callable[[], None]:
    """Calls `configure` with the file at `path` read anew; a broken one is only reported."""

    def reload() -> None:
        try:
            configure(inifile.load(path))
            log.info("configuration read again")
        except ConfigError as error:
            for problem in error.problems:
                log.error("keeping the old configuration: %s", problem)

    return reload
