"""Does the host send copies of chat mail to somebody else, where chatmaild deletes none?

It is cleanup(8) that adds recipients, so its options in master.cf count. Tables are asked as it
asks them: for the whole address, and for ``@domain`` unless the table consists of patterns.
"""

from collections.abc import Callable, Iterator

from chatmaild.admin.check import hostfiles
from chatmaild.admin.check.findings import Finding, warning
from chatmaild.admin.servers.postconf import PROBE, Postfix, PostfixError, Service, has_patterns
from chatmaild.config.config import Config, DomainConfig

_TABLES = ("sender_bcc_maps", "recipient_bcc_maps")


def check(
    postfix: Postfix,
    config: Config,
    entries: Callable[[str], list[str]] = hostfiles.entries,
) -> Iterator[Finding]:
    """Yield a warning for each parameter that has mail of chat users copied."""
    found: dict[str, Finding] = {}
    for service in postfix.cleanups(without="no_address_mappings"):
        for name in ("always_bcc", *_TABLES):
            place = (f"{postfix.directory}/master.cf: {service.name}: {name}"
                     if service and name in service.options
                     else f"{postfix.directory}/main.cf: {name}")
            finding = _always(postfix, service, place) if name == "always_bcc" else next(
                (finding for domain in config.domains.values()
                 for table in postfix.words(name, service)
                 if (finding := _table(postfix, table, place, domain, entries(
                     f"{config.mailboxes_dir}/{domain.name}")))), None)
            if finding:
                found.setdefault(place, finding)
    yield from found.values()


def _always(postfix: Postfix, service: Service | None, place: str) -> Finding | None:
    target = postfix.get("always_bcc", service)
    return warning("copies", place, f"a copy of every chat message goes to {target}",
                   "recipient_bcc_maps and sender_bcc_maps with the domains that are to be copied"
                   ) if target else None


def _table(postfix: Postfix, table: str, place: str, domain: DomainConfig,
           accounts: list[str]) -> Finding | None:
    """Judge one table; `accounts` are the mailboxes of the domain that there are."""
    everybody = _keys(table, domain)
    try:
        answers = postfix.ask_all(table, [*everybody, *accounts])
    except PostfixError as error:
        return warning("copies", place, f"cannot be asked: {error}",
                       "repair the table, or take it out")
    copied = {key: target for key in answers if (target := answers[key].strip()) not in ("", key)}
    if not copied:
        return None
    key = next(iter(copied))
    whose = domain.name if key in everybody else (
        key if len(copied) == 1 else f"{len(copied)} accounts, such as {key},")
    return warning("copies", place, f"copies of the mail of {whose} go to {copied[key]}",
                   f"narrow what matches {key} in {table}" if key.startswith(PROBE)
                   else f"take {key} out of {table}")


def _keys(table: str, domain: DomainConfig) -> list[str]:
    """Return what it is asked about anybody's mail."""
    names = dict.fromkeys((PROBE, PROBE[:domain.username_max_length]))
    addresses = [f"{name}@{domain.name}" for name in names]
    return addresses if has_patterns(table) else [*addresses, f"@{domain.name}"]
