"""Does a header check of the host refuse, or take away, what an encrypted message consists of?

Postfix's header_checks(5) hold for the mail of all users. The tables are asked for headers as
clients write them.
"""

from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, failure
from chatmaild.admin.servers.postconf import PROBE, Postfix, PostfixError, split
from chatmaild.config.config import Config

_OUTER = ('Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\n'
          '\tboundary="{name}"',
          "Autocrypt: addr={name}@{domain}; prefer-encrypt=mutual;\n keydata=xjMEZ0AAABYJKwYBBAHa",
          "Chat-Version: 1.0", "Secure-Join: vc-request", "Subject: [...]", "MIME-Version: 1.0")
_INNER = ("Content-Type: application/pgp-encrypted",
          'Content-Type: application/octet-stream; name="encrypted.asc"',
          'Content-Disposition: inline; filename="encrypted.asc";')
_TABLES = {"header_checks": _OUTER, "mime_header_checks": _INNER, "lmtp_header_checks": _OUTER,
           "smtp_header_checks": _OUTER}

_HARMFUL = frozenset(("BCC", "DISCARD", "HOLD", "IGNORE", "REDIRECT", "REJECT", "REPLACE", "STRIP"))


def check(postfix: Postfix, config: Config) -> Iterator[Finding]:
    """Yield a failure for each header of encrypted mail to which something is done."""
    cleanups = dict.fromkeys(postfix.get("cleanup_service_name", service) or "cleanup"
                             for service in postfix.servers() if not service.is_way_back)
    services = [postfix.service(f"{name}/unix") for name in cleanups]
    for parameter, headers in _TABLES.items():
        tables = dict.fromkeys(table for service in services
                               for table in split(postfix.get(parameter, service)))
        for table in tables:
            yield from _asked(postfix, parameter, table, [
                header.format(name=PROBE, domain=config.mail_domains[0])
                for header in headers])


def _asked(postfix: Postfix, parameter: str, table: str, headers: list[str]) -> Iterator[Finding]:
    place = f"{postfix.directory}/main.cf: {parameter}"
    for header in headers:
        try:
            answer = postfix.ask(table, header) or ""
        except PostfixError:
            return      # the finding about the Received line says so
        if answer.partition(" ")[0].upper() in _HARMFUL:
            line = " ".join(header.split())
            yield failure("headers", place,
                          f"{table} answers {answer} to {line}, which chat messages have",
                          "narrow the pattern that matches it")
            return
