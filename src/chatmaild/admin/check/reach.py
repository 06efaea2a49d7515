"""Checks the servers behind a chat domain's names, their certificates and policy, and port 25."""

import contextlib
import smtplib
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chatmaild.admin.check.findings import Finding, failure, ok, unseen, warning
from chatmaild.admin.dns.questions import Answers
from chatmaild.admin.dns.wanted import GUESSED, SERVICES
from chatmaild.console import counted

TIMEOUT = 8
"""Seconds that a server may take to answer."""

SOON = 14 * 86400
"""Seconds that a certificate should still be valid; a quarter of its life if it is short-lived."""

MAX_POLICY = 65536
"""Octets of an MTA-STS policy."""

MAX_LINE = 1000
"""Octets of a reply line of SMTP (RFC 5321 section 4.5.3.1.5 has 512)."""

CLIENT_NAME = "chatmaild-check.invalid"

MAX_TRIES = 3
"""Servers that are tried before port 25 counts as closed."""

HTTPS, IMAPS, SUBMISSIONS, SUBMISSION = 443, 993, 465, 587


@dataclass(frozen=True)
class Certificate:
    """The certificate that a server showed, judged by the clock of this host."""

    lifetime: float
    left: float
    """Seconds."""


class Unreachable(OSError):
    """No connection, so nothing is known about a certificate."""


def endpoints(domain: str, answers: Answers) -> list[tuple[str, int]]:
    """Return names and ports where clients expect a certificate for that name."""
    names = [domain, *(name for label in GUESSED if answers.addresses(name := f"{label}.{domain}"))]
    names += [target for label in SERVICES for _, target in answers.srv(f"{label}.{domain}")
              if target]
    mail = [(name, port) for name in dict.fromkeys(names)
            for port in (IMAPS, SUBMISSIONS, SUBMISSION) if _serves(name, port, domain)]
    web = [(name, HTTPS) for name in (domain, f"autoconfig.{domain}", f"mta-sts.{domain}")
           if answers.addresses(name)]
    return mail + web


def _serves(name: str, port: int, domain: str) -> bool:
    """Whether clients use the name for this port: not imap. for submission, nor smtp. for IMAP."""
    return not (name == f"imap.{domain}" and port != IMAPS
                or name == f"smtp.{domain}" and port == IMAPS)


def check(domains: Iterable[str], answers: Answers, local: str) -> Iterator[Finding]:
    """Connect to the published addresses and yield findings.

    Uses `local` instead if this host cannot reach its own public address (NAT).
    """
    for domain in domains:
        for name, port in endpoints(domain, answers):
            yield from certificate(name, port, answers, local)
        yield from _policy(domain, answers, local)


def certificate(name: str, port: int, answers: Answers, local: str) -> Iterator[Finding]:
    """Yield findings about the certificate at `name`; none about a missing web server."""
    place, code = f"certificate at {name}:{port}", "dns-certificate"
    try:
        with _connected(name, port, answers, local) as connection:
            seen = _read_certificate(connection)
    except Unreachable as error:
        # A web server is optional; mail has to be there.
        if port != HTTPS or name.startswith("mta-sts."):
            optional = port == SUBMISSION
            yield (warning if optional else failure)(
                code, place, f"no answer ({error}); clients that try this name and port wait in "
                "vain", "journalctl -u postfix@- -u dovecot; firewall")
        return
    except ssl.SSLCertVerificationError as error:
        yield failure(code, place, f"not valid: {error.verify_message}; clients refuse it",
                      f"a certificate for {name}: certbot certonly --expand -d {name} ..., "
                      "see dns-and-tls.md")
        return
    except OSError as error:
        yield failure(code, place, f"no TLS: {error}")
        return
    days = counted(round(seen.left / 86400), "day")
    if seen.left < min(SOON, seen.lifetime / 4):
        yield warning(code, place, f"ends in {days} and has not been renewed",
                      "systemctl status certbot.timer; after a renewal: systemctl reload postfix "
                      "dovecot")
    else:
        yield ok(code, place, f"valid, {days} left")


def _read_certificate(connection: ssl.SSLSocket) -> Certificate:
    shown = connection.getpeercert() or {}
    begin, end = (ssl.cert_time_to_seconds(str(shown[key])) for key in ("notBefore", "notAfter"))
    return Certificate(end - begin, end - time.time())


@contextlib.contextmanager
def _connected(name: str, port: int, answers: Answers, local: str) -> Iterator[ssl.SSLSocket]:
    """Open a TLS connection to `name`, whose certificate has to be valid for that name."""
    context = ssl.create_default_context()
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(_open(name, port, answers, local))
        if port == SUBMISSION:
            _start_tls(connection)
        yield stack.enter_context(context.wrap_socket(connection, server_hostname=name))


def _start_tls(connection: socket.socket) -> None:
    """Speak SMTP on a submission port up to STARTTLS (RFC 3207)."""
    with connection.makefile("rb") as replies:
        for command, good in ("", b"220"), (f"EHLO {CLIENT_NAME}", b"250"), ("STARTTLS", b"220"):
            if command:
                connection.sendall(f"{command}\r\n".encode())
            line = replies.readline(MAX_LINE)
            while line[3:4] == b"-":
                line = replies.readline(MAX_LINE)
            if not line.startswith(good):
                raise OSError(f"{command or 'the greeting'}: {line.decode(errors='replace')!r}")


def _open(name: str, port: int, answers: Answers, local: str) -> socket.socket:
    errors = []
    for target in (*map(str, answers.addresses(name)), local):
        try:
            return socket.create_connection((target, port), TIMEOUT)
        except OSError as error:
            errors.append(error.strerror or str(error))
    raise Unreachable(errors[0])


# ---- MTA-STS ------------------------------------------------------------------------------------


def _policy(domain: str, answers: Answers, local: str) -> Iterator[Finding]:
    """Check the policy that the domain announces (RFC 8461 section 3.2), if any."""
    name = f"mta-sts.{domain}"
    if not answers.of(f"_mta-sts.{domain}", "TXT") or not answers.addresses(name):
        return
    place = f"https://{name}/.well-known/mta-sts.txt"
    try:
        with _connected(name, HTTPS, answers, local) as connection:
            text = _get(connection, name, "/.well-known/mta-sts.txt")
    except OSError as error:
        yield failure("dns-mta-sts-policy", place, f"cannot be read: {error}")
        return
    yield judge_policy(text, [mx for _, mx in answers.mx(domain)], place)


def _get(connection: ssl.SSLSocket, name: str, path: str) -> str:
    connection.settimeout(TIMEOUT)
    connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
    raw = b""
    while len(raw) < MAX_POLICY and (data := connection.recv(4096)):
        raw += data
    head, _, body = raw.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode(errors="replace")
    if status.split()[1:2] != ["200"]:
        raise OSError(status or "an empty answer")
    return body.decode(errors="replace")


def judge_policy(text: str, names: list[str], place: str) -> Finding:
    """Find out whether a policy lets others deliver to the mail exchangers `names`."""
    pairs = [line.partition(":")[::2] for line in text.splitlines()]
    fields = [(key.strip().lower(), value.strip().lower()) for key, value in pairs]
    known, patterns = dict(fields), [value for key, value in fields if key == "mx"]
    good = "\n".join(["version: STSv1", "mode: enforce", *(f"mx: {name}" for name in names),
                      "max_age: 604800"])
    if known.get("version") != "stsv1" or known.get("mode") not in ("enforce", "testing", "none"):
        return failure("dns-mta-sts-policy", place, "is not a policy: version or mode is missing",
                       good)
    strange = [name for name in names if not any(
        name == pattern or pattern.startswith("*.") and name.partition(".")[2] == pattern[2:]
        for pattern in patterns)]
    if strange and known["mode"] != "none":
        return failure("dns-mta-sts-policy", place, f"does not name {', '.join(strange)}: others "
                       "deliver nothing there", good)
    return ok("dns-mta-sts-policy", place, f"mode {known['mode']}, and it names all MX")


# ---- the way out --------------------------------------------------------------------------------


def port_25(probe: str, answers: Answers, relay: str) -> Finding:
    """Find out whether this host reaches port 25 of the mail exchangers of `probe`."""
    code, place = "outgoing-25", "outgoing port 25"
    if relay:
        return ok(code, place, f"mail leaves through {relay}, so it is not needed")
    names = [name for _, name in answers.mx(probe) if name][:MAX_TRIES]
    targets = [(name, address) for name in names for address in answers.addresses(name)]
    if not targets:
        return unseen(code, place, f"the DNS names no mail exchanger of {probe} to try it with",
                      "chatmaild check --dns --probe DOMAIN      another domain that takes mail")
    said = []
    for name, address in targets[:2 * MAX_TRIES]:
        try:
            with smtplib.SMTP(timeout=TIMEOUT) as client:
                if client.connect(str(address), 25)[0] == 220:
                    return ok(code, place, f"open, {name} greets")
        except OSError as error:
            said.append(f"{address}: {getattr(error, 'strerror', None) or error}")
    return failure(code, place, f"no mail exchanger of {probe} answers ({'; '.join(said)}): mail "
                   "does not leave this host", "ask your provider to open port 25 for outgoing "
                   "connections, or set relayhost in main.cf")
