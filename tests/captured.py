"""Postfix and Dovecot as they answered on real hosts, from tests/data/check.

Each release in three states: `stock` as Debian installs it, `ordinary` with submission and the
host's own milters, `wired` with the lines that chatmaild's documentation gives (and a milter for
incoming mail).
"""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from chatmaild.admin.servers import doveconf, postconf
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import Postfix
from chatmaild.config import inifile

DATA = Path(__file__).parent / "data" / "check"
RELEASES = ("bookworm", "trixie")
DOMAIN = "chat.example.org"

CONFIG = inifile.parse(f"[chatmaild]\nmail_domains = {DOMAIN}\n".encode(),
                       Path("/etc/chatmaild/chatmaild.ini"))


def tables(table: str, key: str) -> str | None:
    """What postmap(1) answers, for the kinds of tables that stand in the captures."""
    kind, _, content = table.partition(":")
    content = content.strip("{} ")
    if kind == "inline":
        return dict(pair.split("=", 1) for pair in content.split()).get(key)
    if kind == "regexp":
        pattern, _, action = content.strip().removeprefix("/").rpartition("/")
        return action.strip() if re.search(pattern, key, re.DOTALL) else None
    if kind == "static":
        return content
    raise AssertionError(f"no such table in the captures: {table}")


def all_of(table: str, keys: Iterable[str]) -> dict[str, str]:
    """What postmap(1) answers to several keys."""
    return {key: answer for key in keys if (answer := tables(table, key))}


def postfix(release: str, state: str = "wired") -> Postfix:
    where = DATA / f"{release}-{state}"
    return Postfix(
        "/etc/postfix",
        postconf.parse_parameters((where / "parameters.txt").read_text()),
        postconf.parse_services((where / "services.txt").read_text(),
                                (where / "options.txt").read_text()),
        tables, all_of,
    )


def dovecot(release: str, state: str = "wired", edit=lambda text: text) -> Dovecot:
    """`edit` changes what doveconf said before it is read."""
    where = DATA / f"{release}-{state}"
    services = where / "doveconf-services.txt"
    return doveconf.interpret(edit((where / "doveconf.txt").read_text()),
                              edit(services.read_text()) if services.exists() else "")


def with_parameters(host: Postfix, **parameters: str) -> Postfix:
    return dataclasses.replace(host, parameters={**host.parameters, **parameters})


def with_option(host: Postfix, name: str, key: str, value: str | None) -> Postfix:
    """One ``-o key=value`` of the service `name` changed, or taken away."""
    services = []
    for service in host.services:
        if service.name == name:
            options = {**service.options, key: value}
            if value is None:
                del options[key]
            service = dataclasses.replace(service, options=options)
        services.append(service)
    return dataclasses.replace(host, services=tuple(services))


def bad(findings) -> dict[str, str]:
    """Code -> level of what is not in order."""
    return {f.code: f.level.value for f in findings if f.level.value != "ok"}
