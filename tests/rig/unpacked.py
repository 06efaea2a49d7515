"""Programs out of Debian packages that must not be installed, since they bring a service."""

import fcntl
import shutil
import subprocess
from pathlib import Path

from rig.debian import CACHE, Missing


def unpacked(package: str) -> Path:
    """A directory of the cache with the files of `package`, of the machine's own release.

    Raises `Missing` if it cannot be had.
    """
    directory = CACHE / f"unpacked-{package}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{directory.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            unfinished = directory.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            done = subprocess.run(
                ["apt-get", "-q", "-o", "Acquire::Retries=5", "download", package], cwd=unfinished,
                stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            found = list(unfinished.glob("*.deb"))
            if done.returncode or not found:
                raise Missing(f"{package} cannot be downloaded: {done.stderr[-500:]}")
            subprocess.run(["dpkg-deb", "-x", found[0], unfinished], check=True)
            found[0].unlink()
            unfinished.rename(directory)
    return directory
