"""Clean Debians with systemd, and the package as built from this tree.

    sudo /usr/bin/python3 -m pytest -m container tests/container
    sudo /usr/bin/python3 -m pytest -m container tests/container -k bookworm
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from container import build, machine
from container.mailhost import MailHost
from rig import debian

RELEASES = ("bookworm", "trixie")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what the host's programs logged."""
    report = (yield).get_result()
    hosts = [value for value in getattr(item, "funcargs", {}).values()
             if isinstance(value, MailHost)]
    if report.failed and hosts:
        report.sections.append(("log of the host", hosts[0].log(60)))


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.container)


@pytest.fixture(scope="session")
def containers():
    """Machines can be booted; they and their mounts end with this process."""
    missing = [program for program in ("mmdebstrap", "systemd-nspawn", "nsenter", "setpriv")
               if not shutil.which(program)]
    if os.geteuid() or missing:
        text = "needs root and the packages mmdebstrap and systemd-container"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    machine.private_mounts()
    with enough_inotify():
        yield


@contextlib.contextmanager
def enough_inotify():
    """What `chatmaild wire` sets on a host, a container has to take from its machine's kernel."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    before = limit.read_text()
    limit.write_text(str(max(4096, int(before))))
    try:
        yield
    finally:
        limit.write_text(before)


@pytest.fixture(scope="session", params=RELEASES)
def release(request, containers) -> str:
    return request.param


@pytest.fixture(scope="session")
def workshops(containers):
    """Machines to build and check packages in, by release; made when first asked for."""
    made: dict[str, machine.Machine] = {}

    def workshop(suite: str) -> machine.Machine:
        if suite not in made:
            made[suite] = machine.Machine(f"workshop-{suite}", debian.packaging_root(suite))
            made[suite].create()
            made[suite].boot()
        return made[suite]

    yield workshop
    for one in made.values():
        one.destroy()


@pytest.fixture(scope="session")
def package(workshops) -> Path:
    """The package as it is built on Debian 12; it is the one to install on all releases."""
    return build.package(workshops("bookworm"))


@pytest.fixture(scope="session")
def older_package(workshops) -> Path:
    """The same with an older version number and an older annotated default."""
    return build.package(workshops("bookworm"), version="0.1.0~older",
                         change="sed -i 's/Largest message/Greatest message/' doc/chatmaild.ini")


@pytest.fixture(scope="session")
def repository(workshops) -> build.Repository:
    """An apt repository, empty at first, as debian/repository makes it."""
    return build.Repository(workshops("bookworm"))


@pytest.fixture(scope="session")
def deltachat() -> Path:
    """The directory with the packages of the real client; in a host it is in /usr/src."""
    done = subprocess.run([machine.TREE / "tests/rig/venv", "client"], text=True,
                          capture_output=True)
    if done.returncode:
        pytest.fail(f"needs the Delta Chat core: {done.stderr.strip().rpartition(chr(10))[2]}")
    packages, = Path(done.stdout.strip()).glob("lib/python3*/site-packages")
    return packages


@pytest.fixture(scope="module")
def ordinary(release, deltachat):
    """A clean Debian that serves ordinary mail for example.org and has never heard of us."""
    host = MailHost(release, debian.clean_root(release), deltachat)
    host.create()
    host.boot()
    host.set_up_ordinary_mail()
    yield host
    host.destroy()
