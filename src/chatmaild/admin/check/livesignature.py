"""Would another chatmail server accept the message that `check --live` has received?"""

import re
from collections.abc import Callable, Iterable

from chatmaild.admin.check.findings import Finding, failure, ok, warning
from chatmaild.dkim import signature
from chatmaild.dkim.verification import DkimCheck, Keys, Validity

LookUp = Callable[[Iterable[str]], Keys]
"""Asks the DNS."""

MIN_RSA_BITS = 1024
"""What others ask for (RFC 8301)."""


def check(message: bytes, domain: str, place: str, now: float, look_up: LookUp) -> Finding:
    """Return the finding on `message`, fetched by IMAP, from a chat user in `domain`.

    `now` is in seconds since the epoch; `look_up` asks the DNS.
    """
    head, _, body = message.partition(b"\r\n\r\n")
    fields = [(name, value) for name, _, value in (
        line.partition(b":") for line in re.split(rb"\r\n(?![ \t])", head))]
    if not any(name.lower() == b"dkim-signature" and signature.claimed_domain(value) == domain
               for name, value in fields):
        return failure("live-unsigned", place,
                       f"the delivered message is not DKIM-signed by {domain}: every other "
                       "chatmail server refuses it", "see OpenDKIM and rspamd in other-milters.md")
    verdict = DkimCheck(fields, domain, now, MIN_RSA_BITS)
    verdict.body(body)
    found = verdict.result(look_up(verdict.finish()))
    if found.state is Validity.VALID:
        return ok("live-signature", place, f"the delivered message is signed by {domain}")
    return warning("live-signature", place,
                   f"the delivered message has a signature of {domain}, but others may not accept "
                   f"it: {found.detail}", "the DNS must have the record that your signer shows")
