"""Looks at the host for `wire`: both servers, raw and expanded, and the files that may change."""

import dataclasses
import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chatmaild.admin.servers import doveconf, postconf
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import HOMES, Postfix
from chatmaild.admin.wiring.otherhosts import Known
from chatmaild.admin.wiring.steps import WiringError

TEMPLATES = Path("/usr/share/chatmaild/dovecot")
"""A folder for each release of Dovecot."""

SYSCTL = "/etc/sysctl.d/60-chatmaild.conf"
INOTIFY = "/proc/sys/fs/inotify/max_user_instances"

HOSTS_FILE = "chatmaild-hosts.conf"
"""Our file for Dovecot about the other hosts; 99-chatmaild-hosts.conf in conf.d."""

_INCLUDE = re.compile(r"^[ \t]*!include(?:_try)?[ \t]+(\S+)[ \t]*(?:#.*)?$", re.MULTILINE)

UNITS = "/etc/systemd/system"
NETWORK_UNITS = tuple(f"{UNITS}/chatmaild-{name}.service.d/network.conf"
                      for name in ("doveauth", "recipients", "expire"))
"""What lets our services reach a directory on another host. systemd reads the drop-ins of all
directories by name, and this one has to come after our hardening.conf."""


@dataclass(frozen=True)
class Host:
    """One host, before or after it is wired."""

    postfix: Postfix
    dovecot: Dovecot
    main: Mapping[str, str]
    """The parameters set in main.cf, with nothing expanded."""
    defaults: Mapping[str, str]
    """Postfix's defaults of the other parameters, with nothing expanded."""
    lines: Mapping[str, str]
    """Each line of master.cf by ``name/type``, blanks folded."""
    options: Mapping[str, Mapping[str, str]]
    """The ``-o`` options of each service, nothing expanded."""
    files: Mapping[str, str]
    """Text of master.cf, and of the files of Dovecot, systemd and the kernel's limits; one that is
    missing is left out."""
    templates: Mapping[str, str]
    """The files that we have for this release of Dovecot, by name."""
    inotify: int | None = None
    """inotify instances that the kernel grants each user; None if unknown."""
    has_sockets: bool = True
    """Whether the folder of our filters' sockets is in Postfix's queue directory."""
    known: Known = Known()
    """What the directory says about the hosts of the chat domain."""
    others: tuple["Host", ...] = ()
    """Further instances of Postfix, see postmulti(1), which log in at the same Dovecot."""

    @property
    def main_cf(self) -> str:
        """Its path."""
        return f"{self.postfix.directory}/main.cf"

    @property
    def master_cf(self) -> str:
        """Its path."""
        return f"{self.postfix.directory}/master.cf"

    @property
    def conf_d(self) -> str:
        """The directory that Debian's dovecot.conf includes."""
        return f"{os.path.dirname(self.dovecot.path)}/conf.d"

    def raw(self, name: str, service: str = "") -> str:
        """Return the value that holds, with nothing expanded; "" if there is none."""
        own = self.options.get(service, {})
        return own.get(name, self.main.get(name, self.defaults.get(name, "")))

    def is_used(self, name: str) -> bool:
        """Whether an option or a parameter refers to ``$name``."""
        values = [*self.main.values(), *(v for own in self.options.values() for v in own.values())]
        return any(f"${name}" in value.split() for value in values)

    def chroot(self, service: str) -> str:
        """Return the chroot column of `service` in master.cf; ``y`` if there is no such service."""
        columns = self.lines.get(service, "").split()
        return columns[4] if len(columns) > 4 else "y"


def observe(known: Known = Known()) -> Host:
    """Look at this host. Raises `PostfixError`, `DovecotError` or `WiringError`."""
    return around(postconf.observe(), doveconf.observe(), known)


def around(postfix: Postfix, dovecot: Dovecot, known: Known = Known()) -> Host:
    """Complete a Postfix and a Dovecot that were observed to a host. Raises as `observe` does."""
    return dataclasses.replace(_instance(postfix, dovecot), known=known, others=tuple(
        _instance(postconf.observe(directory), dovecot)
        for directory in other_instances(postfix.directory)))


def _instance(postfix: Postfix, dovecot: Dovecot) -> Host:
    where = ["-c", postfix.directory]
    master = postconf.run(["postconf", *where, "-M"])
    lines = {"/".join(line.split()[:2]): " ".join(line.split()) for line in master.splitlines()}
    options: dict[str, dict[str, str]] = {}
    for key, value in postconf.parse_parameters(
            postconf.run(["postconf", *where, "-P"])).items():
        service, _, name = key.rpartition("/")
        options.setdefault(service, {})[name] = value
    release = ".".join(map(str, dovecot.version))
    return Host(
        postfix, dovecot,
        main=postconf.parse_main("".join(_read([f"{postfix.directory}/main.cf"]).values())),
        defaults=postconf.parse_parameters(postconf.run(["postconf", *where, "-d"])),
        lines={name: _without_options(line) for name, line in lines.items()},
        options=options,
        files=_read([*_paths(dovecot), f"{postfix.directory}/master.cf",
                     f"{postfix.directory}/{HOMES}", *NETWORK_UNITS]),
        templates={path.name: path.read_text() for path in _templates(release)},
        inotify=granted_inotify(),
        has_sockets=os.path.isdir(f"{postfix.get('queue_directory')}/chatmaild"),
    )


def _without_options(line: str) -> str:
    """Return the eight columns, and the rest of the line up to the first option."""
    return line.partition(" -o ")[0].strip()


def _templates(release: str) -> list[Path]:
    found = sorted((TEMPLATES / release).glob("*.conf"))
    if not found:
        raise WiringError(f"{TEMPLATES}: nothing for Dovecot {release}; this version of chatmaild "
                          "knows " + ", ".join(sorted(p.name for p in TEMPLATES.glob("*")))
                          + ", see doc/wiring-by-hand.md")
    return found


def _paths(dovecot: Dovecot) -> list[str]:
    directory = os.path.dirname(dovecot.path)
    return [*_with_included([dovecot.path, *sorted(glob.glob(f"{directory}/conf.d/*.conf"))]),
            f"{directory}/chatmaild.conf", f"{directory}/chatmaild-last.conf",
            f"{directory}/{HOSTS_FILE}", SYSCTL]


def _with_included(paths: list[str]) -> list[str]:
    """Return `paths`, followed by the files that these include, and so on."""
    found = dict.fromkeys(paths)
    while paths:
        patterns = [each for path, text in _read(paths).items() for each in included(path, text)]
        paths = [path for pattern in patterns for path in sorted(glob.glob(pattern))
                 if path not in found and os.path.isfile(path)]
        found |= dict.fromkeys(paths)
    return list(found)


def included(path: str, text: str) -> list[str]:
    """Return the names and patterns of files that `text`, which is in the file `path`, includes."""
    return [os.path.join(os.path.dirname(path), name) for name in _INCLUDE.findall(text)]


def _read(paths: list[str]) -> dict[str, str]:
    found = {}
    for path in paths:
        try:
            found[path] = Path(path).read_text(errors="surrogateescape")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise WiringError(f"{path}: {error.strerror}") from None
    return found


def granted_inotify() -> int | None:
    """Return how many inotify instances the kernel grants each user; None if unknown."""
    try:
        return int(Path(INOTIFY).read_text())
    except (OSError, ValueError):
        return None


def other_instances(directory: str) -> list[str]:
    """Return the directories of the other instances of postmulti(1), if this is one of them."""
    known = [line.split()[-1] for line in postconf.run(["postmulti", "-l"]).splitlines() if line]
    return [path for path in known if directory in known and path != directory]
