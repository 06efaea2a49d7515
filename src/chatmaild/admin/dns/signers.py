"""Finds the keys that sign a domain's mail in the settings of OpenDKIM and rspamd.

Sources: opendkim.conf(5); rspamd's dkim_signing module as ``rspamadm configdump`` prints it.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Read = Callable[[str], str]
"""The text of a file; "" if it cannot be read."""

RSPAMD_PATH = "/var/lib/rspamd/dkim/$domain.$selector.key"
"""Where rspamd looks unless told otherwise."""


@dataclass(frozen=True)
class KeyFile:
    """A selector and the file with its private key."""

    selector: str
    path: str


def opendkim(text: str, domain: str, read: Read) -> list[KeyFile]:
    """Return the keys with which OpenDKIM, configured by `text`, signs mail of `domain`."""
    settings = {name.lower(): value for name, value in _pairs(text.splitlines())}
    if not settings.get("keytable"):
        domains = _words(settings.get("domain", ""), read)
        if domain in domains and settings.get("keyfile"):
            return [KeyFile(settings.get("selector", ""), settings["keyfile"])]
        return []
    names = _signing_names(settings.get("signingtable", ""), domain, read)
    found = []
    for name, value in _table(settings["keytable"], read):
        whose, _, rest = value.partition(":")
        selector, _, path = rest.partition(":")
        if whose.lower() in (domain, "%") and path.startswith("/") and (
                names is None or name in names):
            found.append(KeyFile(selector, path.replace("%", domain)))
    return list(dict.fromkeys(found))


def _signing_names(table: str, domain: str, read: Read) -> set[str] | None:
    """Return the names in the KeyTable that sign mail of `domain`; None for all."""
    if not table:
        return None
    is_pattern = table.startswith("refile:")
    return {name.replace("%", domain) for key, name in _table(table, read)
            if (fnmatch.fnmatchcase(f"somebody@{domain}", key.lower()) if is_pattern
                else key.lower() in (domain, f"@{domain}", "*"))}


def _table(spec: str, read: Read) -> Iterator[tuple[str, str]]:
    """Yield the keys and values of a data set, which is a file or is written in the line itself."""
    if spec.startswith("csl:"):
        lines = [item.replace("=", " ", 1) for item in spec[4:].split(",")]
    else:
        lines = read(re.sub(r"^(re)?file:", "", spec)).splitlines()
    yield from ((key, value.split()[0]) for key, value in _pairs(lines))


def _pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the first word and the rest of each line that has both; skip comments."""
    for line in lines:
        key, *rest = line.partition("#")[0].split(None, 1) or [""]
        if rest and rest[0].strip():
            yield key, rest[0].strip()


def _words(value: str, read: Read) -> list[str]:
    if value.startswith(("/", "file:", "refile:")):
        value = read(re.sub(r"^(re)?file:", "", value)).replace("\n", ",")
    return [word.strip().lower() for word in value.removeprefix("csl:").split(",")]


def rspamd(settings: Any, domain: str, read: Read) -> list[KeyFile]:
    """Return the keys with which rspamd signs mail as `domain`. `settings` is dkim_signing."""
    if not isinstance(settings, dict) or settings.get("enabled") is False:
        return []
    if settings.get("use_esld", True) and domain.count(".") > 1:
        return []   # it signs as the domain above, which does not vouch for this one
    own = settings.get("domain", {})
    own = own.get(domain, {}) if isinstance(own, dict) else {}
    places = own.get("selectors") or [own]
    selector = own.get("selector") or _mapped(settings, "selector_map", domain, read) or str(
        settings.get("selector", "dkim"))
    path = own.get("path") or _mapped(settings, "path_map", domain, read) or str(
        settings.get("path", RSPAMD_PATH))
    return [_expanded(place.get("selector", selector), place.get("path", path), domain)
            for place in places if isinstance(place, dict)]


def _mapped(settings: dict[str, Any], key: str, domain: str, read: Read) -> str:
    """Return the value for the domain in a map file."""
    return dict(_table(str(settings.get(key, "")).removeprefix("file://"), read)).get(domain, "")


def _expanded(selector: str, path: str, domain: str) -> KeyFile:
    return KeyFile(selector, path.replace("$domain", domain).replace("$selector", selector))
