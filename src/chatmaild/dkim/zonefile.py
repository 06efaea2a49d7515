"""TXT records from a file instead of the DNS."""

from collections.abc import Iterable
from pathlib import Path

import dns.exception
import dns.name
import dns.rdatatype
import dns.zone

from chatmaild.dkim.dnsquery import texts
from chatmaild.errors import UsageError

MAX_LINKS = 8
"""Aliases (CNAME) that are followed from one name."""


class ZoneFile:
    """TXT records from a file in master format (RFC 1035 section 5)."""

    def __init__(self, path: Path):
        """Raises `UsageError` if the file cannot be read or understood."""
        try:
            text = path.read_text("utf-8", "replace")
            self._zone = dns.zone.from_text(
                "$TTL 3600\n" + text, origin=dns.name.root, relativize=False, check_origin=False,
            )
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        except (dns.exception.DNSException, ValueError) as error:
            raise UsageError(
                f"{path}: not a zone file ({error}); write lines like "
                'mail._domainkey.example.org. TXT "v=DKIM1; p=..."'
            ) from None

    def look_up(self, names: Iterable[str]) -> dict[str, tuple[bytes, ...]]:
        """The TXT records at `names`; empty where the file has none."""
        return {name: self._records(dns.name.from_text(name)) for name in names}

    def _records(self, name: dns.name.Name) -> tuple[bytes, ...]:
        for _ in range(MAX_LINKS):
            alias = self._zone.get_rdataset(name, dns.rdatatype.CNAME)
            if alias is None:
                break
            name = alias[0].target
        return texts(self._zone.get_rdataset(name, dns.rdatatype.TXT) or ())
