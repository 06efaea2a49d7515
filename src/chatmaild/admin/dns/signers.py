"""Whose keys sign a domain's mail: what OpenDKIM's and rspamd's settings say.

Sources: opendkim.conf(5); rspamd's dkim_signing module as ``rspamadm configdump`` prints it.
"""

import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Read = Callable[[str], str]
"""The text of a file; "" if it cannot be read."""

RSPAMD_PATH = "/var/lib/rspamd/dkim/$domain.$selector.key"
"""Where rspamd looks unless told otherwise."""


@dataclass(frozen=True)
class KeyFile:
    """Where the private key of a selector is."""

    selector: str
    path: str


def opendkim(text: str, domain: str, read: Read) -> list[KeyFile]:
    """The keys with which an OpenDKIM configured by `text` signs mail of `domain`."""
    settings = {}
    for line in text.splitlines():
        name, _, value = line.partition("#")[0].strip().partition(" ")
        settings[name.lower()] = value.strip()
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
    """The names in the KeyTable that a message of `domain` is signed with; None for all."""
    if not table:
        return None
    is_pattern = table.startswith("refile:")
    return {name.replace("%", domain) for key, name in _table(table, read)
            if (fnmatch.fnmatchcase(f"somebody@{domain}", key.lower()) if is_pattern
                else key.lower() in (domain, f"@{domain}", "*"))}


def _table(spec: str, read: Read) -> Iterator[tuple[str, str]]:
    """Keys and values of a data set in a file or in the line itself."""
    if spec.startswith("csl:"):
        lines = [item.replace("=", " ", 1) for item in spec[4:].split(",")]
    else:
        lines = read(re.sub(r"^(re)?file:", "", spec)).splitlines()
    for line in lines:
        key, _, value = line.partition("#")[0].strip().partition(" ")
        if value:
            yield key, value.split()[0]


def _words(value: str, read: Read) -> list[str]:
    if value.startswith(("/", "file:", "refile:")):
        value = read(re.sub(r"^(re)?file:", "", value)).replace("\n", ",")
    return [word.strip().lower() for word in value.removeprefix("csl:").split(",")]


def rspamd(settings: Any, domain: str, read: Read) -> list[KeyFile]:
    """The keys with which an rspamd signs mail of `domain`; `settings` is dkim_signing."""
    if not isinstance(settings, dict) or settings.get("enabled") is False:
        return []
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
    """What a map in a file says of the domain."""
    return dict(_table(str(settings.get(key, "")).removeprefix("file://"), read)).get(domain, "")


def _expanded(selector: str, path: str, domain: str) -> KeyFile:
    return KeyFile(selector, path.replace("$domain", domain).replace("$selector", selector))
