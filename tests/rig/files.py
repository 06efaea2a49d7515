"""Changing files of a running server, which reads them whenever it likes."""

import os
import shutil
import tempfile
from pathlib import Path


def replace(path: Path | str, content: str | bytes) -> None:
    """Give the file this content whole, by rename: whoever reads meanwhile gets old or new.

    Mode and owner stay; a new file belongs to root and is for all to read. A link stays a link.
    """
    path = Path(path).resolve()
    data = content.encode() if isinstance(content, str) else content
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    new = Path(name)
    try:
        with open(number, "wb") as file:
            file.write(data)
        if path.exists():
            before = path.stat()
            os.chown(new, before.st_uid, before.st_gid)
            shutil.copymode(path, new)
        else:
            new.chmod(0o644)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
