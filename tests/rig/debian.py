"""Debian releases to test on: the machine's own, or one unpacked into a directory of the cache.

A directory is made once, from the mirrors that the machine itself uses, and named by what is in
it, so that it is made anew when the package depends on something else. It is never written to:
whoever runs something there puts an overlay over it.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path("/var/cache/chatmaild-tests")
"""Outside the tree: unpacked releases and virtual environments, made once, removable at will."""

CONTROL = Path(__file__).parents[2] / "debian/control"

SYSTEM = ("systemd", "systemd-sysv", "dbus", "libpam-systemd", "iproute2", "ca-certificates",
          "openssl", "ssl-cert", "procps")
"""A small Debian that can boot; with what the package depends on it is a clean mail host."""

SYSTEM_HOST = ("systemd", "iproute2", "openssl", "ssl-cert", "util-linux")
"""What the private host takes besides the package's dependencies, where it does not boot."""

TESTS = ("python3-pytest", "python3-hypothesis", "python3-pgpy", "python3-daemon",
         "gnupg", "sq", "swaks", "netcat-openbsd", "strace", "knot", "opendkim",
         "opendkim-tools", "dovecot-sieve")
"""What integration tests use besides."""

CLUSTER = ("postgresql", "python3-psycopg2", "postfix-pgsql")
"""What several hosts with one chat domain use besides; unit tests use the first two as well."""

CLUSTER_HOST = ("openssh-server",)
"""What they run besides, and the machine need not: there it is unpacked, since it would listen."""

MACHINE = ("mypy", "python3-typeshed", "isort", "codespell", "python3-coverage",
           "python3-flake8", "python3-segno", "rnp", "python3-venv", "mmdebstrap",
           "systemd-container", "mutt", "libmime-lite-perl", "gettext", "chromium",
           "python3-websocket", "zbar-tools")
"""What the machine needs that runs the tests: style, types, the real client, other mail programs,
other releases, booting, web pages on a screen."""

PROFILES = ("dovecot-sieve", "dovecot-managesieved", "dovecot-sqlite", "postfix-sqlite",
            "dovecot-pgsql", "postfix-pgsql", "postgresql", "postfix-lmdb", "postfix-cdb")
"""What hosts have on which people run more than Debian's defaults, see rig.profiles."""

RECIPES = ("opendkim", "opendkim-tools", "rspamd", "rsyslog", "rsync", "python3-psycopg2",
           "openssh-server")
"""What a host may have beside chatmaild, for which doc/ has recipes."""

PACKAGING = ("build-essential", "lintian", "autopkgtest", "mandoc", "groff", "man-db", "dpkg-dev",
             "po-debconf", "python3-flake8")
"""What building and checking the package takes besides, together with its Build-Depends."""


_APT_OPTIONS = {"forky": ('Acquire::Check-Valid-Until "false"',)}
"""A mirror may lag behind a release that changes daily. Its signatures count all the same."""


class Missing(Exception):
    """Something the private host needs is not there; the text says what and how to get it."""


def own_suite() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")


def needed(purpose: str) -> tuple[str, ...]:
    """The packages that this machine needs for ``make demo`` or ``make test``."""
    packages = SYSTEM_HOST + _relations("Depends", "Recommends")
    return packages if purpose == "demo" else packages + TESTS + CLUSTER + MACHINE + PACKAGING


def root(suite: str) -> Path:
    """The directory that holds `suite`, with everything the integration tests need installed."""
    if suite == own_suite():
        return Path("/")
    return _directory(suite, SYSTEM, _relations("Depends", "Recommends"), TESTS)


def profiles_root(suite: str) -> Path:
    """`suite` as in `root`, and what the hosts have that people run."""
    return _directory(suite, SYSTEM, _relations("Depends", "Recommends"), TESTS, PROFILES)


def cluster_root(suite: str) -> Path:
    """`suite` as in `root`, and what several hosts with one chat domain use besides."""
    if suite == own_suite():
        return Path("/")
    return _directory(suite, SYSTEM, _relations("Depends", "Recommends"), TESTS, CLUSTER,
                      CLUSTER_HOST)


def clean_root(suite: str) -> Path:
    """`suite` with what the package depends on and recommends, and nothing more.

    What the package uses but does not depend on is missing there, and so found out.
    """
    return _directory(suite, SYSTEM, _relations("Depends", "Recommends"))


def recipes_root(suite: str) -> Path:
    """`suite` as in `clean_root`, and the programs that doc/ has recipes for."""
    return _directory(suite, SYSTEM, _relations("Depends", "Recommends"), RECIPES)


def packaging_root(suite: str) -> Path:
    """`suite` as in `clean_root`, and what building, checking and testing the package takes."""
    return _directory(suite, SYSTEM, _relations("Depends", "Recommends"), TESTS, PACKAGING,
                      _relations("Build-Depends"))


def _relations(*fields: str) -> tuple[str, ...]:
    """The packages that debian/control names in `fields`; of alternatives the first."""
    text = CONTROL.read_text()
    entries = []
    for field in fields:
        for value in re.findall(rf"^{field}:(.*(?:\n[ \t].*)*)", text, re.MULTILINE):
            entries += (entry.split("|")[0].split("(")[0].split("<")[0].strip()
                        for entry in value.split(","))
    names = {"debhelper" if name == "debhelper-compat" else name for name in entries if name}
    return tuple(sorted(name for name in names if "$" not in name
                        and not name.startswith("dh-sequence-"))) + ("python3",)


def _directory(suite: str, *groups: tuple[str, ...]) -> Path:
    packages = list(dict.fromkeys(name for group in groups for name in group))
    key = hashlib.sha256(" ".join([suite, *packages]).encode()).hexdigest()[:12]
    directory = CACHE / f"{suite}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{directory.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            _make(suite, packages, directory)
    return directory


def _make(suite: str, packages: list[str], directory: Path) -> None:
    if not shutil.which("mmdebstrap"):
        raise Missing(f"{suite} is made with mmdebstrap: apt install mmdebstrap")
    mirrors = _mirrors(suite)
    print(f"downloading: Debian {suite}, {len(packages)} packages and what they need (mmdebstrap, "
          f"from {mirrors[0].split()[1]} to {directory})", file=sys.stderr, flush=True)
    unfinished = directory.with_suffix(".unfinished")
    subprocess.run(["rm", "-rf", "--one-file-system", unfinished], check=True)
    done = subprocess.run(
        ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}",
         *(f"--aptopt={line}" for line in (*_ways_out(), *_APT_OPTIONS.get(suite, ()))),
         suite, unfinished, *mirrors],
        text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"LC_ALL": "C.UTF-8"})
    if done.returncode:
        why = [line for line in done.stdout.splitlines() if line.startswith("E: ")]
        raise Missing(f"{done.stdout[-4000:]}\nmmdebstrap could not make {suite}: "
                      + " ".join(why[:2]))
    unfinished.rename(directory)


def _ways_out() -> list[str]:
    """Proxies and certificate authorities by which this machine's apt reaches mirrors.

    SSL_CERT_FILE names an authority for the rest, as for other programs.
    """
    dump = subprocess.run(["apt-config", "dump"], text=True, capture_output=True, check=True)
    lines = ['Acquire::Retries "5"',
             *(line for line in dump.stdout.splitlines() if line.startswith("Acquire::http"))]
    if name := os.environ.get("SSL_CERT_FILE"):
        lines.insert(0, f'Acquire::https::CaInfo "{name}";')
    return lines


def _mirrors(suite: str) -> list[str]:
    """The mirrors of this machine, as lines of sources.list for `suite`."""
    own = own_suite()
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)",
         "Created-By: Packages"], text=True, capture_output=True, check=True)
    lines = {}
    for line in done.stdout.splitlines():
        origin, uri, codename, component = line.split()
        if origin == "Debian" and component == "main" and codename.startswith(own):
            lines[f"deb {uri} {suite}{codename.removeprefix(own)} main"] = None
    if not lines:
        raise Missing(f"no Debian mirror for {suite} is known here: apt-get update")
    return list(lines)
