"""Keeps tables of the host that rewrite addresses away from chat addresses.

The sender of a chat message is its writer, by their own address: clients, filters and signatures
depend on it. So an exception for the chat domains goes in front of what the host has.
"""

from collections.abc import Iterator

from chatmaild.admin.servers.postconf import PROBE, Postfix, split
from chatmaild.admin.wiring.changes import Changes
from chatmaild.admin.wiring.steps import Obstacle, Step
from chatmaild.config.config import Config

TABLES = ("canonical_maps", "lmtp_generic_maps", "recipient_canonical_maps",
          "sender_canonical_maps", "smtp_generic_maps")
_WHY = "chat addresses stay as they are"


def unchanged(domains: tuple[str, ...]) -> str:
    """Return a table for main.cf that has each address of `domains` stand for itself."""
    names = "|".join(domain.replace(".", r"\.") for domain in domains)
    return rf"regexp:{{ {{ /^(.*@({names}))$$/ $${{1}} }} }}"


def rewritten(postfix: Postfix, name: str, domain: str) -> tuple[str, str]:
    """Return the key by which the tables in `name` rewrite addresses of `domain`, and to what.

    Both are "" if they do not. Raises `PostfixError` for a table that cannot be read.
    """
    probe = f"{PROBE}@{domain}"
    target = (postfix.look_up(name, probe) or "").strip()
    if target:      # no other key is asked for then
        return (probe, target) if target != probe else ("", "")
    target = (postfix.look_up(name, f"@{domain}") or "").strip()
    return (f"@{domain}", target) if target not in ("", f"@{domain}") else ("", "")


def masquerade(postfix: Postfix, domain: str) -> str:
    """Return the entry of masquerade_domains that takes `domain` for a part of it; or ""."""
    for entry in postfix.words("masquerade_domains"):
        name = entry.lower().removeprefix("!")
        if domain == name or domain.endswith(f".{name}"):
            return entry if domain != name and not entry.startswith("!") else ""
    return ""


def plan(changes: Changes, config: Config) -> Iterator[Step | Obstacle]:
    """Plan the exceptions. Raises `PostfixError` for a table that cannot be read."""
    host, domains = changes.host, config.mail_domains
    for name in TABLES:
        if any(rewritten(host.postfix, name, domain)[0] for domain in domains):
            yield from changes.parameter("chat_unchanged", unchanged(domains), _WHY, ("aliases",))
            if "$chat_unchanged" not in split(own := host.raw(name)):
                yield from changes.parameter(name, f"$chat_unchanged, {own}", _WHY, ("aliases",))
    masked = [domain for domain in domains if masquerade(host.postfix, domain)]
    if masked:
        exceptions = " ".join(f"!{domain}" for domain in masked)
        yield from changes.parameter(
            "masquerade_domains", f"{exceptions} {host.raw('masquerade_domains')}", _WHY,
            ("masquerade",))
    for domain in domains:
        key, target = rewritten(host.postfix, "virtual_alias_maps", domain)
        if key:
            yield Obstacle(f"{host.main_cf}: virtual_alias_maps",
                           f"redirects all mail for {domain} to {target}",
                           f"take {key} out of its tables, or leave {domain} out of the pattern")
