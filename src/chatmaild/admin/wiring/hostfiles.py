"""Reading and replacing whole files of the host."""

import os

from chatmaild.admin.wiring.editing import Files
from chatmaild.admin.wiring.steps import WiringError
from chatmaild.disk import atomic

MODE = 0o644
"""Of a file that was not there; those that were keep mode and owner."""


def read(paths: list[str]) -> Files:
    found: Files = {}
    for path in paths:
        try:
            with open(path, "rb") as file:
                found[path] = file.read()
        except FileNotFoundError:
            found[path] = None
        except OSError as error:
            raise WiringError(f"{path}: {error.strerror}") from None
    return found


def write(files: Files) -> None:
    """Each file whole, by rename; a link stays a link. Raises OSError."""
    for path in sorted(files, key=lambda path: path.endswith("/master.cf")):
        content = files[path]
        target = os.path.realpath(path)
        if content is None:
            if os.path.exists(target):
                os.unlink(target)
                atomic.sync_directory(os.path.dirname(target))
            continue
        _replace(target, content)


def _replace(path: str, content: bytes) -> None:
    try:
        info = os.stat(path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        atomic.write_file(path, content, MODE)
        return
    with open(path, "rb") as file:
        if file.read() == content:
            return
    temporary = f"{path}.chatmaild-wiring"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    atomic.write_new_file(temporary, content, info.st_mode & 0o7777)
    os.chown(temporary, info.st_uid, info.st_gid)
    os.chmod(temporary, info.st_mode & 0o7777)
    os.rename(temporary, path)
    atomic.sync_directory(os.path.dirname(path))
