"""The configuration of Postfix, as a value from the output of postconf(1) and postmap(1)."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chatmaild.admin.servers import hosttool
from chatmaild.admin.servers.parameters import PARAMETERS
from chatmaild.errors import ChatmaildError

HOMES = "chatmaild-homes.cf"
"""The table beside main.cf by which Postfix asks us about accounts on several hosts. It knows
accounts, so nobody asks it about a domain."""

PROBE = "chatmaildcheckprobe"
"""Local part that tables are asked for; nobody has it."""

RESTRICTIONS = tuple(f"smtpd_{kind}_restrictions" for kind in (
    "client", "helo", "sender", "relay", "recipient", "data", "end_of_data"))
"""The lists by which smtpd(8) decides about a message, in their order."""

_FEEDS_CLEANUP = ("smtpd", "pickup", "qmqpd")
_NO_DELAY = re.compile("0*[smhdw]?")
_VERBOSE = re.compile("-v+")


class PostfixError(ChatmaildError):
    """A tool of Postfix cannot be run, or Postfix refuses its own configuration."""


@dataclass(frozen=True)
class Service:
    """One line of master.cf with its ``-o`` options."""

    name: str
    """As postconf writes it: ``submission/inet``."""
    command: str
    chroot: bool
    options: Mapping[str, str] = field(default_factory=dict)
    """Overridden parameters, with every $name expanded."""
    is_verbose: bool = False
    """Whether it logs each command (``-v``)."""

    @property
    def address(self) -> str:
        """The host and port, the port alone, or the path."""
        return self.name.rpartition("/")[0]

    @property
    def is_network(self) -> bool:
        """Whether it serves connections from the network (type pass: through postscreen)."""
        return self.name.endswith(("/inet", "/pass"))

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this host can connect, and not by a proxy for others."""
        if self.is_proxied:
            return False
        host = self.address.rpartition(":")[0].strip("[]")
        return host == "localhost" or host == "::1" or host.startswith("127.")

    @property
    def is_proxied(self) -> bool:
        """Whether a proxy such as HAProxy connects here on behalf of clients."""
        return bool(self.options.get("smtpd_upstream_proxy_protocol"))

    @property
    def is_port_25(self) -> bool:
        """Whether the world's servers deliver here, directly or through postscreen."""
        return self.address.rpartition(":")[2] in ("smtp", "25") or self.name.endswith("/pass")

    @property
    def is_way_back(self) -> bool:
        """Whether a content filter of the host returns mail here that was checked before.

        Only such filters tell whose mail it was by XFORWARD, see FILTER_README.
        """
        return (self.is_loopback and "smtpd_sasl_auth_enable" not in self.options
                and (self.options.get("content_filter") == ""
                     or bool(self.options.get("smtpd_authorized_xforward_hosts"))))


class Restriction(NamedTuple):
    """One word of the lists by which smtpd(8) decides about a message, see SMTPD_ACCESS_README."""

    where: str
    """The list, such as ``smtpd_sender_restrictions``, or the class of restrictions."""
    word: str
    argument: str
    """The next word; for many restrictions their table or server."""


@dataclass(frozen=True)
class Postfix:
    """One Postfix instance."""

    directory: str
    parameters: Mapping[str, str]
    """main.cf with the defaults, with every $name expanded."""
    services: tuple[Service, ...]
    ask: Callable[[str, str], str | None]
    """The answer of a table, ``type:name``, to a key. Raises `PostfixError`."""
    ask_all: Callable[[str, Iterable[str]], Mapping[str, str]]
    """The answers of a table, by key. Raises `PostfixError`."""
    warnings: tuple[str, ...] = ()
    """What Postfix itself finds odd in its configuration."""

    def get(self, name: str, service: Service | None = None) -> str:
        """Return the value that holds for `service`, or for all services; "" if there is none."""
        if service is not None and name in service.options:
            return service.options[name]
        return self.parameters.get(name, "")

    def is_on(self, name: str, service: Service | None = None) -> bool:
        """Whether the value that holds is "yes"."""
        return self.get(name, service) == "yes"

    def delays(self, name: str) -> bool:
        """Whether a parameter that is a time, such as ``5s``, is more than none."""
        return not _NO_DELAY.fullmatch(self.get(name))

    def words(self, name: str, service: Service | None = None) -> list[str]:
        """Return the value as a list, see `split`."""
        return split(self.get(name, service))

    def service(self, name: str) -> Service | None:
        """Return the service called `name`, such as ``submission/inet``; None if there is none."""
        return next((service for service in self.services if service.name == name), None)

    def restrictions(self, service: Service, logged_in: bool = True) -> Iterator[Restriction]:
        """Yield what a client meets there, in order, up to what ends each list.

        A restriction that only warns is left out. A class of restrictions may be reached by a
        table that nobody can search, so each counts as used.
        """
        last = {"permit", "reject", "defer", *(["permit_sasl_authenticated"] if logged_in else [])}
        for name in (*RESTRICTIONS, *self.words("smtpd_restriction_classes", service)):
            words = self.words(name, service)
            for before, word, after in zip(["", *words], words, [*words[1:], ""]):
                only_warns = before == "warn_if_reject"
                if not only_warns:
                    yield Restriction(name, word, after)
                if word in last and (not only_warns or word.startswith("permit")):
                    break

    def servers(self) -> list[Service]:
        """Return the services that take mail by SMTP."""
        return [s for s in self.services if s.command == "smtpd" and s.is_network]

    def submission_servers(self) -> list[Service]:
        """Return those of `servers` where clients log in."""
        return [s for s in self.servers()
                if self.is_on("smtpd_sasl_auth_enable", s) and not s.is_way_back]

    def resolve(self, path: str, service: Service) -> str:
        """Return the path, outside the chroot, of what `service` opens as `path`."""
        queue = self.get("queue_directory")
        if service.chroot or not path.startswith("/"):
            return in_run(os.path.normpath(f"{queue}/{path}"))
        return in_run(path)

    def lmtp_socket(self, transport: str) -> str | None:
        """Return the path of the unix socket to which `transport` takes mail by LMTP.

        "" if it takes it to another LMTP server, None if it does anything else.
        """
        method, _, nexthop = transport.partition(":")
        service = self.service(f"{method}/unix")
        if service is None or service.command != "lmtp" or not nexthop:
            return None
        return (self.resolve(nexthop.removeprefix("unix:"), service)
                if nexthop.startswith("unix:") else "")

    def look_up(self, parameter: str, key: str, service: Service | None = None) -> str | None:
        """Return the first answer of the tables in `parameter` to `key`; None if none has one.

        Raises `PostfixError` for a table that cannot be read.
        """
        for table in self.words(parameter, service):
            answer = self.ask(table, key)
            if answer is not None:
                return answer
        return None

    def look_up_all(self, parameter: str, keys: Sequence[str],
                    service: Service | None = None) -> dict[str, str]:
        """Return the first answer of the tables in `parameter` to each of `keys` that has one.

        Raises `PostfixError` for a table that cannot be read.
        """
        found: dict[str, str] = {}
        for table in self.words(parameter, service):
            found = {**self.ask_all(table, keys), **found}
        return found

    def domain_keys(self, kind: str, domain: str) -> list[str]:
        """Return what tables of a `kind`, such as ``transport_maps``, are asked about, in order.

        It is the domain and those above it, see access(5) and transport(5).
        """
        dot = "" if kind in self.words("parent_domain_matches_subdomains") else "."
        labels = domain.split(".")
        return [domain, *(f"{dot}{'.'.join(labels[number:])}" for number in range(1, len(labels)))]

    def way(self, domain: str) -> tuple[str, str]:
        """Return the key of transport_maps, or "", by which its mail finds its way, and the way.

        Raises `PostfixError` for a table that cannot be read.
        """
        for key in (f"{PROBE}@{domain}", *self.domain_keys("transport_maps", domain), "*"):
            if found := self.look_up("transport_maps", key):
                return key, found
        relayed = (self.lists("relay_domains", domain)
                   and not self.lists("virtual_mailbox_domains", domain))
        return "", self.get("relay_transport" if relayed else "virtual_transport")

    def cleanups(self, without: str) -> list[Service | None]:
        """Return the services that take mail into the queue; None stands for main.cf alone.

        `without`: a word of receive_override_options, by which others have their work not done.
        """
        names = dict.fromkeys(
            self.get("cleanup_service_name", service) or "cleanup" for service in self.services
            if service.command in _FEEDS_CLEANUP
            and without not in self.words("receive_override_options", service))
        return [self.service(f"{name}/unix") for name in names]

    @property
    def ip_versions(self) -> set[int]:
        """The versions of IP that it speaks."""
        spoken = self.get("inet_protocols")
        return {version for version in (4, 6) if f"ipv{version}" in spoken} or {4, 6}

    def lists(self, parameter: str, word: str, service: Service | None = None) -> bool:
        """Whether the list in `parameter` contains `word`, such as a domain, in lower case.

        Raises `PostfixError`.
        """
        for entry in self.words(parameter, service):
            negated = entry.startswith("!")
            entry = entry.removeprefix("!")
            if ":" in entry:
                found = self.ask(entry, word) is not None
            elif entry.startswith("/"):
                found = word in _read_list(entry)
            else:
                found = entry.lower() == word
            if found:
                return not negated
        return False


def in_run(path: str) -> str:
    """Return `path` without the symbolic link /var/run, which older configurations name."""
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


def split(value: str) -> list[str]:
    """Split a list at blanks and commas; ``{ ... }`` and ``type:{ ... }`` stay whole."""
    items, item, depth = [], "", 0
    for character in value:
        depth += (character == "{") - (character == "}")
        if depth == 0 and character in ", \t\n":
            if item:
                items.append(item)
            item = ""
        else:
            item += character
    return [*items, item] if item else items


def has_patterns(table: str) -> bool:
    """Whether the table matches patterns: then it is asked about whole addresses only."""
    return table.removeprefix("proxy:").startswith(("regexp:", "pcre:"))


def parse_parameters(output: str) -> dict[str, str]:
    """Parse the ``name = value`` lines of postconf; folded lines are joined."""
    lines = re.sub(r"\n[ \t]+", " ", output).splitlines()
    return {name.strip(): value.strip() for name, equals, value in
            (line.partition("=") for line in lines) if equals}


def parse_main(text: str) -> dict[str, str]:
    """Parse the text of main.cf, since ``postconf -n`` omits parameters that nothing uses."""
    lines = [line for line in text.splitlines()
             if line.strip() and not line.lstrip().startswith("#")]
    return parse_parameters("\n".join(lines))


def parse_services(lines: str, overrides: str) -> tuple[Service, ...]:
    """Make the services from the output of ``postconf -M`` and ``postconf -xP``."""
    options: dict[str, dict[str, str]] = {}
    for key, value in parse_parameters(overrides).items():
        service, _, name = key.rpartition("/")
        options.setdefault(service, {})[name] = value
    services = []
    for line in lines.splitlines():
        columns = line.split()
        if len(columns) >= 8:
            name = f"{columns[0]}/{columns[1]}"
            is_verbose = any(_VERBOSE.fullmatch(column) for column in columns[8:])
            services.append(Service(name, columns[7], columns[4] == "y", options.get(name, {}),
                                    is_verbose))
    return tuple(services)


def observe(directory: str | None = None) -> Postfix:
    """Ask for the Postfix of this host, or the one in `directory`. Raises `PostfixError`."""
    where = ["-c", directory] if directory else []
    output, complaints = _run(["postconf", *where, "-x", *PARAMETERS])
    parameters = parse_parameters(output)
    classes = split(parameters.get("smtpd_restriction_classes", ""))
    if classes:
        parameters |= parse_parameters(_run(["postconf", *where, "-x", *classes])[0])
    if parameters.get("myorigin", "").startswith("/"):
        parameters["myorigin"] = next(iter(_read_list(parameters["myorigin"])), "")
    services = parse_services(
        _run(["postconf", *where, "-M"])[0], _run(["postconf", *where, "-xP"])[0]
    )

    def ask(table: str, key: str) -> str | None:
        if table.endswith(f"/{HOMES}"):
            return None
        table = table.removeprefix("proxy:")    # whose service may be down; root needs none
        answer, _ = _run(["postmap", *where, "-q", key, table], may_fail=True)
        return answer.rstrip("\n") or None

    def ask_all(table: str, keys: Iterable[str]) -> dict[str, str]:
        output, _ = _run(["postmap", *where, "-q", "-", table.removeprefix("proxy:")],
                         may_fail=True, told="".join(f"{key}\n" for key in keys))
        return {key: answer for key, tab, answer in
                (line.partition("\t") for line in output.splitlines()) if tab}

    used = directory or parameters.get("config_directory") or "/etc/postfix"
    return Postfix(used, parameters, services, ask, ask_all, tuple(complaints))


def run(command: list[str]) -> str:
    """Return the output of a tool of Postfix. Raises `PostfixError` with the tool's complaint."""
    return _run(command)[0]


def _run(command: list[str], may_fail: bool = False, told: str = "") -> tuple[str, list[str]]:
    """Return stdout and warnings of `command`. Raises `PostfixError` with its complaint."""
    done = hosttool.ask(command, "Postfix", PostfixError, told)
    complaint = [line for line in done.stderr.splitlines() if "unused parameter" not in line]
    fatal = next((line for line in complaint if "fatal:" in line), None)
    if done.returncode and (fatal or not may_fail):
        raise PostfixError(fatal or " ".join(complaint) or f"{command[0]} failed")
    return done.stdout, complaint


def _read_list(path: str) -> list[str]:
    """Return the domains in a file that a list parameter names by its path."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [word.lower() for line in file if not line.startswith("#")
                    for word in line.split()[:1]]
    except OSError as error:
        raise PostfixError(f"{path}: {error.strerror}") from None
