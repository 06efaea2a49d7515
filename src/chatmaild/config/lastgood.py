"""A copy of chatmaild.ini from when it was last in order, for services that start while it is not.

Root writes it whenever a service starts or is reloaded (``chatmaild configtest --keep``), so that
no service can change what another one reads. If chatmaild.ini has a mistake or is missing, services
start from the copy: otherwise nobody on the host could submit mail, ordinary users included. What
deletes mail and accounts by itself never uses it.

The copy's first line names the file, so that another configuration (``-c``) cannot be mistaken
for it.
"""

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from chatmaild.config import inifile
from chatmaild.config.config import Config
from chatmaild.disk import atomic
from chatmaild.errors import ConfigError, StoreError

PATH = Path("/var/lib/chatmaild/last-good.ini")
"""Owned by root, mode 0644: everybody may read chatmaild.ini as well."""


@dataclass(frozen=True)
class Loaded:
    """A configuration that can be used, and what is wrong with the file that should hold it."""

    config: Config
    problems: tuple[str, ...] = ()
    """The mistakes in chatmaild.ini, then what was done about them; empty if it is in order."""


def load(path: Path, copy: Path) -> Loaded:
    """The configuration at `path`, or the last good one. Raises `ConfigError` without either."""
    try:
        return Loaded(inifile.load(path))
    except ConfigError as error:
        try:
            config, since = _load_copy(path, copy)
        except (OSError, ConfigError):
            raise error from None
        return Loaded(config, (*error.problems,
                               f"{path}: not used until it is mended and reloaded; until "
                               f"then the configuration of {since} holds, kept in {copy}"))


def _load_copy(path: Path, copy: Path) -> tuple[Config, str]:
    with open(copy, "rb") as file:
        raw = file.read(inifile.MAX_FILE_SIZE + 4096)
        info = os.fstat(file.fileno())
    if not raw.startswith(_first_line(path)):
        raise ConfigError([f"{copy}: not of {path}"])
    return inifile.parse(raw, path), time.strftime("%Y-%m-%d %H:%M", time.localtime(info.st_mtime))


def keep(path: Path, copy: Path) -> Config:
    """Check the file at `path`, and copy it to `copy` unless that is the same already.

    Raises `ConfigError`, and `StoreError` if the disk refuses. Then the former copy stays.
    """
    raw = inifile.read(path)
    config = inifile.parse(raw, path)
    content = _first_line(path) + raw.removeprefix(inifile.BOM)
    try:
        if not _is_there(content, copy):
            atomic.write_file(os.fspath(copy), content, mode=0o644)
    except OSError as error:
        raise StoreError(f"{copy}: {error.strerror}; the last good configuration is not kept "
                         "there") from None
    return config


def is_outdated(path: Path, copy: Path) -> bool:
    """Whether the file at `path` has changed since services last read it. Raises `ConfigError`."""
    try:
        with open(copy, "rb") as file:
            content = file.read()
    except OSError:
        return False
    first = _first_line(path)
    now = inifile.read(path).removeprefix(inifile.BOM)
    return content.startswith(first) and content != first + now


def _is_there(content: bytes, copy: Path) -> bool:
    try:
        with open(copy, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            return mode == 0o644 and file.read(len(content) + 1) == content
    except FileNotFoundError:
        return False


def _first_line(path: Path) -> bytes:
    return f"# {path} as it last was in order. Kept by chatmaild; do not edit.\n".encode()
