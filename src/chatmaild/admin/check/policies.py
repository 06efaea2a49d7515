"""Are a chat domain's policies for its mail right: SPF, DKIM, DMARC, MTA-STS, TLSRPT?

Sources: RFC 7208, 6376, 7489, 8461, 8460.
"""

from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, failure, ok, unseen, warning
from chatmaild.admin.dns import spf, wanted
from chatmaild.admin.dns.questions import Answers
from chatmaild.admin.dns.spf import Result
from chatmaild.admin.dns.wanted import Host, SigningKey
from chatmaild.dkim.keyrecord import KeyRecord, parse_key_record
from chatmaild.dkim.taglist import DkimSyntaxError


def check(domain: str, host: Host, answers: Answers) -> Iterator[Finding]:
    """Yield findings about the policies of `domain`."""
    yield _spf(domain, host, answers)
    yield from _dkim(domain, host, answers)
    yield _dmarc(domain, answers)
    yield from _mta_sts(domain, answers)
    yield from _tlsrpt(domain, answers)


def tags(text: str) -> dict[str, str]:
    """Parse ``v=DMARC1; p=reject`` to a mapping, in lower case; skip anything but tags."""
    pairs = (part.partition("=") for part in text.lower().split(";"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def _untold(code: str, place: str, said: str) -> Finding:
    return unseen(code, place, f"no server could tell ({said})")


def _spf(domain: str, host: Host, answers: Answers) -> Finding:
    code, place, row = "dns-spf", f"{domain} TXT (SPF)", wanted.spf(domain).bind()
    if said := answers.trouble(domain, "TXT"):
        return _untold(code, place, said)
    found = answers.spf(domain)
    if not found:
        return failure(code, place, "none: large providers take no mail from the domain", row)
    if len(found) > 1:
        return failure(code, place, f"there are {len(found)} of them, so none counts "
                       "(RFC 7208 section 4.5)", row)
    if host.relay:
        return ok(code, place, f"{found[0]} (mail leaves through {host.relay}, which it has to "
                  "allow)")
    own = host.addresses or answers.addresses(host.name)
    results = {address: spf.evaluate(found[0], domain, address, answers.of) for address in own}
    refused = [str(address) for address, result in results.items() if result is Result.FAIL]
    if refused:
        return failure(code, place, f"{found[0]}: does not allow {', '.join(refused)}, from where "
                       "this host sends", row)
    if Result.UNKNOWN in results.values():
        return ok(code, place, f"{found[0]} (what it includes is not looked at)")
    return ok(code, place, f"{found[0]}, which allows this host")


def _dkim(domain: str, host: Host, answers: Answers) -> Iterator[Finding]:
    for text in host.unreadable:
        yield unseen("dns-dkim", f"{domain} DKIM", text, "run as root")
    keys = host.keys.get(domain, ())
    if not keys and not host.unreadable:
        yield warning("dns-dkim", f"{domain} DKIM", "no key found that OpenDKIM or rspamd signs "
                      "with here, so only a message can show whether others can verify it",
                      "chatmaild check --dns --live; for signing see other-milters.md")
    for key in keys:
        yield _key(domain, key, answers)


def _key(domain: str, key: SigningKey, answers: Answers) -> Finding:
    row = wanted.dkim(domain, key)
    code, place = "dns-dkim", f"{row.name} TXT"
    if said := answers.trouble(row.name, "TXT"):
        return _untold(code, place, said)
    found = answers.of(row.name, "TXT")
    if not found:
        return failure(code, place, f"none, but this host signs with {key.source}: every other "
                       "chatmail server refuses its mail", row.bind())
    try:
        published = [parse_key_record(text.encode()) for text in found]
    except DkimSyntaxError as error:
        return failure(code, place, f"cannot be used: {error}", row.bind())
    if len(published) > 1:
        return failure(code, place, f"there are {len(published)} records; others may use any of "
                       "them (RFC 6376 section 3.6.2.2)", row.bind())
    if not _same_key(published[0], parse_key_record(key.record.encode())):
        return failure(code, place, f"is not the key that this host signs with, {key.source}: "
                       "every other chatmail server refuses its mail", row.bind())
    return ok(code, place, f"is the key that this host signs with, {key.source}")


def _same_key(published: KeyRecord, own: KeyRecord) -> bool:
    """Compare keys; an RSA key may be published without its wrapping (RFC 6376 section 3.6.1)."""
    return published.key_type == own.key_type and (
        published.data == own.data
        or own.key_type == "rsa" and len(published.data) > 64 and own.data.endswith(published.data))


def _dmarc(domain: str, answers: Answers) -> Finding:
    row = wanted.dmarc(domain)
    code, place = "dns-dmarc", f"{row.name} TXT"
    if said := answers.trouble(row.name, "TXT"):
        return _untold(code, place, said)
    found = [text for text in answers.of(row.name, "TXT")
             if tags(text.partition(";")[0]).get("v") == "dmarc1"]
    if len(found) != 1:
        return failure(code, place, f"there are {len(found)} of them, so none counts" if found
                       else "none: others do not know that all mail of the domain is signed",
                       row.bind())
    policy = tags(found[0]).get("p", "")
    if policy not in ("none", "quarantine", "reject"):
        return failure(code, place, f"{found[0]}: has no policy (p=)", row.bind())
    if policy == "none":
        return warning(code, place, f"{found[0]}: lets forged mail of the domain pass", row.bind())
    return ok(code, place, found[0])


def _mta_sts(domain: str, answers: Answers) -> Iterator[Finding]:
    """Check the announcement of a policy. Nobody needs one; `reach` reads it if there is one."""
    place = f"_mta-sts.{domain} TXT"
    found = [text for text in answers.of(f"_mta-sts.{domain}", "TXT")
             if tags(text.partition(";")[0]).get("v") == "stsv1"]
    if not found:
        return
    identifier = tags(found[0]).get("id", "")
    row = wanted.Row(f"_mta-sts.{domain}", "TXT", "v=STSv1; id=1").bind()
    if len(found) > 1 or not (identifier.isalnum() and len(identifier) <= 32):
        yield failure("dns-mta-sts", place, f"{found[0]}: there must be one record with an id of "
                      "letters and digits, 32 at most", row)
    elif not answers.addresses(f"mta-sts.{domain}"):
        yield failure("dns-mta-sts", place, f"announces a policy, but mta-sts.{domain} has no "
                      "address where it could be read",
                      f"mta-sts.{domain}. IN CNAME {domain}.")
    else:
        yield ok("dns-mta-sts", place, found[0])


def _tlsrpt(domain: str, answers: Answers) -> Iterator[Finding]:
    name = f"_smtp._tls.{domain}"
    found = answers.of(name, "TXT")
    if not found:
        return
    if len(found) > 1 or not (tags(found[0]).get("v") == "tlsrptv1" and tags(found[0]).get(
            "rua", "").startswith(("mailto:", "https:"))):
        yield failure("dns-tlsrpt", f"{name} TXT", f"{found[0]}: nobody can send a report by it",
                      wanted.Row(name, "TXT", "v=TLSRPTv1; rua=mailto:ADDRESS").bind())
    else:
        yield ok("dns-tlsrpt", f"{name} TXT", found[0])
