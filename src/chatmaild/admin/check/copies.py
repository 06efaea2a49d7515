"""Does the host send copies of chat mail to somebody else, where chatmaild deletes none?

It is cleanup(8) that adds recipients, so its options in master.cf count. Tables are asked as it
asks them: for the whole address, and for ``@domain`` unless the table consists of patterns.
"""

from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, warning
from chatmaild.admin.servers.postconf import PROBE, Postfix, PostfixError, Service
from chatmaild.config.config import Config, DomainConfig

_TABLES = ("sender_bcc_maps", "recipient_bcc_maps")
_PATTERNS = ("regexp:", "pcre:")
_FEEDS_CLEANUP = ("smtpd", "pickup", "qmqpd")


def check(postfix: Postfix, config: Config) -> Iterator[Finding]:
    """Yield a warning for each parameter that has mail of chat users copied."""
    found: dict[str, Finding] = {}
    for service in _cleanups(postfix):
        for name in ("always_bcc", *_TABLES):
            place = (f"{postfix.directory}/master.cf: {service.name}: {name}"
                     if service and name in service.options
                     else f"{postfix.directory}/main.cf: {name}")
            finding = _always(postfix, service, place) if name == "always_bcc" else next(
                (finding for domain in config.domains.values()
                 if (finding := _table(postfix, service, name, place, domain))), None)
            if finding:
                found.setdefault(place, finding)
    yield from found.values()


def _cleanups(postfix: Postfix) -> list[Service | None]:
    """Return the services that add recipients to mail; None stands for main.cf alone."""
    names = dict.fromkeys(
        postfix.get("cleanup_service_name", service) or "cleanup" for service in postfix.services
        if service.command in _FEEDS_CLEANUP
        and "no_address_mappings" not in postfix.words("receive_override_options", service))
    return [postfix.service(f"{name}/unix") for name in names]


def _always(postfix: Postfix, service: Service | None, place: str) -> Finding | None:
    target = postfix.get("always_bcc", service)
    return warning("copies", place, f"a copy of every chat message goes to {target}",
                   "recipient_bcc_maps and sender_bcc_maps with the domains that are to be copied"
                   ) if target else None


def _table(postfix: Postfix, service: Service | None, name: str, place: str,
           domain: DomainConfig) -> Finding | None:
    for table in postfix.words(name, service):
        for key in _keys(table, domain):
            try:
                target = (postfix.ask(table, key) or "").strip()
            except PostfixError as error:
                return warning("copies", place, f"cannot be asked: {error}",
                               "repair the table, or take it out")
            if target not in ("", key):
                return warning("copies", place,
                               f"copies of the mail of {domain.name} go to {target}",
                               f"take {key} out of {table}" if key.startswith("@")
                               else f"narrow what matches {key} in {table}")
    return None


def _keys(table: str, domain: DomainConfig) -> list[str]:
    names = dict.fromkeys((PROBE, PROBE[:domain.username_max_length]))
    addresses = [f"{name}@{domain.name}" for name in names]
    table = table.removeprefix("proxy:")
    return addresses if table.startswith(_PATTERNS) else [*addresses, f"@{domain.name}"]
