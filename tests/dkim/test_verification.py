"""Messages signed by others, verified here: dkimpy, OpenDKIM and the examples of the RFCs."""

import os
import re
import time
from pathlib import Path

import dkimkit
import opendkim
import pytest
from dkimcheck import NAME, NOW, check
from rig.speed import in_time

from chatmaild.dkim import verification
from chatmaild.dkim.verification import DkimCheck, Validity
from chatmaild.dkim.zonefile import ZoneFile


def test_the_examples_of_rfc_8463():
    message = (dkimkit.DATA / "rfc8463.eml").read_bytes()
    zone = ZoneFile(dkimkit.DATA / "rfc.zone")
    ed25519, rsa = ["brisbane._domainkey.football.example.com",
                    "test._domainkey.football.example.com"]
    for name in (ed25519, rsa):
        keys = zone.look_up([name])
        assert check(message, keys, "football.example.com").state is Validity.VALID
        broken = message.replace(b"Suzie", b"Susie")
        assert check(broken, keys, "football.example.com").state is Validity.INVALID


def test_the_example_of_rfc_6376():
    message = (dkimkit.DATA / "rfc6376.eml").read_bytes()
    keys = ZoneFile(dkimkit.DATA / "rfc.zone").look_up(["brisbane._domainkey.example.com"])
    assert check(message, keys, "example.com").state is Validity.VALID
    verdict = check(message, keys, "football.example.com")
    assert verdict.state is Validity.INVALID and verdict.code == "not-aligned"


@pytest.mark.parametrize("canonical", [
    b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"])
@pytest.mark.parametrize("signer", [dkimkit.rsa, dkimkit.ed25519])
def test_signed_by_dkimpy(signer, canonical):
    keys = {NAME: (signer().record,)}
    message = dkimkit.sign(dkimkit.MESSAGE, signer(), canonical=canonical)
    for cut in (None, 1, 7):
        assert check(message, keys, cut=cut).state is Validity.VALID
    for old, new in [(b"and a dot", b"and a Dot"), (b"<alice@", b"<mallory@"), (b"bob@", b"eve@"),
                     (b"From:", b"From: eve@sender.example\r\nFrom:")]:
        assert check(message.replace(old, new), keys).state is Validity.INVALID
    spaced = message.replace(b"Subject:  folded", b"Subject: folded")
    valid = canonical.startswith(b"relaxed")
    assert check(spaced, keys).state is (Validity.VALID if valid else Validity.INVALID)


@pytest.mark.skipif(not Path(opendkim.DAEMON).exists() and not os.environ.get("CI"),
                    reason="needs the package opendkim")
@pytest.mark.parametrize("canonical", [
    "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
def test_signed_by_opendkim(tmp_path, canonical):
    keys = {NAME: (dkimkit.rsa().record,)}
    with opendkim.running(tmp_path, dkimkit.rsa().private, canonical) as socket:
        message = opendkim.sign(socket, dkimkit.MESSAGE)
    assert b"c=" + canonical.encode() in message
    assert check(message, keys).state is Validity.VALID
    assert check(message.replace(b"bob@", b"eve@"), keys).state is Validity.INVALID


def test_the_aligned_signature_decides():
    signer, other = dkimkit.rsa(), dkimkit.rsa(1024)
    by_list = dkimkit.sign(dkimkit.MESSAGE, other, domain=b"list.example",
                           identity=b"@list.example")
    keys = {NAME: (signer.record,), "s1._domainkey.list.example": (other.record,)}
    assert check(by_list, keys).code == "not-aligned"
    assert check(dkimkit.sign(by_list, signer), keys).state is Validity.VALID
    parent = dkimkit.sign(dkimkit.MESSAGE, signer, domain=b"example", selector=b"s1")
    assert check(parent, {"s1._domainkey.example": (signer.record,)}).state is Validity.INVALID


def test_one_valid_signature_is_enough_and_unknown_is_not_invalid():
    rsa, ed25519 = dkimkit.rsa(), dkimkit.ed25519()
    twice = dkimkit.sign(dkimkit.sign(dkimkit.MESSAGE, rsa), ed25519, selector=b"s2")
    second = "s2._domainkey.sender.example"
    for first_keys, second_keys, state in [
        ((rsa.record,), (), Validity.VALID), ((), (ed25519.record,), Validity.VALID),
        (None, (ed25519.record,), Validity.VALID), (None, (), Validity.UNKNOWN),
        ((), (), Validity.INVALID), ((ed25519.record,), (), Validity.INVALID),
    ]:
        assert check(twice, {NAME: first_keys, second: second_keys}).state is state


@pytest.mark.parametrize("records, said", [
    ((), "no key"), ((b"v=DKIM1; p=",), "revoked"), ((b"v=spf1 -all",), "v=|p=|tag"),
    ((b"v=DKIM1; k=ed25519; p=AAAA",), "32 octets"), ((b"p=AAAA",), "not an RSA key"),
])
def test_no_usable_key_is_permanent(records, said):
    verdict = check(dkimkit.sign(dkimkit.MESSAGE, dkimkit.rsa()), {NAME: records})
    assert verdict.state is Validity.INVALID
    assert re.search(said, verdict.detail)


def test_records_of_other_kinds_beside_the_key_do_not_count():
    message = dkimkit.sign(dkimkit.MESSAGE, dkimkit.rsa())
    records = (b"v=spf1 -all", dkimkit.rsa().record)
    assert check(message, {NAME: records}).state is Validity.VALID


def test_length_of_the_key():
    message = dkimkit.sign(dkimkit.MESSAGE, dkimkit.rsa(1024))
    keys = {NAME: (dkimkit.rsa(1024).record,)}
    assert check(message, keys).state is Validity.VALID
    assert "1024 bits" in check(message, keys, bits=2048).detail


@pytest.mark.parametrize("flags, identity, valid", [
    (b"y", None, True), (b"s", None, True), (b"s", b"@sub.sender.example", False),
    (b"y", b"@sub.sender.example", True),
])
def test_flags_of_the_key(flags, identity, valid):
    signer = dkimkit.rsa()
    message = dkimkit.sign(dkimkit.MESSAGE, signer, identity=identity)
    keys = {NAME: (signer.record + b"; t=" + flags,)}
    assert (check(message, keys).state is Validity.VALID) is valid


def test_a_body_that_was_changed_needs_no_key():
    fields, body = dkimkit.split(dkimkit.sign(dkimkit.MESSAGE, dkimkit.rsa()))
    job = DkimCheck(fields, "sender.example", NOW, 1024)
    job.body(body + b"more\r\n")
    assert job.finish() == frozenset()
    assert "body" in job.result({}).detail


def test_a_limited_body_is_refused():
    message = dkimkit.sign(dkimkit.MESSAGE, dkimkit.rsa(), length=True)
    assert "l=" in check(message, {NAME: (dkimkit.rsa().record,)}).detail


def test_over_signed_fields_may_be_missing_but_not_added():
    message = dkimkit.sign(
        dkimkit.MESSAGE, dkimkit.rsa(),
        include_headers=[b"from", b"from", b"to", b"date", b"date", b"reply-to", b"subject"])
    keys = {NAME: (dkimkit.rsa().record,)}
    assert check(message, keys).state is Validity.VALID
    assert check(b"Reply-To: eve@e.example\r\n" + message, keys).state is Validity.INVALID
    assert check(b"Date: now\r\n" + message, keys).state is Validity.INVALID
    assert check(b"X-Unsigned: yes\r\n" + message, keys).state is Validity.VALID


def test_expired():
    message = dkimkit.sign(dkimkit.MESSAGE, dkimkit.rsa())
    fields, body = dkimkit.split(message)
    signed = int(re.search(rb"t=(\d+)", fields[0][1])[1])
    limited = message.replace(b"q=dns/txt;", b"q=dns/txt; x=%d;" % (signed + 10))
    keys = {NAME: (dkimkit.rsa().record,)}
    # the changed field breaks the signature, so only the reason tells the two apart
    assert "header" in check(limited, keys, now=signed + 10 + verification.CLOCK_DRIFT).detail
    assert "expired" in check(limited, keys, now=signed + 11 + verification.CLOCK_DRIFT).detail


def test_no_more_signatures_than_the_limit_cost_anything():
    field = dkimkit.sign(dkimkit.MESSAGE, dkimkit.rsa()).partition(b"\r\nReceived")[0] + b"\r\n"
    message = b"".join(field.replace(b"s=s1", b"s=x%d" % n) for n in range(100)) + dkimkit.MESSAGE
    fields, body = dkimkit.split(message)
    job = DkimCheck(fields, "sender.example", NOW, 1024)
    job.body(body)
    assert len(job.finish()) == verification.MAX_SIGNATURES


def results(*fields):
    verdict = verification.from_results(
        [(b"Authentication-Results", value) for value in fields], "mx.host.example",
        "sender.example")
    return verdict.state


PASS = (b" mx.host.example;\r\n\tdkim=pass (2048-bit key; unprotected) header.d=Sender.example"
        b" header.i=@sender.example header.a=rsa-sha256 header.s=s1 header.b=abc/DE+f")
DMARC = b" mx.host.example; dmarc=pass (p=none) header.from=sender.example"


@pytest.mark.parametrize("fields, state", [
    ([PASS], Validity.VALID),
    ([DMARC, PASS], Validity.VALID),
    ([b" other.example; dkim=none"] * 5 + [DMARC] * 4 + [PASS], Validity.VALID),
    ([DMARC] * 5 + [PASS], Validity.VALID),
    ([DMARC] * 50 + [PASS], Validity.INVALID),
    ([PASS.replace(b"mx.host", b"MX.Host")], Validity.VALID),
    ([b" mx.host.example; dkim=pass header.d=list.example; dkim=pass header.d=sender.example"],
     Validity.VALID),
    ([], Validity.INVALID),
    ([DMARC], Validity.INVALID),
    ([b" mx.host.example; none"], Validity.INVALID),
    ([b" mx.host.example; dkim=fail header.d=sender.example"], Validity.INVALID),
    ([b" mx.host.example; dkim=temperror header.d=sender.example"], Validity.UNKNOWN),
    ([b" mx.host.example; dkim=none", PASS], Validity.INVALID),
    ([PASS.replace(b"mx.host.example", b"mx.host.example.evil")], Validity.INVALID),
    ([PASS.replace(b"mx.host.example", b"evil")], Validity.INVALID),
    ([PASS.replace(b"Sender.example", b"sub.sender.example")], Validity.INVALID),
    ([PASS.replace(b"header.d=Sender.example ", b"")], Validity.INVALID),
    ([PASS + b" header.d=evil.example"], Validity.INVALID),
    ([b" mx.host.example; dkim=fail (; dkim=pass header.d=sender.example) header.d=sender.example"],
     Validity.INVALID),
    ([b" mx.host.example; dkim=broken=; x", PASS], Validity.INVALID),
    ([b" mx.host.example; " + b"(" * 5000, PASS], Validity.INVALID),
    ([b" other.example; " + b"(" * 5000, PASS], Validity.VALID),
    ([PASS.replace(b"example;", b"example 1 ;")], Validity.VALID),
    ([b"(x)" + PASS], Validity.INVALID),
    ([PASS.replace(b"mx.host.example", b'"mx.host.example"')], Validity.INVALID),
    ([PASS.replace(b"example;", b"example(x);")], Validity.INVALID),
    ([PASS.replace(b"example;", b"example (x) 1;")], Validity.INVALID),
    ([b"\xc2\xa0" + PASS.strip()], Validity.INVALID),
    ([b"\x0b" + PASS.strip()], Validity.INVALID),
])
def test_authentication_results(fields, state):
    assert results(*fields) is state


@pytest.mark.parametrize("domain, state", [
    (b"sender.example", Validity.UNKNOWN), (b"Sender.Example", Validity.UNKNOWN),
    (b"list.example", Validity.INVALID)])
@pytest.mark.parametrize("written", [None, DMARC, PASS.replace(b"mx.host", b"mx.other")])
def test_a_verifier_that_says_nothing_of_a_signature_loses_no_mail(written, domain, state):
    fields = [(b"DKIM-Signature", b" v=1; d=" + domain)]
    if written:
        fields.insert(0, (b"Authentication-Results", written))
    found = verification.from_results(fields, "mx.host.example", "sender.example")
    assert (found.state, found.code) == (state, "verifier-silent")


BEGIN = b" mx.host.example; "
SLOW = {
    "many results": BEGIN + b"spf=none; " * 6000,
    "many properties": BEGIN + b"spf=pass" + b" smtp.a=b" * 7000,
    "many comments": BEGIN + b"spf=pass " + b"()" * 30_000,
    "escapes in a comment": BEGIN + b"spf=pass (" + rb"\)" * 30_000,
    "escapes in quotes": BEGIN + b'spf=pass reason="' + rb"\a" * 30_000,
}


@pytest.mark.timing
@pytest.mark.parametrize("size", [400, 4000, 16_000, 60_000])
@pytest.mark.parametrize("field", SLOW.values(), ids=SLOW)
def test_results_of_any_length_and_number_are_soon_judged(field, size):
    fields = [field[:size]] * (240_000 // size)
    took = []
    for _ in range(3):
        began = time.thread_time()
        assert results(*fields, PASS) is Validity.INVALID
        took.append(time.thread_time() - began)
    # What is read of them takes up to 0.03 s; read whole, a field of 60,000 octets takes 10 s.
    assert in_time(min(took), 0.2)


def by_rspamd(*found):
    """What rspamd 3.4 and 3.12 write, after its results for DKIM."""
    return b" mx.host.example;\r\n\t" + b";\r\n\t".join(found)


SPF = (b"spf=none (mx.host.example: domain of alice@sender.example has no SPF policy when checking"
       b" 192.0.2.99) smtp.mailfrom=alice@sender.example")
SIGNED = b"header.d=sender.example header.s=s1 header.b=bOBeSwMP"


@pytest.mark.parametrize("found, state", [
    ([b"dkim=pass " + SIGNED, SPF, b"dmarc=none"], Validity.VALID),
    ([b"dkim=pass " + SIGNED, b"dmarc=none", SPF], Validity.VALID),
    ([b"dkim=pass header.d=list.example header.s=s1 header.b=KzlAqj7K", b"dkim=pass " + SIGNED,
      SPF, b'dmarc=pass (policy=none) header.from=sender.example',
      b"arc=pass (list.example:s=arc:i=1)"], Validity.VALID),
    ([b"dkim=none", SPF, b"dmarc=none"], Validity.INVALID),
    ([SPF, b"dmarc=none"], Validity.INVALID),
    ([b'dkim=none ("invalid DKIM record") ' + SIGNED, SPF, b"dmarc=none"], Validity.INVALID),
    ([b'dkim=fail ("body hash did not verify") ' + SIGNED, SPF, b"dmarc=none"], Validity.INVALID),
    ([b'dkim=fail ("headers rsa verify failed") ' + SIGNED, SPF, b"dmarc=none"], Validity.INVALID),
    ([b"dkim=permerror " + SIGNED, SPF], Validity.INVALID),
    ([b'dkim=temperror ("DNS error when getting key") ' + SIGNED,
      b"spf=temperror (mx.host.example: error in processing during lookup of alice@sender.example:"
      b" DNS error) smtp.mailfrom=alice@sender.example",
      b'dmarc=temperror reason="query timed out" header.from=sender.example (policy=temperror)'],
     Validity.UNKNOWN),
])
def test_results_as_rspamd_writes_them(found, state):
    assert results(by_rspamd(*found)) is state


@pytest.mark.parametrize("said", [
    b"x); dkim=pass header.d=sender.example (y@evil.example",
    b"a);dkim=pass(x)header.d=sender.example;spf=none(",
    b"); dkim=pass header.d=sender.example; spf=none (",
])
def test_a_client_cannot_write_a_result_through_what_rspamd_says_of_spf(said):
    """It quotes the sender, or for the null sender HELO, within a comment and once more."""
    spf = (b'spf=permerror (mx.host.example: domain of "%b" uses mechanism not recognized by this'
           b' client) smtp.mailfrom="%b"' % (said, said))
    evil = b"dkim=pass header.d=evil.example header.s=s1 header.b=S7ixeJ0L"
    assert results(by_rspamd(evil, spf, b"dmarc=none")) is Validity.INVALID
    assert results(by_rspamd(spf, b"dmarc=none")) is Validity.INVALID


@pytest.mark.parametrize("tags, state", [
    (b"i=bounces+bob=3Dhost.example@evil.example; s=s1", Validity.VALID),
    (b"i=x@evil.example=3B=0A=09dkim=3Dpass=20header.d=3Dsender.example=20header.i=3D@e; s=s1",
     Validity.INVALID),
    (b"I =\r\n x=3\r\n B dkim=3dpass@e; s=s1", Validity.INVALID),
    (b"i=a=28b@e; s=s1", Validity.INVALID),
    (b"i=@e; s=s1)", Validity.INVALID),
    (b'i=@e; s=s1; d=a"', Validity.INVALID),
    (b"i=@e; s=s1; h=" + b"a:" * 3000, Validity.VALID),
    (b"i=@e; s=s1; h=" + b"a:" * 6000, Validity.INVALID),
])
def test_a_signature_cannot_write_a_result_through_what_opendkim_says_of_it(tags, state):
    """OpenDKIM writes i= decoded: what follows ``=3B`` in it is a result like its own."""
    signature = b" v=1; a=rsa-sha256; d=evil.example; %b; b=\r\n ab+/\r\n cd==" % tags
    found = verification.from_results(
        [(b"Authentication-Results", PASS), (b"DKIM-Signature", signature)], "mx.host.example",
        "sender.example")
    assert found.state is state
