"""Removes the Received line of chat users, which names their device's address.

Postfix adds it where no milter sees it. So the cleanup service of submissions drops it, by a
header check that tells chat users by their login. On a host that shows no logins in that line,
the same service removes the login again for everybody else.
"""

import re
from collections.abc import Iterator

from chatmaild.admin.servers.postconf import PROBE, PostfixError, Service
from chatmaild.admin.wiring.changes import Changes
from chatmaild.admin.wiring.observation import Host
from chatmaild.admin.wiring.steps import Obstacle, Step
from chatmaild.config.config import Config

OURS = "chat-cleanup"
"""Our copy of the cleanup service that most services have."""
_PREFIX = "chat-"
"""In front of the name of another one that is copied."""
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
    base = _base(host, name)
    if _is_shared(changes, base):
        yield from own_service(changes, config, service.name, base)
        return
    yield from _tables(changes, config)
    yield from _chain(changes, f"{name}/unix", f"{name}/unix", _parameter(name))
    yield from _authenticated(changes, service.name)


def own_service(changes: Changes, config: Config, service: str, base: str = "") -> Iterator[Step]:
    """Give `service` a cleanup service like `base`, with one more check.

    `base`: by default that of most services.
    """
    host = changes.host
    yield from _tables(changes, config)
    common = _common(host)
    base = base or common
    ours = OURS if base == common else f"{_PREFIX}{base}"
    line = host.lines.get(f"{base}/unix", "cleanup unix n - n - 0 cleanup")
    columns = line.split(" ", 1)
    yield from changes.service(f"{ours}/unix", f"{ours} {columns[1]}", _WHY, _CODES)
    for name, value in host.options.get(f"{base}/unix", {}).items():
        if name != "header_checks":
            yield from changes.option(f"{ours}/unix", name, value, f"as {base} has it", _CODES)
    yield from _chain(changes, f"{ours}/unix", f"{base}/unix",
                      "chat_header_checks" if ours == OURS else _parameter(base))
    yield from changes.option(service, "cleanup_service_name", ours, _WHY, _CODES)
    yield from _authenticated(changes, service)


def give_back(changes: Changes, service: str) -> Iterator[Step]:
    """Let `service` have the cleanup service again that it had before `plan`."""
    why = "ordinary mail does not meet our filter"
    name = changes.host.options.get(service, {}).get("cleanup_service_name", "")
    base = _base(changes.host, name)
    if base == name:
        return
    if name == OURS:
        yield from changes.no_option(service, "cleanup_service_name", OURS, why)
    else:
        yield from changes.option(service, "cleanup_service_name", base, why)
    yield from changes.no_option(service, "smtpd_sasl_authenticated_header", "yes", why)


def _common(host: Host) -> str:
    """Return the cleanup service of those that name none."""
    return host.postfix.get("cleanup_service_name") or "cleanup"


def _base(host: Host, name: str) -> str:
    """Return the host's own cleanup service of which `name` is our copy; else `name` itself."""
    if name == OURS:
        return _common(host)
    base = name.removeprefix(_PREFIX)
    return base if f"{base}/unix" in host.lines else name


def _parameter(name: str) -> str:
    return f"chat_{re.sub(r'[^a-z0-9]+', '_', name.lower())}_header_checks"


def _is_shared(changes: Changes, name: str) -> bool:
    """Whether other mail goes through the cleanup service too."""
    postfix = changes.host.postfix
    if _common(changes.host) == name:
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
        postfix = changes.host.postfix
        own = dict.fromkeys(re.escape(postfix.get("myhostname", service))
                            for service in (None, *postfix.submission_servers()))
        myhostname = "|".join(own) if len(own) < 2 else f"({'|'.join(own)})"
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
