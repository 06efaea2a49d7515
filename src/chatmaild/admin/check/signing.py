"""Is all mail of this host signed, its bounces included, and without waiting for TCP?"""

import ipaddress
from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, ok, warning
from chatmaild.admin.servers.milters import Milter, milters
from chatmaild.admin.servers.postconf import Postfix


def check(postfix: Postfix) -> Iterator[Finding]:
    """Yield findings about the host's own milters, one of which signs."""
    yield from _bounces(postfix)
    yield from _slow(postfix)


def _bounces(postfix: Postfix) -> Iterator[Finding]:
    signers = [m.endpoint for m in milters(postfix.get("smtpd_milters")) if not m.is_ours]
    if not signers:
        return
    place = f"{postfix.directory}/main.cf: non_smtpd_milters"
    asked = {m.endpoint for m in milters(postfix.get("non_smtpd_milters"))}
    missing = [endpoint for endpoint in signers if endpoint not in asked]
    if not missing and "bounce" in postfix.words("internal_mail_filter_classes"):
        yield ok("bounces", place, "bounces of this host are shown to its milters")
        return
    value = " ".join([postfix.get("non_smtpd_milters"), *missing]).strip()
    yield warning(
        "bounces-unsigned", place,
        f"bounces of this host are not shown to {', '.join(missing or signers)}, so nobody signs "
        "them, and other chatmail servers refuse them",
        f"non_smtpd_milters = {value}\ninternal_mail_filter_classes = bounce")


def _slow(postfix: Postfix) -> Iterator[Finding]:
    values = [postfix.get("smtpd_milters"), postfix.get("non_smtpd_milters"),
              *(postfix.get("smtpd_milters", service) for service in postfix.servers())]
    found = dict.fromkeys(milter.endpoint for value in values for milter in milters(value)
                          if _is_loopback(milter))
    for endpoint in found:
        yield warning(
            "milter-by-tcp", f"{postfix.directory}: {endpoint}",
            "a milter by TCP on this very host makes each message wait some 40 ms for an "
            "acknowledgement, mostly twice; a unix socket in the queue directory does not",
            "see OpenDKIM in other-milters.md")


def _is_loopback(milter: Milter) -> bool:
    kind, _, rest = milter.endpoint.partition(":")
    host = rest.rpartition(":")[0].strip("[]").lower()
    if kind not in ("inet", "inet6") or not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("localhost.")
