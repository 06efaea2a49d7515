"""chatmaild.ini -> a frozen `Config`, or a `ConfigError` that lists every mistake.

The file is deliberately simple, because Lua inside Dovecot reads it too (dovecot/): one
``key = value`` on one line, whole-line comments with ``#`` or ``;``, no interpolation and no
continuation lines. ``[chatmaild]`` holds everything; ``[domain NAME]`` overrides some of it for
one chat domain.
"""

import codecs
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatmaild.config.config import DOMAIN_KEYS, HOST_KEYS, Config, DomainConfig
from chatmaild.errors import ConfigError

DEFAULT_PATH = Path("/etc/chatmaild/chatmaild.ini")

MAX_FILE_SIZE = 1 << 20
"""Octets; a larger file cannot be a configuration of ours and is not read."""

_BLANKS = " \t\r\v\f"
"""The blanks within a line, for Python and Lua alike."""

_ODD_BLANKS = re.compile(rf"[^\S{_BLANKS}]")

_COMMENT = re.compile(r"\s[#;]")
"""What looks like a comment behind a value, as other programs allow it."""


@dataclass(frozen=True)
class _Line:
    """One ``key = value``, with its line number."""

    number: int
    value: str


BOM = codecs.BOM_UTF8
"""What some editors put in front of UTF-8."""


def load(path: Path) -> Config:
    """The configuration in the file at `path`.

    Raises `ConfigError` with one sentence per mistake.
    """
    return parse(read(path), path)


def read(path: Path) -> bytes:
    """The content of the file at `path`. Raises `ConfigError` if it cannot be read, or is too
    large."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError(
            [f"{path}: {error.strerror}; name another file with -c or CHATMAILD_CONFIG"]
        ) from None
    if len(raw) > MAX_FILE_SIZE:
        raise ConfigError([f"{path}: larger than {MAX_FILE_SIZE} bytes, so not a file of ours"])
    return raw


def parse(raw: bytes, path: Path) -> Config:
    """The configuration in `raw`; `path` only names it in messages and in the result."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # else each line is a mistake
        raise ConfigError([f"{path}: is in UTF-16; save it as UTF-8"])
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
        domains: dict[str, DomainConfig] = {}
        for name in host["mail_domains"] or ():
            domain = self._domain(name, main, own[name]) if name in own else (
                defaults and dataclasses.replace(defaults, name=name))
            if domain:
                domains[name] = domain
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
        for number, raw_line in enumerate(raw.removeprefix(BOM).split(b"\n"), 1):
            try:
                line = raw_line.decode("utf-8").strip(_BLANKS)
            except UnicodeDecodeError:
                self._problem(number, "not valid UTF-8")
                continue
            if not line or line[0] in "#;":
                continue
            if odd := _ODD_BLANKS.search(line):
                self._problem(number, f"U+{ord(odd[0]):04X}: looks like a blank but is not one; "
                              "retype it")
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
                    self._problem(number, f"{key}: already set in line {current[key].number}")
                current[key] = _Line(number, value.strip())
        return sections

    def _open_section(
        self, number: int, line: str, sections: dict[str, dict[str, _Line]]
    ) -> dict[str, _Line]:
        name = " ".join(line[1:-1].split())
        name = name.lower()
        if line[-1] != "]" or not (name == "chatmaild" or re.fullmatch(r"domain \S+", name)):
            self._problem(number, f"{line}: must be [chatmaild] or [domain NAME]")
            return {}
        if name in sections:
            self._problem(number, f"[{name}]: this section is there twice")
        return sections.setdefault(name, {})

    def _check_keys(self, lines: Mapping[str, _Line], known: Mapping[str, object],
                    elsewhere: Mapping[str, object] = {}) -> None:
        for key, line in lines.items():
            if key in known:
                continue
            if key in elsewhere:
                self._problem(line.number, f"{key}: is a setting of the host, so it belongs in "
                              "[chatmaild], not in a domain's section")
                continue
            import difflib
            near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else "; chatmaild.ini(5) lists the keys"
            self._problem(line.number, f"{key}: unknown key{hint}")

    def _value(self, field: dataclasses.Field[Any], *sources: dict[str, _Line]) -> Any:
        """The value of one key from the first source that has it; None after a mistake."""
        line = next((lines[field.name] for lines in sources if field.name in lines),
                    _Line(0, field.metadata["default"]))
        try:
            return field.metadata["parse"](line.value)
        except ValueError as error:
            hint = "; a comment needs a line of its own" if _COMMENT.search(line.value) else ""
            self._problem(line.number, f"{field.name} = {line.value}: {error}{hint}")
            return None

    def _domain(
        self, name: str, main: dict[str, _Line], own: dict[str, _Line]
    ) -> DomainConfig | None:
        before = len(self.problems)
        values = {key: self._value(field, own, main) for key, field in DOMAIN_KEYS.items()}
        if len(self.problems) > before:
            return None
        domain = DomainConfig(name=name, **values)
        for text in domain.problems():
            self._problem(0, f"[domain {name}]: {text}" if own else text)
        return domain
