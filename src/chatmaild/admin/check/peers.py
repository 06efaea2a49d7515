"""Can this host give mail to the others that have its chat domains, and does it trust them?"""

import contextlib
import smtplib
import ssl
from collections.abc import Iterable, Iterator

from chatmaild.accounts.directoryrows import Node
from chatmaild.admin.check.findings import Finding, failure, ok

TIMEOUT = 10
"""Seconds for one host."""


def check(nodes: Iterable[Node], port: int, authorities: str) -> Iterator[Finding]:
    """Connect to each of `nodes` as Postfix does, by LMTP with STARTTLS.

    `authorities`: the file with the certificates that Postfix trusts; "" for those of the system.
    """
    for node in nodes:
        place = f"{node.name}, port {port} at {node.ip}"
        try:
            _verify(node, port, authorities)
        except (OSError, smtplib.SMTPException) as error:
            yield failure("directory-peer", place, f"mail for accounts there waits: {error}",
                          "the other host's Dovecot must run and listen there, its packet filter "
                          "let us in,\nand its certificate be valid for that name: see "
                          "several-hosts.md")
        else:
            yield ok("directory-peer", place, "answers, with a valid certificate")


def _verify(node: Node, port: int, authorities: str) -> None:
    """Raises OSError or `smtplib.SMTPException`."""
    context = ssl.create_default_context(cafile=authorities or None)
    with contextlib.closing(smtplib.LMTP(timeout=TIMEOUT)) as lmtp:
        lmtp.connect(node.ip, port)
        lmtp.ehlo()
        code, text = lmtp.docmd("STARTTLS")
        if code != 220 or lmtp.sock is None:
            raise smtplib.SMTPResponseException(code, text)
        with context.wrap_socket(lmtp.sock, server_hostname=node.name):
            pass
