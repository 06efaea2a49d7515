"""Does the DNS have the rows that others and clients need? Findings show the row to paste.

A function of the answers; `reach` looks at the servers behind the names.
"""

from collections.abc import Iterable, Iterator

from chatmaild.admin.check import policies
from chatmaild.admin.check.findings import Finding, failure, ok, unseen, warning
from chatmaild.admin.dns import wanted
from chatmaild.admin.dns.questions import ADDRESSES, Answers
from chatmaild.admin.dns.wanted import GUESSED, SERVICES, Address, Host, Row, address_type


def check(domains: Iterable[str], host: Host, answers: Answers) -> Iterator[Finding]:
    """Yield findings about each chat domain, then about the host's own name and addresses."""
    if not host.has_public_name:
        yield failure("dns-myhostname", "main.cf: myhostname", f"{host.name} is a name that others "
                      "cannot find, so the rows below cannot be right yet",
                      "postconf -e myhostname=mail.example.org      (this host's name in the DNS)")
    for domain in domains:
        yield from _mx(domain, host, answers)
        yield from _leads_here(domain, host, answers)
        yield from policies.check(domain, host, answers)
        for label in GUESSED:
            name = f"{label}.{domain}"
            if answers.addresses(name):
                yield from _leads_here(name, host, answers)
        for label in SERVICES:
            yield from _service(label, domain, host, answers)
    if not host.relay:
        for address in host.addresses or answers.addresses(host.name):
            yield _pointer(address, host, answers)


def _paste(rows: Iterable[Row]) -> str:
    return "\n".join(row.bind() for row in rows)


def _mx(domain: str, host: Host, answers: Answers) -> Iterator[Finding]:
    place, row = f"{domain} MX", wanted.mx(domain, host).bind()
    if said := answers.trouble(domain, "MX"):
        yield _untold("dns-mx", place, said)
        return
    found = answers.mx(domain)
    if not found:
        yield failure("dns-mx", place, "there is none: others do not know where mail for it goes",
                      row)
        return
    if not found[0][1]:
        yield failure("dns-mx", place, "says that the domain takes no mail (RFC 7505)", row)
        return
    names = [name for _, name in found]
    for name in names:
        if answers.of(name, "CNAME"):
            yield failure("dns-mx", place, f"{name} is an alias (CNAME), which a mail exchanger "
                          "must not be (RFC 2181 section 10.3)", row)
    here = [name for name in names if _is_here(name, host, answers)]
    if not here:
        yield failure("dns-mx", place, f"leads to {', '.join(names)}, not to this host",
                      row)
        return
    for name in here:
        if name != domain:
            yield from _leads_here(name, host, answers)
    yield ok("dns-mx", place, f"leads to {', '.join(here)}, which is this host")


def _is_here(name: str, host: Host, answers: Answers) -> bool:
    published = answers.addresses(name)
    return bool(set(published) & set(host.addresses or answers.addresses(host.name)))


def _leads_here(name: str, host: Host, answers: Answers) -> Iterator[Finding]:
    """Check that `name` has an address of this host in each family (IPv4, IPv6) of the host."""
    place = f"{name} A, AAAA"
    if said := answers.trouble(name, *ADDRESSES):
        yield _untold("dns-address", place, said)
        return
    own = host.addresses or answers.addresses(host.name)
    published = answers.addresses(name)
    families = {address.version for address in own}
    missing = [version for version in sorted(families) if not any(
        address.version == version and address in own for address in published)]
    rows = [row for row in wanted.addresses(name, _with(host, own))
            if row.kind in {address_type(a) for a in own if a.version in missing}]
    strange = [str(address) for address in published if address not in own]
    if not own:
        yield failure("dns-address", place, f"this host sees no public address of its own, "
                      f"and the DNS has none for {host.name}: give --address",
                      f"{name}. IN A (this host's public address)")
    elif missing:
        kinds = " and ".join(dict.fromkeys(row.kind for row in rows))
        text = f"no {kinds} record leads to this host"
        yield failure("dns-address", place, text + (
            f", but to {', '.join(strange)}" if strange else ""), _paste(rows))
    elif strange:
        yield warning("dns-address", place, f"leads to {', '.join(strange)} too, not an address "
                      "of this host: whoever tries it first may have to wait",
                      _paste(wanted.addresses(name, _with(host, own))))
    else:
        yield ok("dns-address", place, ", ".join(map(str, published)))


def _with(host: Host, addresses: tuple[Address, ...]) -> Host:
    return Host(host.name, addresses)


def _service(label: str, domain: str, host: Host, answers: Answers) -> Iterator[Finding]:
    """Check an SRV record if it is published; nobody needs one."""
    name = f"{label}.{domain}"
    found = answers.srv(name)
    if not found:
        return
    row = wanted.srv(label, domain)
    wrong = [f"{target or '.'} port {port}" for port, target in found
             if port != SERVICES[label] or not _is_here(target, host, answers)]
    if wrong:
        yield failure("dns-srv", f"{name} SRV", f"sends clients to {', '.join(wrong)}, where this "
                      "host does not serve them", row.bind())
    else:
        yield ok("dns-srv", f"{name} SRV", "leads clients to this host")


def _pointer(address: Address, host: Host, answers: Answers) -> Finding:
    name = address.reverse_pointer
    alias = next((target.rstrip(".") for target in answers.of(name, "CNAME")), "")
    row = wanted.pointer(address, host, alias).bind()
    place = f"{address} PTR"
    if said := answers.trouble(name, "PTR"):
        return _untold("dns-ptr", place, said)
    found = [value.rstrip(".").lower() for value in answers.of(name, "PTR")]
    if not found:
        return failure("dns-ptr", place, "the address has no name, and many servers take no mail "
                       "from such", row)
    good = [name for name in found if address in answers.addresses(name)]
    if not good:
        return failure("dns-ptr", place, f"its name {', '.join(found)} does not lead back to it",
                       f"{row}\n{wanted.Row(host.name, address_type(address), str(address)).bind()}"
                       )
    if host.name not in good:
        return warning("dns-ptr", place, f"it is called {good[0]}, but Postfix greets as "
                       f"{host.name}: some servers count that against mail", row)
    return ok("dns-ptr", place, f"it is called {host.name}, and that leads back to it")


def _untold(code: str, place: str, said: str) -> Finding:
    return unseen(code, place, f"no server could tell ({said})",
                  "chatmaild check --dns --server ADDRESS      asks another")
