"""Builds the package in a machine, as `make deb` does."""

import shutil
from pathlib import Path

from container.machine import SCRATCH, Machine
from rig.machine import TREE_INSIDE

_BUILDER = "builder"


def unpack(machine: Machine, directory: str) -> None:
    """A copy of the tree without what tests and tools leave behind, owned by the builder."""
    machine.shell(f"""
        id {_BUILDER} >/dev/null 2>&1 || useradd --create-home {_BUILDER}
        rm -rf {directory}
        mkdir -p {directory}
        cd {TREE_INSIDE}
        tar -c --exclude=.git --exclude=./build --exclude='.pytest_cache' --exclude='__pycache__' \
            --exclude=.hypothesis --exclude=.mypy_cache --exclude='*.pyc' . | tar -x -C {directory}
        chown -R {_BUILDER}: {directory}/..
    """)


def build(machine: Machine, directory: str, what: str = "binary", prefix: str = "",
          **environment: str) -> None:
    """Run dpkg-buildpackage there, not as root; `prefix` is put in front of it."""
    settings = " ".join(f"{key}={value}" for key, value in environment.items())
    machine.run("su", "-", _BUILDER, "-c", f"cd {directory} && {prefix} env {settings} "
                f"dpkg-buildpackage -us -uc --build={what}", seconds=1800)


def package(machine: Machine, version: str = "", change: str = "true") -> Path:
    """Build the .deb, and return where it is outside the machine.

    With `version` it gets another number, and `change` is run in the tree before.
    """
    directory = f"/home/{_BUILDER}/package{version}/chatmaild"
    unpack(machine, directory)
    machine.shell(f"cd {directory}; {change}")
    if version:
        machine.shell(f"sed -i '1s/(.*)/({version})/' {directory}/debian/changelog")
    build(machine, directory)
    found, = machine.path(f"{directory}/..").resolve().glob("*.deb")
    target = SCRATCH / found.name
    target.write_bytes(found.read_bytes())
    return target


class Repository:
    """An apt repository that debian/repository makes in a machine."""

    URL = "http://127.0.0.1:8093"
    _KEY = "archive@packages.example.org"

    def __init__(self, machine: Machine):
        self._machine = machine
        self.directory = machine.path("/root/repository")
        machine.shell(f"gpg --batch --quiet --passphrase '' --quick-generate-key {self._KEY} "
                      "ed25519 sign never")

    def add(self, package: Path) -> None:
        """Publish one more version."""
        shutil.copy(package, self._machine.path("/root"))
        self._machine.shell(f"{TREE_INSIDE}/debian/repository {self._KEY} {self.URL} "
                            f"/root/repository /root/{package.name}")
