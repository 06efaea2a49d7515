"""Sends mail for chat domains to Dovecot by LMTP, and clears tables of the host out of its way."""

from collections.abc import Iterator

from chatmaild.admin.servers.postconf import HOMES, PROBE, Service, split
from chatmaild.admin.wiring import listeners, rewriting, senders
from chatmaild.admin.wiring.changes import Changes
from chatmaild.admin.wiring.observation import Host
from chatmaild.admin.wiring.steps import Obstacle, Step
from chatmaild.config.config import Config

SOCKET = "private/dovecot-lmtp"


def plan(changes: Changes, config: Config,
         submission: list[Service]) -> Iterator[Step | Obstacle]:
    """Plan how mail for the chat domains gets to Dovecot, and who may send from them."""
    host = changes.host
    missing = []
    for domain in config.mail_domains:
        yield from _elsewhere(host, domain)
        if not any(host.postfix.lists(name, domain)
                   for name in ("virtual_mailbox_domains", "relay_domains")):
            missing.append(domain)
    if missing:
        yield from changes.parameter(
            "virtual_mailbox_domains", _listed(host, "virtual_mailbox_domains", missing),
            "Postfix takes mail for " + ", ".join(missing), ("domain-missing",))
    yield from _transport(changes, config)
    if host.postfix.delays("lmtp_destination_rate_delay"):
        yield from changes.parameter(
            "lmtp_destination_rate_delay", "0s", "a delay between messages is meant for other "
            "people's servers, and would hold here for all chat mail together", ("rate-delay",))
    yield from _recipients(changes, config)
    yield from rewriting.plan(changes, config)
    yield from senders.plan(changes, config, submission)


def _listed(host: Host, name: str, words: list[str]) -> str:
    """Return the host's list followed by `words`; a list that expands to nothing is left out."""
    own = host.raw(name) if host.postfix.get(name) else ""
    return ", ".join([*([own] if own else []), *words])


def _elsewhere(host: Host, domain: str) -> Iterator[Obstacle]:
    for name in ("mydestination", "virtual_alias_domains"):
        if host.postfix.lists(name, domain):
            yield Obstacle(f"{host.main_cf}: {name}",
                           f"has {domain}, whose mail then goes to "
                           + ("system users" if name == "mydestination" else "aliases"),
                           f"take {domain} out of {name}")


def _transport(changes: Changes, config: Config) -> Iterator[Step | Obstacle]:
    host = changes.host
    lost, by_table, by_pattern = [], False, False
    for domain in config.mail_domains:
        key, transport = host.postfix.way(domain)
        if listeners.delivers(host.postfix, host.dovecot, transport):
            continue
        catches_all = "@" in key and _catches_all(host, config)
        by_pattern = by_pattern or catches_all
        if domain in key and "chat_transport" not in host.main and not catches_all:
            yield Obstacle(f"{host.main_cf}: transport_maps",
                           f"{domain} goes to {transport} there, not to Dovecot by LMTP",
                           f"take {domain} out of the table")
        else:
            lost.append(domain)
            by_table = by_table or bool(key)
    way = f"lmtp:unix:{SOCKET}"
    why = "chat mail goes to Dovecot by LMTP"
    first = []
    is_free = ("virtual_transport" not in host.main and not by_table
               and not host.postfix.get("virtual_mailbox_domains"))
    if is_free:
        if lost:
            yield from changes.parameter("virtual_transport", way, why, ("transport",))
    elif lost:
        pairs = " ".join(f"{{ {domain} = {way} }}" for domain in config.mail_domains)
        names = "|".join(domain.replace(".", r"\.") for domain in config.mail_domains)
        yield from changes.parameter(
            "chat_transport", f"regexp:{{ {{ /@({names})$$/ {way} }} }}" if by_pattern
            else f"inline:{{ {pairs} }}", why, ("transport",))
        first = ["$chat_transport"]
    last = [homes_table(host)] if config.directory else []
    yield from _tables(changes, first, last)


def _tables(changes: Changes, first: list[str], last: list[str]) -> Iterator[Step]:
    """Add tables of ours before and behind the host's own transport_maps."""
    own = changes.host.raw("transport_maps")
    words = split(own)
    first, last = ([word for word in added if word not in words] for added in (first, last))
    if first or last:
        yield from changes.parameter(
            "transport_maps", ", ".join([*first, *([own] if own else []), *last]),
            "chat mail goes to Dovecot by LMTP; that of other domains as before" if first else
            "the directory says which chat accounts live elsewhere",
            (*(["transport"] if first else []), *(["directory-transport"] if last else [])))


def _catches_all(host: Host, config: Config) -> bool:
    """Whether a pattern of transport_maps leads everybody somewhere, by their whole address.

    Only a pattern of ours comes before it; on one of several hosts that would hide our other table.
    """
    return not config.directory and bool(
        host.postfix.look_up("transport_maps", f"{PROBE}@{PROBE}.invalid"))


def homes_table(host: Host) -> str:
    """Return the table of accounts on other hosts."""
    return f"memcache:{host.postfix.directory}/{HOMES}"


def _recipients(changes: Changes, config: Config) -> Iterator[Step]:
    """Let chat recipients pass: a table refuses addresses that a first login has yet to create."""
    host = changes.host
    unknown = [domain for domain in config.mail_domains if not any(
        host.postfix.look_up("virtual_mailbox_maps", key)
        for key in (f"{PROBE}@{domain}", f"@{domain}"))]
    if not host.postfix.get("virtual_mailbox_maps") or not unknown:
        return
    pairs = " ".join(f"{{ @{domain} = chat }}" for domain in config.mail_domains)
    why = "our filter knows which chat addresses exist; no table can list them"
    yield from changes.parameter("chat_recipients", f"inline:{{ {pairs} }}", why, ("recipients",))
    own = host.raw("virtual_mailbox_maps")
    if "$chat_recipients" not in split(own):
        yield from changes.parameter("virtual_mailbox_maps", f"{own}, $chat_recipients", why,
                                     ("recipients",))
