"""The corners of RFC 6376, RFC 8463 and RFC 8301: one row, one rule, through the whole check.

The signatures are made here by hand, header simple, so that each may hold what no signer writes.
"""

import base64
import hashlib

import dkimkit
import pytest
from dkimcheck import NAME, NOW, check

from chatmaild.dkim.verification import CLOCK_DRIFT, DkimCheck
from chatmaild.filter import incoming

KEY = dkimkit.ed25519()
RECORD = KEY.record
PUBLIC = RECORD.partition(b"p=")[2]
FROM = b"From: alice@sender.example"
TO = b"To: bob@chat.example"
TAGS = {"v": b"1", "a": b"ed25519-sha256", "d": b"sender.example", "s": b"s1", "h": b"from:to",
        "bh": b"", "b": b""}


def field(hashed=(FROM, TO), body=b"hello\r\n", *, text=None, fold=b"", **changes):
    """A DKIM-Signature field over the lines `hashed` and a body that is canonical already.
    `changes` are tags, None to leave one out; `text` is the field instead; `fold` goes in the
    middle of b= and bh=."""
    body_hash = base64.b64encode(hashlib.sha256(body).digest())
    tags = TAGS | {"bh": body_hash[:9] + fold + body_hash[9:], "b": fold} | changes
    if text is None:
        text = b";".join(b" %s=%s" % (name.encode(), value)
                         for name, value in tags.items() if value is not None)
    return dkimkit.sign_by_hand(KEY, text, hashed, body)


def message(*lines, body=b"hello\r\n"):
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def code(*lines, records=(RECORD,), **options):
    return check(message(*lines), {NAME: records}, **options).code


D = b" d=sender.example; s=s1; h=from:to;"
A = b" v=1; a=ed25519-sha256;"


@pytest.mark.parametrize("options, expected", [
    (dict(), "valid"),                                      # c= missing is simple/simple
    (dict(fold=b"\r\n\t "), "valid"),
    (dict(fold=b" "), "valid"),
    (dict(text=A + D + b" bh=BH; b=;"), "valid"),
    (dict(text=A + D + b" bh=\r\n BH\r\n\t;\r\n\tb =;\r\n t=1"), "valid"),
    (dict(text=A + D + b" bh=BH; x_own=\xff; b="), "valid"),
    (dict(text=A + A + D + b" bh=BH; b="), "signature-unusable"),           # twice
    (dict(text=A + D + b" bh=BH; Bh=x; b="), "valid"),      # names differ by case
    (dict(text=A + D + b" bh=BH; d=sender.example; b="), "signature-unusable"),
    (dict(text=A + b" d=other.example;" + D + b" bh=BH; b="), "not-aligned"),
    (dict(v=b"0.5"), "signature-unusable"), (dict(v=None), "signature-unusable"),
    (dict(a=b"rsa-sha1"), "signature-unusable"),            # RFC 8301
    (dict(a=b"ed25519-sha512"), "signature-unusable"),
    (dict(a=b"rsa-sha256"), "key-unusable"),
    (dict(q=b"dns/txt"), "valid"), (dict(q=b"http:dns/txt"), "valid"),
    (dict(q=b"http"), "signature-unusable"),
    (dict(i=b"@sender.example"), "valid"), (dict(i=b"any=20one@a.b.Sender.Example"), "valid"),
    (dict(i=b"@notsender.example"), "signature-unusable"), (dict(i=b""), "signature-unusable"),
    (dict(i=b"@example"), "signature-unusable"),
    (dict(d=b"Sender.EXAMPLE"), "valid"), (dict(d=b"example"), "not-aligned"),
    (dict(d=b"sender.example."), "not-aligned"),
    (dict(h=b"to", hashed=(TO,)), "signature-unusable"),
    (dict(h=b"", hashed=()), "signature-unusable"),
    (dict(h=b"From \r\n : TO"), "valid"),
    (dict(h=b"from:to:from:subject:from"), "valid"),        # over-signed and absent
    (dict(h=b"to:from", hashed=(TO, FROM)), "valid"),
    (dict(h=b"from:to:dkim-signature"), "valid"),           # itself is not among them
    (dict(t=b"%d" % NOW), "valid"), (dict(t=b"%d" % (NOW + CLOCK_DRIFT)), "valid"),
    (dict(t=b"%d" % (NOW + CLOCK_DRIFT + 1)), "signature-in-future"),
    (dict(t=b"999999999999"), "signature-in-future"),
    (dict(t=b"1000000000000"), "signature-in-future"),
    (dict(t=b"9" * 5000), "signature-in-future"), (dict(x=b"9" * 5000), "valid"),
    (dict(x=b"1000000000000"), "valid"), (dict(x=b"0" * 50 + b"7"), "signature-expired"),
    (dict(h=b"from:: :to:"), "valid"), (dict(h=b"from:t o:to"), "valid"),
    (dict(x=b"%d" % (NOW - CLOCK_DRIFT)), "valid"),
    (dict(x=b"%d" % (NOW - CLOCK_DRIFT - 1)), "signature-expired"),
    (dict(t=b"7", x=b"7"), "signature-unusable"), (dict(t=b"8", x=b"7"), "signature-unusable"),
    (dict(c=b"simple"), "valid"), (dict(c=b"simple/relaxed"), "valid"),
    (dict(c=b"Simple"), "signature-unusable"), (dict(l=b"7"), "signature-unusable"),
    (dict(body=b"other\r\n"), "body-hash"),
    (dict(hashed=(TO, FROM)), "signature-wrong"),
])
def test_signature(options, expected):
    assert code(field(**options), FROM, TO) == expected


@pytest.mark.parametrize("lines", [
    (FROM, FROM, TO), (FROM, TO, b"Subject: added"), (FROM, TO, b"Subject : added"),
    (FROM, TO, b"subject\t: added"),
])
def test_over_signed_fields_cannot_be_added(lines):
    signature = field(h=b"from:from:to:subject")
    assert code(signature, FROM, TO) == "valid"
    assert code(signature, *lines) == "signature-wrong"


def test_repeated_fields_are_taken_from_the_bottom():
    first, second = b"Received: first", b"Received: second"
    signature = field((second, FROM, first), h=b"received:from:received")
    assert code(signature, first, FROM, second) == "valid"
    assert code(signature, second, FROM, first) == "signature-wrong"
    alone = field((second, FROM), h=b"received:from")
    assert code(b"Received: later", alone, first, FROM, second) == "valid"


def test_an_earlier_signature_can_be_signed_but_not_the_own_one():
    earlier = field()
    later = field((FROM, earlier), h=b"from:dkim-signature:dkim-signature", s=b"s2")
    keys = {NAME: (), "s2._domainkey.sender.example": (RECORD,)}
    assert check(message(later, earlier, FROM, TO), keys).code == "valid"


def test_the_aligned_signature_may_be_the_last_of_many():
    others = [field(d=b"list%d.example" % number) for number in range(30)]
    assert code(*others, field(), FROM, TO) == "valid"
    assert code(*others, field(hashed=()), field(v=b"2"), field(), FROM, TO) == "valid"


def test_from_the_future_counts_only_if_it_is_right_otherwise():
    later = dict(t=b"%d" % (NOW + 9999))
    assert code(field(**later, body=b""), FROM, TO) == "body-hash"
    assert code(field(**later, hashed=()), FROM, TO) == "signature-wrong"
    assert code(field(**later), FROM, TO, records=()) == "no-key"
    assert code(field(**later), FROM, TO, now=NOW + 9999) == "valid"


@pytest.mark.parametrize("records, expected", [
    ((b"p=" + PUBLIC,), "key-unusable"),                    # k= missing is rsa
    ((b"k=ed25519; p=" + PUBLIC,), "valid"),
    ((b"p=" + PUBLIC + b"; k=ed25519",), "valid"),
    ((b"v=DKIM1; k=rsa; p=" + PUBLIC,), "key-unusable"),
    ((RECORD.replace(b"DKIM1", b"DKIM2"),), "key-unusable"),
    ((RECORD.replace(b"DKIM1", b"dkim1"),), "key-unusable"),
    ((RECORD + b"; h=sha256",), "valid"), ((RECORD + b"; h=sha1 : sha256",), "valid"),
    ((RECORD + b"; h=sha1",), "key-unusable"), ((RECORD + b"; h=sha512",), "key-unusable"),
    ((RECORD + b"; s=email",), "valid"), ((RECORD + b"; s=tlsrpt:*",), "valid"),
    ((RECORD + b"; s=tlsrpt",), "key-unusable"),
    ((RECORD + b"; t=y",), "valid"), ((RECORD + b"; t=y:s",), "valid"),
    ((RECORD + b"; g=bob; n=old=20tags",), "valid"),
    ((b"v=DKIM1; k=ed25519; p=",), "key-unusable"),         # revoked
    ((RECORD + b"; p=" + PUBLIC,), "key-unusable"), ((RECORD + b";;",), "key-unusable"),
    ((RECORD[:-9],), "key-unusable"),
    ((b"",), "key-unusable"), ((b"v=spf1 -all",), "key-unusable"),
    ((b"v=spf1 -all", RECORD), "valid"), ((RECORD, b"v=DKIM1; p="), "valid"),
    ((dkimkit.rsa().record, RECORD), "valid"), ((RECORD, dkimkit.rsa().record), "valid"),
    ((b"k=ed25519; p=" + base64.b64encode(bytes(32)), RECORD), "valid"),
    ((b"k=ed25519; p=" + base64.b64encode(bytes(32)), b""), "signature-wrong"),
    ((), "no-key"), (None, "dns-trouble"),
])
def test_key_records(records, expected):
    for order in (records, records and records[::-1]):
        assert code(field(), FROM, TO, records=order) == expected


def test_the_flag_s_wants_the_domain_itself():
    for identity, expected in [(None, "valid"), (b"x@Sender.example", "valid"),
                               (b"@a.sender.example", "key-unusable")]:
        assert code(field(i=identity), FROM, TO, records=(RECORD + b"; t=s",)) == expected


@pytest.mark.parametrize("bits, expected", [(768, "key-unusable"), (1024, "valid")])
def test_short_rsa_keys(bits, expected):
    signed = dkimkit.sign(dkimkit.MESSAGE, dkimkit.rsa(bits))
    assert check(signed, {NAME: (dkimkit.rsa(bits).record,)}).code == expected


@pytest.mark.parametrize("body, canonical, simple", [
    (b"", b"", b"\r\n"), (b"\r\n", b"", b"\r\n"), (b" \t\r\n\r\n", b"", b" \t\r\n"),
    (b"a", b"a\r\n", b"a\r\n"), (b"a\r\n\r\n\r\n", b"a\r\n", b"a\r\n"),
    (b"a \t \r\n b\t\tc\r\n \r\n", b"a\r\n b c\r\n", b"a \t \r\n b\t\tc\r\n \r\n"),
    (b"a\r\n\r\n\r\nb \r\n", b"a\r\n\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb \r\n"),
    (b"a\x0b\r\n\x0c\r\n", b"a\x0b\r\n\x0c\r\n", b"a\x0b\r\n\x0c\r\n"),
])
def test_bodies_in_any_chunks(body, canonical, simple):
    for how, hashed in [(b"simple/relaxed", canonical), (b"simple/simple", simple)]:
        signed = message(field(body=hashed, c=how), FROM, TO, body=body)
        for cut in (None, 1, 2, 3):
            assert check(signed, {NAME: (RECORD,)}, cut=cut).code == "valid"


def test_fields_as_postfix_shows_them():
    """Folds as LF; whatever octets and white space there are stay."""
    odd = b"Subject:\tcaf\xe9 \x0b\r\n \t two\t\r\n\tthree \x0c"
    lines = [odd, b"From:alice@sender.example", b"X-Empty:"]
    signature = field(lines, b"\r\n", h=b"subject:from:x-empty", fold=b"\r\n\t")
    shown = []
    for line in (signature, *lines):
        name, _, value = line.partition(b":")
        shown.append((name.decode("ascii"), value.replace(b"\r\n", b"\n")))
    job = DkimCheck(incoming.fields(shown), "sender.example", NOW, 1024)
    job.finish()
    assert job.result({NAME: (RECORD,)}).code == "valid"


def test_internationalized_domains_are_compared_as_a_labels():
    """RFC 8616 section 3. U-labels are taken nowhere, so there is nothing to convert."""
    ascii_form, unicode_form = b"xn--kln-sna.example", "köln.example".encode()
    sender = b"From: alice@" + ascii_form
    key = {"s1._domainkey." + ascii_form.decode(): (RECORD,)}
    for domain, expected in [(ascii_form, "valid"), (unicode_form, "not-aligned")]:
        signed = message(field((sender, TO), d=domain), sender, TO)
        assert check(signed, key, ascii_form.decode()).code == expected
    assert incoming.from_address([("from", b" alice@" + ascii_form)])
    assert incoming.from_address([("from", b" alice@" + unicode_form)]) is None
