"""Files for programs: autoconfig for mail clients, and a policy for other mail servers.

Sources: Mozilla's autoconfig file format 1.1; RFC 8461 (MTA-STS).
"""

import hashlib
from collections.abc import Sequence
from xml.sax.saxutils import escape

from chatmaild.admin.web.facts import Facts

AUTOCONFIG_PATHS = (".well-known/autoconfig/mail/config-v1.1.xml", "mail/config-v1.1.xml")
"""Below the domain itself, and below autoconfig.DOMAIN."""

MTA_STS_PATH = ".well-known/mta-sts.txt"

MAX_AGE = 604_800
"""Seconds for which others keep to a policy: a week, so that a mistake does not last."""

_SERVER = """\
    <{kind}Server type="{protocol}">
      <hostname>{host}</hostname>
      <port>{port}</port>
      <socketType>SSL</socketType>
      <authentication>password-cleartext</authentication>
      <username>%EMAILADDRESS%</username>
    </{kind}Server>
"""


def autoconfig(facts: Facts) -> bytes:
    """Return the autoconfig file, by which clients find the servers."""
    domain = escape(facts.domain)
    servers = "".join(
        _SERVER.format(kind=kind, protocol=protocol, host=domain, port=port)
        for kind, protocol, port in (("incoming", "imap", facts.imap_port),
                                     ("outgoing", "smtp", facts.smtp_port)))
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<clientConfig version="1.1">\n'
            f'  <emailProvider id="{domain}">\n    <domain>{domain}</domain>\n'
            f'    <displayName>{domain}</displayName>\n'
            f'    <displayShortName>{domain}</displayShortName>\n{servers}'
            "  </emailProvider>\n</clientConfig>\n").encode()


def mta_sts(names: Sequence[str], mode: str) -> bytes:
    """Return a policy (RFC 8461 section 3.2) for the mail exchangers `names`.

    With the mode ``enforce`` others deliver to these by verified TLS only.
    """
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {name}" for name in names),
             f"max_age: {MAX_AGE}", ""]
    return "\r\n".join(lines).encode()


def policy_id(policy: bytes) -> str:
    """Return an id for the record that announces `policy`; each policy has its own."""
    return hashlib.sha256(policy).hexdigest()[:32]
