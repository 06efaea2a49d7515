"""chatmaild.ini -> a frozen `Config`, or a `ConfigError` that lists every mistake.

The file is deliberately simple, because Lua inside Dovecot reads it too (dovecot/): one
``key = value`` on one line, whole-line comments with ``#`` or ``;``, no interpolation and no
continuation lines. ``[chatmaild]`` holds everything; ``[domain NAME]`` overrides some of it for
one chat domain.

The fields of `DomainConfig` and `Config` are the table of keys: their names are the keys, their
metadata the parser and the default. A test compares them with the manual page and the annotated
default file.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatmaild.config.values import (
    Network, absolute_path, address_patterns, boolean, choice, decimal, domain_names, integer,
    networks, one_line, optional, servers, size, web_address, word, words,
)
from chatmaild.errors import ConfigError

DEFAULT_PATH = Path("/etc/chatmaild/chatmaild.ini")

MAX_RETENTION = 40
"""Days; a message may be kept longer only with `allow_long_retention`."""

MAX_FILE_SIZE = 1 << 20
"""Octets; a larger file is no configuration of ours and is not read."""


_BLANKS = " \t\r\v\f"
"""What both Python and Lua take for blanks within a line."""

_ODD_BLANKS = re.compile(rf"[^\S{_BLANKS}]")


def setting(parse: Callable[[str], Any], default: str) -> Any:
    """A field of the table of keys; `default` is written as it would be in the file."""
    return dataclasses.field(metadata={"parse": parse, "default": default})


@dataclass(frozen=True, kw_only=True)
class DomainConfig:
    """The settings of one chat domain: each may stand in ``[domain NAME]``."""

    name: str

    max_message_size: int = setting(size, "31457280")
    max_user_send_per_minute: int = setting(integer(1, 100_000), "60")
    max_user_send_burst_size: int = setting(integer(1, 100_000), "10")
    max_header_text: int = setting(integer(0, 1_000_000), "4096")
    max_session_keys: int = setting(integer(1, 100_000), "2000")
    allow_autocrypt_setup: bool = setting(boolean, "no")
    passthrough_senders: frozenset[str] = setting(address_patterns, "")
    passthrough_recipients: frozenset[str] = setting(address_patterns, "")

    recipient_aliases: frozenset[str] = setting(address_patterns, "")

    signup: str = setting(choice("open", "invite", "closed"), "open")
    username_min_length: int = setting(integer(1, 64), "9")
    username_max_length: int = setting(integer(1, 64), "9")
    password_min_length: int = setting(integer(1, 511), "9")
    reserved_names: frozenset[str] = setting(
        words,
        "postmaster abuse hostmaster webmaster admin administrator root mailer-daemon noreply",
    )

    max_mailbox_size: int = setting(size, "500M")
    delete_mails_after: int = setting(integer(1, 36_500), "20")
    delete_large_after: int = setting(integer(1, 36_500), "7")
    delete_inactive_users_after: int = setting(integer(1, 36_500), "90")
    allow_long_retention: bool = setting(boolean, "no")

    push: bool = setting(boolean, "yes")
    max_smtp_recipients: int | None = setting(optional(integer(1, 1_000_000)), "1000")
    iroh_relay: str | None = setting(optional(web_address), "")
    turn_server: str | None = setting(
        optional(word(r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}", "HOST:PORT, the host without colons")), ""
    )
    turn_secret_file: Path | None = setting(optional(absolute_path), "")
    turn_socket: Path | None = setting(optional(absolute_path), "")
    app_versions_file: Path | None = setting(optional(absolute_path), "")
    metadata_comment: str | None = setting(optional(one_line), "")
    metadata_admin: str | None = setting(
        optional(word(r"[A-Za-z][A-Za-z0-9+.-]*:[!-$&-~]{1,1000}",
                      "a URI, such as mailto:postmaster@example.org, without %")), ""
    )

    def problems(self) -> list[str]:
        """What is wrong between the keys of one domain, one sentence each."""
        found = []
        ways = [way for way in (self.turn_secret_file, self.turn_socket) if way]
        if len(ways) != (1 if self.turn_server else 0):
            found.append(
                "turn_server needs either turn_secret_file or turn_socket, and these need it: set "
                "turn_server and one of the two, or none of the three"
            )
        if self.username_min_length > self.username_max_length:
            found.append(
                f"username_min_length ({self.username_min_length}) is larger than "
                f"username_max_length ({self.username_max_length})"
            )
        for key in ("delete_mails_after", "delete_large_after"):
            days = getattr(self, key)
            if days > MAX_RETENTION and not self.allow_long_retention:
                found.append(
                    f"{key} = {days}: users are promised deletion within {MAX_RETENTION} days; "
                    "allow_long_retention = yes says that yours were told otherwise"
                )
        return found


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration. Keys of the host itself, and `domains` by name."""

    path: Path
    domains: Mapping[str, DomainConfig]

    mail_domains: tuple[str, ...] = setting(domain_names, "")
    mailboxes_dir: Path = setting(absolute_path, "/var/lib/chatmaild/mail")
    mail_user: str = setting(word(r"[a-z_][a-z0-9_-]{0,31}", "the name of a user"), "_chatmaild")
    recipient_delimiter: str = setting(
        word(r"[-+=._!#$%&*]{0,4}", "up to four punctuation characters, as in main.cf"), "+"
    )
    max_signups_per_hour: int = setting(integer(1, 1_000_000), "1000")
    max_client_signups_per_hour: int = setting(integer(1, 1_000_000), "30")
    max_load_1m: float = setting(decimal(0.1, 10_000), "5")
    min_available_memory: int = setting(size, "200M")
    min_free_disk_space: int = setting(size, "1G")
    log_addresses: bool = setting(boolean, "no")

    push_gateway: str = setting(web_address, "https://notifications.delta.chat/notify")
    push_max_requests: int = setting(integer(1, 1000), "32")
    push_tokens_dir: Path = setting(absolute_path, "/var/lib/chatmaild/push-tokens")
    push_queue_dir: Path = setting(absolute_path, "/var/lib/chatmaild/push-queue")
    push_metrics_file: Path = setting(absolute_path, "/run/chatmaild-notifier/push.prom")

    incoming_authenticity: str = setting(
        choice("dkim", "dkim-log", "authentication-results", "authentication-results-log", "off"),
        "dkim",
    )
    authserv_id: str = setting(
        word(r"[A-Za-z0-9._-]{0,253}", "the name that the verifier writes first in its header"), ""
    )
    dkim_min_rsa_bits: int = setting(integer(1024, 4096), "1024")
    dns_servers: tuple[tuple[str, int], ...] = setting(servers, "")
    trusted_networks: tuple[Network, ...] = setting(networks, "127.0.0.0/8 [::1]/128")

    def domain_of(self, mail_address: str) -> DomainConfig | None:
        """The chat domain that `mail_address` belongs to; None for everybody else's."""
        return self.domains.get(mail_address.rpartition("@")[2].lower())

    def problems(self) -> list[str]:
        """What is wrong between the keys of the host, one sentence each."""
        if self.incoming_authenticity.startswith("authentication-results") and not self.authserv_id:
            return [
                f"incoming_authenticity = {self.incoming_authenticity}: authserv_id must say whose "
                "results count; see AuthservID in opendkim.conf, or your verifier's manual"
            ]
        return []


@dataclass(frozen=True)
class _Line:
    """One ``key = value``, with the place it stands at."""

    number: int
    value: str


def _keys(*classes: type) -> dict[str, dataclasses.Field]:
    return {
        f.name: f for cls in classes for f in dataclasses.fields(cls) if "parse" in f.metadata
    }


HOST_KEYS = _keys(Config)
DOMAIN_KEYS = _keys(DomainConfig)


def load(path: Path) -> Config:
    """Read the file at `path`. Raises `ConfigError` with one sentence per mistake."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError(
            [f"{path}: {error.strerror}; name another file with -c or CHATMAILD_CONFIG"]
        ) from None
    if len(raw) > MAX_FILE_SIZE:
        raise ConfigError([f"{path}: larger than {MAX_FILE_SIZE} bytes, so no file of ours"])
    return parse(raw, path)


def parse(raw: bytes, path: Path) -> Config:
    """The configuration in `raw`; `path` only names it in messages and in the result."""
    return _Reader(path).read(raw)


class _Reader:
    """Collects the mistakes of one file, so that the admin sees all of them at once."""

    def __init__(self, path: Path):
        self.path = path
        self.problems: list[tuple[int, str]] = []

    def read(self, raw: bytes) -> Config:
        sections = self._sections(raw)
        main = sections.pop("chatmaild", {})
        self._check_keys(main, HOST_KEYS | DOMAIN_KEYS)
        host = {name: self._value(field, main) for name, field in HOST_KEYS.items()}
        own = {}
        for section, lines in sections.items():
            name = section.removeprefix("domain ").strip().lower()
            if host["mail_domains"] is not None and name not in host["mail_domains"]:
                number = min((line.number for line in lines.values()), default=0)
                self._problem(number, f"[domain {name}]: {name} is not among mail_domains")
            self._check_keys(lines, DOMAIN_KEYS, elsewhere=HOST_KEYS)
            own[name] = lines
        defaults = self._domain("", main, {})
        domains = {}
        for name in host["mail_domains"] or ():
            domains[name] = self._domain(name, main, own[name]) if name in own else (
                defaults and dataclasses.replace(defaults, name=name)
            )
        if self.problems:
            raise ConfigError(
                f"{self.path}:{number}: {text}" if number else f"{self.path}: {text}"
                for number, text in dict.fromkeys(sorted(self.problems))
            )
        config = Config(path=self.path, domains=domains, **host)
        if problems := config.problems():
            raise ConfigError(f"{self.path}: {text}" for text in problems)
        return config

    def _problem(self, number: int, text: str) -> None:
        self.problems.append((number, text))

    def _sections(self, raw: bytes) -> dict[str, dict[str, _Line]]:
        sections: dict[str, dict[str, _Line]] = {}
        current: dict[str, _Line] | None = None
        complained = False
        for number, raw_line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            try:
                line = raw_line.decode("utf-8").strip(_BLANKS)
            except UnicodeDecodeError:
                self._problem(number, "not valid UTF-8")
                continue
            if not line or line[0] in "#;":
                continue
            if odd := _ODD_BLANKS.search(line):
                self._problem(number, f"U+{ord(odd[0]):04X}: looks like a blank and is none; type "
                              "it anew")
                continue
            if line[0] == "[":
                current = self._open_section(number, line, sections)
            elif "=" not in line:
                self._problem(
                    number, f"{line.split()[0]!r}: expected 'key = value' on one line "
                    "(values cannot continue on the next line)"
                )
            elif current is None:
                if not complained:
                    self._problem(number, "a key before the first section; begin with [chatmaild]")
                    complained = True
            else:
                key, _, value = line.partition("=")
                key = key.strip()
                if key in current:
                    self._problem(number, f"{key}: given before, in line {current[key].number}")
                current[key] = _Line(number, value.strip())
        return sections

    def _open_section(self, number: int, line: str, sections: dict) -> dict[str, _Line]:
        name = " ".join(line[1:-1].split())
        name = name.lower()
        if line[-1] != "]" or not (name == "chatmaild" or re.fullmatch(r"domain \S+", name)):
            self._problem(number, f"{line}: must be [chatmaild] or [domain NAME]")
            return {}
        if name in sections:
            self._problem(number, f"[{name}]: this section was there before")
        return sections.setdefault(name, {})

    def _check_keys(self, lines: dict, known: dict, elsewhere: Mapping = {}) -> None:
        for key, line in lines.items():
            if key in known:
                continue
            if key in elsewhere:
                self._problem(line.number, f"{key}: holds for the host, so it belongs in "
                              "[chatmaild], not in a domain's section")
                continue
            import difflib
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else "; chatmaild.ini(5) lists the keys"
            self._problem(line.number, f"{key}: unknown key{hint}")

    def _value(self, field: dataclasses.Field, *sources: dict[str, _Line]) -> Any:
        """The value of one key from the first source that has it; None after a mistake."""
        line = next((lines[field.name] for lines in sources if field.name in lines),
                    _Line(0, field.metadata["default"]))
        try:
            return field.metadata["parse"](line.value)
        except ValueError as error:
            self._problem(line.number, f"{field.name} = {line.value}: {error}")
            return None

    def _domain(self, name: str, main: dict, own: dict) -> DomainConfig | None:
        before = len(self.problems)
        values = {key: self._value(field, own, main) for key, field in DOMAIN_KEYS.items()}
        if len(self.problems) > before:
            return None
        domain = DomainConfig(name=name, **values)
        for text in domain.problems():
            self._problem(0, f"[domain {name}]: {text}" if own else text)
        return domain
