"""Removes the Received line of chat users, which names their device's address.

Postfix adds it where no milter sees it. So the cleanup service of submissions drops it, by a
header check that tells chat users by their login. On a host that shows no logins in that line,
the same service removes the login again for everybody else.
"""

import re
from collections.abc import Iterator

from chatmaild.admin.servers.postconf import PROBE, PostfixError, Service
from chatmaild.admin.wiring.changes import Changes
from chatmaild.admin.wiring.steps import Obstacle, Step
from chatmaild.config.config import Config

OURS = "chat-cleanup"
_CODES = ("received",)
_WHY = "takes the Received line with the address of a chat user's device out"


def plan(changes: Changes, config: Config, service: Service) -> Iterator[Step | Obstacle]:
    """Plan for one service where clients log in."""
    host = changes.host
    name = host.postfix.get("cleanup_service_name", service) or "cleanup"
    if f"{name}/unix" not in host.lines and name != OURS:
        yield Obstacle(f"{host.master_cf}: {service.name}",
                       f"cleanup_service_name = {name}, which master.cf does not have",
                       "name a cleanup service that exists")
        return
    if name == OURS or _is_shared(changes, name):
        yield from own_service(changes, config, service.name)
        return
    yield from _tables(changes, config)
    option = f"chat_{re.sub(r'[^a-z0-9]+', '_', name.lower())}_header_checks"
    yield from _chain(changes, f"{name}/unix", f"{name}/unix", option)
    yield from _authenticated(changes, service.name)


def own_service(changes: Changes, config: Config, service: str) -> Iterator[Step]:
    """Give `service` a cleanup service like the one of the others, with one more check."""
    host = changes.host
    yield from _tables(changes, config)
    base = host.postfix.get("cleanup_service_name") or "cleanup"
    line = host.lines.get(f"{base}/unix", "cleanup unix n - n - 0 cleanup")
    columns = line.split(" ", 1)
    yield from changes.service(f"{OURS}/unix", f"{OURS} {columns[1]}", _WHY, _CODES)
    for name, value in host.options.get(f"{base}/unix", {}).items():
        if name != "header_checks":
            yield from changes.option(f"{OURS}/unix", name, value, f"as {base} has it", _CODES)
    yield from _chain(changes, f"{OURS}/unix", f"{base}/unix", "chat_header_checks")
    yield from changes.option(service, "cleanup_service_name", OURS, _WHY, _CODES)
    yield from _authenticated(changes, service)


def _is_shared(changes: Changes, name: str) -> bool:
    """Whether other mail goes through the cleanup service too."""
    postfix = changes.host.postfix
    if (postfix.get("cleanup_service_name") or "cleanup") == name:
        return True
    submission = postfix.submission_servers()
    return any((postfix.get("cleanup_service_name", other) or "cleanup") == name
               for other in postfix.services if other not in submission)


def _chain(changes: Changes, service: str, base: str, parameter: str) -> Iterator[Step]:
    """Put our check before those of `base`, since the first match decides."""
    host = changes.host
    own = host.raw("header_checks", base)
    if own != f"${parameter}":
        value = " ".join(["$chat_received", own, *(
            ["$chat_ordinary_received"] if _hides_logins(changes) else [])])
        yield from changes.parameter(parameter, value, "what it checked before, ours first", _CODES)
    yield from changes.option(service, "header_checks", f"${parameter}", _WHY, _CODES)


def received(login: str) -> str:
    """Return a Received header as smtpd writes it for a client that has logged in.

    `login` is "" where it does not name logins.
    """
    name = f"\n\t(Authenticated sender: {login})" if login else ""
    return (f"Received: from [192.0.2.1] (unknown [192.0.2.1]){name}\n"
            "\tby mail.invalid (Postfix) with ESMTPSA id 4XYZ\n"
            "\tfor <someone@example.org>; Sun, 22 Nov 2026 12:00:00 +0000 (UTC)")


def _tables(changes: Changes, config: Config) -> Iterator[Step]:
    if not _takes_out(changes, config):
        names = "|".join(re.escape(domain) for domain in config.mail_domains)
        login = rf"\(Authenticated sender: [^)]*@({names})\)"
        yield from changes.parameter(
            "chat_received", f"regexp:{{ {{ /^Received: .*{login}/ IGNORE }} }}", _WHY, _CODES)
    if _hides_logins(changes):
        myhostname = re.escape(changes.host.postfix.get("myhostname"))
        yield from changes.parameter(
            "chat_ordinary_received",
            r"regexp:{ { /^(Received: .*[^[:space:]])[[:space:]]+\(Authenticated sender: [^)]*\)"
            rf"([[:space:]]+by {myhostname} .*)/ REPLACE $${{1}}$${{2}} }} }}",
            "ordinary users' Received lines name no login, as before", ())


def _takes_out(changes: Changes, config: Config) -> bool:
    """Whether chat_received does so already, whatever its form."""
    table = changes.host.main.get("chat_received", "")
    try:
        return bool(table) and all(
            changes.host.postfix.ask(table, received(f"{PROBE}@{domain}")) == "IGNORE"
            for domain in config.mail_domains)
    except PostfixError:
        return False


def _hides_logins(changes: Changes) -> bool:
    """Whether ordinary users' Received lines showed no login before we came."""
    host = changes.host
    if "chat_ordinary_received" in host.main:
        return True
    return "chat_received" not in host.main and not any(
        host.postfix.is_on("smtpd_sasl_authenticated_header", service)
        for service in host.postfix.submission_servers())


def _authenticated(changes: Changes, service: str) -> Iterator[Step]:
    host = changes.host
    if host.raw("smtpd_sasl_authenticated_header", service) != "yes":
        yield from changes.option(service, "smtpd_sasl_authenticated_header", "yes",
                                  "tells the header check who has logged in", _CODES)
