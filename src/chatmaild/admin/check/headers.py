"""Does a header or body check of the host refuse, divert or change an encrypted message?

Postfix's header_checks(5) hold for the mail of all users. The tables are asked for lines as clients
write them.
"""

from collections.abc import Iterator

from chatmaild.admin.check.diversions import effect
from chatmaild.admin.check.findings import Finding, failure
from chatmaild.admin.servers.postconf import PROBE, Postfix, PostfixError, split
from chatmaild.config.config import Config

_OUTER = ('Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\n'
          '\tboundary="{name}"',
          "Autocrypt: addr={name}@{domain}; prefer-encrypt=mutual;\n keydata=xjMEZ0AAABYJKwYBBAHa",
          "From: <{name}@{domain}>", "To: <{name}@{domain}>", "Chat-Version: 1.0",
          "Secure-Join: vc-request", "Subject: [...]", "MIME-Version: 1.0")
_INNER = ("Content-Type: application/pgp-encrypted",
          'Content-Type: application/octet-stream; name="encrypted.asc"',
          'Content-Disposition: inline; filename="encrypted.asc";')
_BODY = ("-----BEGIN PGP MESSAGE-----", "Version: 1",
         "wV4DR2b2udXyHrYSAQdAk3yVq0mXcH5lP9wJ7uT1oZfBnE6sRaD8gKiQxY4vLhUw")
_TABLES = {"header_checks": _OUTER, "mime_header_checks": _INNER, "lmtp_header_checks": _OUTER,
           "smtp_header_checks": _OUTER, "body_checks": _BODY}

_CHANGES = ("IGNORE", "REJECT", "REPLACE", "STRIP")


def check(postfix: Postfix, config: Config) -> Iterator[Finding]:
    """Yield a failure for each line of encrypted mail to which something is done."""
    cleanups = postfix.cleanups(without="no_header_body_checks")
    for parameter, lines in _TABLES.items():
        is_delivery = parameter.startswith(("lmtp_", "smtp_"))
        values = [postfix.get(parameter)] if is_delivery else [
            postfix.get(parameter, service) for service in cleanups]
        for table in dict.fromkeys(table for value in values for table in split(value)):
            yield from _asked(postfix, parameter, table, list(dict.fromkeys(
                line.format(name=PROBE, domain=domain)
                for line in lines for domain in config.mail_domains)))


def _asked(postfix: Postfix, parameter: str, table: str, lines: list[str]) -> Iterator[Finding]:
    place = f"{postfix.directory}/main.cf: {parameter}"
    for line in lines:
        try:
            answer = postfix.ask(table, line) or ""
        except PostfixError:
            return      # the finding about the Received line says so
        if answer.partition(" ")[0].upper() in _CHANGES or effect(postfix, answer):
            yield failure("headers", place, f"{table} answers {answer} to "
                          f"{' '.join(line.split())}, which chat messages have",
                          "narrow the pattern that matches it")
            return
