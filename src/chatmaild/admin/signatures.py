"""Shows people each step in the verification of DKIM signatures (for filter-test)."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chatmaild.dkim import crypto, signature as dkim_signature, verification
from chatmaild.dkim.bodyhash import BodyHash
from chatmaild.dkim.signature import Signature
from chatmaild.dkim.taglist import DkimSyntaxError
from chatmaild.dkim.verification import Authenticity, Fields, Keys, SignatureCheck, Validity


@dataclass
class Report:
    """The report on one signature: `steps` are (what, finding), in the order of verification."""

    aligned: bool
    verdict: Authenticity
    steps: list[tuple[str, str]] = field(default_factory=list)


def explain(fields: Fields, body: bytes, from_domain: str, now: float, min_rsa_bits: int,
            look_up: Callable[[list[str]], Keys]) -> list[Report]:
    """Return a report for each signature, topmost first.

    `now` is in seconds since the epoch. `look_up` asks the DNS.
    """
    return [
        _report(fields, index, body, from_domain, now, min_rsa_bits, look_up)
        for index, (name, _) in enumerate(fields) if name.lower() == b"dkim-signature"
    ]


def _report(fields: Fields, index: int, body: bytes, from_domain: str, now: float,
            min_rsa_bits: int, look_up: Callable[[list[str]], Keys]) -> Report:
    value = fields[index][1]
    domain = dkim_signature.claimed_domain(value)
    aligned = domain == from_domain
    alignment = (f"d={domain}, From is in {from_domain or 'no domain'}: "
                 + ("aligned" if aligned else "not aligned, so this signature does not count"))
    try:
        signature = dkim_signature.parse_signature(value)
    except DkimSyntaxError as error:
        found = Authenticity.invalid("signature-unusable", str(error))
        return Report(aligned, found, [("alignment", alignment)])
    computed = _body_hash(signature, body)
    keys = look_up([signature.key_name])[signature.key_name]
    check = SignatureCheck(fields, index, signature, now)
    found = check.judge(computed, keys, min_rsa_bits)
    canonical = verification.canonical_headers(fields, index, signature)
    steps = [
        ("alignment", alignment),
        ("algorithm", f"{signature.key_type}-sha256, "
                      f"headers {'relaxed' if signature.relaxed_headers else 'simple'}, "
                      f"body {'relaxed' if signature.relaxed_body else 'simple'}"),
        ("signed fields", ", ".join(name.decode("latin-1") for name in signature.signed_fields)),
        ("body hash", f"computed {_text(computed)}, signed {_text(signature.body_hash)}: "
                      + ("equal" if computed == signature.body_hash else "different")),
        *(("canonical header", ascii(line.decode("latin-1"))[1:-1])
          for line in canonical.split(b"\r\n")),
        ("header hash", _text(hashlib.sha256(canonical).digest())),
        *_key_steps(signature, keys, min_rsa_bits),
    ]
    return Report(aligned, found, steps)


def _body_hash(signature: Signature, body: bytes) -> bytes:
    job = BodyHash(signature.relaxed_body)
    job.update(body)
    return job.digest()


def _key_steps(signature: Signature, records: tuple[bytes, ...] | None, min_rsa_bits: int
               ) -> list[tuple[str, str]]:
    steps = [("key name", signature.key_name)]
    if records is None:
        return steps + [("key record", "the DNS did not answer")]
    if not records:
        return steps + [("key record", "the DNS has none of that name")]
    for text in records:
        steps += [("key record", ascii(text.decode("latin-1"))[1:-1]),
                  ("key", _key(text, min_rsa_bits))]
    return steps


def _key(text: bytes, min_rsa_bits: int) -> str:
    try:
        record = verification.key_record(text)
        key = crypto.public_key(record, min_rsa_bits)
    except DkimSyntaxError as error:
        return str(error)
    flags = ", the domain is only testing (t=y)" if record.testing else ""
    return f"{key.key_type}, {key.bits} bits{flags}"


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def as_json(report: Report) -> dict[str, Any]:
    """Return the report for ``--json``."""
    return {
        "aligned": report.aligned,
        "valid": report.verdict.state is Validity.VALID,
        "reason": report.verdict.code,
        "detail": report.verdict.detail,
        "steps": [list(step) for step in report.steps],
    }
