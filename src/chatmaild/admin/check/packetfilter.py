"""Does the packet filter of this host keep strangers from a port?

That cannot be tried from the host itself, so its rules are looked at, for a sign and not a proof.
"""

import re

from chatmaild.admin.dns.addresses import is_inside, parse
from chatmaild.admin.servers import hosttool
from chatmaild.errors import ChatmaildError

COMMANDS = ("nft list ruleset", "iptables-save", "ip6tables-save")
"""Tools whose rules hold side by side; those of ufw and firewalld are among them."""

_ENDS = re.compile(r"\b(drop|reject|DROP|REJECT)\b")


def rules() -> str:
    """Return all rules that this host has; "" if it has none, or hides them from this user."""
    found = []
    for command in COMMANDS:
        try:
            done = hosttool.ask(command.split(), "packet filter", ChatmaildError)
        except ChatmaildError:      # not installed
            continue
        found.append(done.stdout if done.returncode == 0 else "")
    return "\n".join(found)


def closes(rules: str, port: str) -> bool:
    """Whether a rule keeps packets out by default, or from `port` of TCP."""
    named = re.compile(rf"\bdport (\{{[^}}]*\b)?{port}\b")
    return any(_is_default(line) or named.search(line) and _ENDS.search(line)
               for line in rules.splitlines())


def _is_default(line: str) -> bool:
    """Whether by this line of nftables or iptables what is not let in expressly stays out."""
    hooked = line.partition("hook input ")[2]
    words = line.split() or [""]
    if words[0] == "counter":
        return words[-1] == "drop" or "reject" in words
    return ("policy drop" in hooked or line.startswith(":INPUT DROP")
            or words == ["drop"] or words[0] == "reject")


def is_public(address: str) -> bool:
    """Whether strangers reach what listens on `address`, for all that it says."""
    ip = parse(address)
    return ip is None or not is_inside(ip)      # None: a name, or all
