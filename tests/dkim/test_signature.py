"""Invariant: whatever the octets, either a value or `DkimSyntaxError`."""

import pytest
from hypothesis import given, settings, strategies as st

from chatmaild.dkim import signature as dkim_signature, taglist
from chatmaild.dkim.keyrecord import parse_key_record
from chatmaild.dkim.signature import parse_signature
from chatmaild.dkim.taglist import DkimSyntaxError

HASH = b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
TAGS = {
    b"v": b"1", b"a": b"rsa-sha256", b"d": b"Sender.Example", b"s": b"S1", b"h": b"From : To:Date",
    b"bh": HASH, b"b": b"AA\r\n\tAA",
}


def field(**changes):
    tags = TAGS | {name.encode(): value for name, value in changes.items()}
    return b";".join(b" %s=%s" % item for item in tags.items() if item[1] is not None)


def test_a_signature_and_its_defaults():
    signature = parse_signature(field())
    assert signature.key_name == "s1._domainkey.sender.example"
    assert signature.key_type == "rsa"
    assert (signature.relaxed_headers, signature.relaxed_body) == (False, False)
    assert signature.signed_fields == (b"from", b"to", b"date")
    assert signature.value == b"\0\0\0"
    assert signature.identity_domain == "sender.example"
    assert signature.expiration is None


@pytest.mark.parametrize("value, headers, body", [
    (b"simple", False, False), (b"relaxed", True, False), (b"simple/relaxed", False, True),
    (b"relaxed/relaxed", True, True), (b"relaxed/simple", True, False),
])
def test_canonicalization(value, headers, body):
    signature = parse_signature(field(c=value))
    assert (signature.relaxed_headers, signature.relaxed_body) == (headers, body)


@pytest.mark.parametrize("changes, said", [
    (dict(v=b"2"), "v="), (dict(v=None), "v="),
    (dict(a=b"rsa-sha1"), "a="), (dict(a=b"RSA-SHA256"), "a="),
    (dict(l=b"0"), "l="), (dict(q=b"dns/cert"), "q="),
    (dict(c=b"nofws"), "c="), (dict(c=b"relaxed/relaxed/simple"), "c="),
    (dict(d=b"sender..example"), "d="), (dict(d=None), "d="), (dict(s=b"a b"), "s="),
    (dict(s=b"x" * 250), "d="), (dict(d="köln.example".encode()), "d="),
    (dict(i=b"@other.example"), "i="), (dict(i=b"@xsender.example"), "i="),
    (dict(i=b"sender.example"), "i="),
    (dict(h=b"To:Date"), "From"), (dict(h=b": :"), "From"),
    (dict(t=b"2", x=b"1"), "x="), (dict(x=b"-1"), "x="), (dict(t=b"now"), "t="),
    (dict(bh=b"AAAA"), "bh="), (dict(bh=b"A" * 44), "bh="), (dict(b=b"AAA"), "b="),
    (dict(b=b"=AAA"), "b="), (dict(b=b""), "b="),
    (dict(z=b"x" * 9000), "octets"),
])
def test_unusable_signatures(changes, said):
    with pytest.raises(DkimSyntaxError, match=said):
        parse_signature(field(**changes))


@pytest.mark.parametrize("text", [b"", b";", b"v=1;;a=b", b"v=1; v=1", b"=1", b"v", b"1v=1"])
def test_no_tag_list(text):
    with pytest.raises(DkimSyntaxError):
        parse_signature(text)


@pytest.mark.parametrize("value", [
    b"user@sender.example", b"@sub.sender.example", b"a@b@Sender.example"])
def test_identity_in_the_domain(value):
    assert parse_signature(field(i=value)).identity_domain.endswith("sender.example")


@pytest.mark.parametrize("text, expected", [
    (b" v=1; b=abc; bh=d=", b" v=1; b=; bh=d="),
    (b" v=1;\r\n\tb =\r\n\tab\r\n c \r\n ; t=1", b" v=1;\r\n\tb =; t=1"),
    (b"b=abc", b"b="),
    (b"bb=1; b=x=\r\n y=;", b"bb=1; b=;"),
])
def test_the_value_of_b_goes_with_the_white_space_around_it(text, expected):
    assert taglist.with_empty_value(text, b"b") == expected


@pytest.mark.parametrize("text, domain", [
    (b" v=2; d = A.example ;", "a.example"), (b"x", None), (b"d=a b", None), (b"d=", None),
    (b"d=\xff", None),
])
def test_the_claimed_domain_is_found_in_broken_signatures_too(text, domain):
    assert dkim_signature.claimed_domain(text) == domain


@pytest.mark.parametrize("record", [
    b"p=AAAA", b"v=DKIM1; p=AAAA", b"v=DKIM1;p=AA AA;", b"k=rsa; p=AAAA; s=email; h=sha1:sha256",
    b"v=DKIM1; n=any note; p=AAAA; t=q; s=* : tlsrpt",
])
def test_usable_key_records(record):
    key = parse_key_record(record)
    assert (key.key_type, key.data) == ("rsa", b"\0\0\0")
    assert not key.testing and not key.exact_identity


def test_flags_of_a_key_record():
    key = parse_key_record(b"k=ed25519; t=y:s; p=AAAA")
    assert (key.key_type, key.testing, key.exact_identity) == ("ed25519", True, True)


@pytest.mark.parametrize("record, said", [
    (b"v=DKIM1; p=", "revoked"), (b"v=DKIM2; p=AAAA", "v="), (b"v=DKIM1", "p="),
    (b"v=spf1 -all", "tag=value|v="), (b"k=x509; p=AAAA", "k="), (b"h=sha1; p=AAAA", "h="),
    (b"s=tlsrpt; p=AAAA", "s="), (b"p=A", "p="), (b"p=AAAA; p=AAAA", "twice"), (b"", "p="),
    (b"p=" + b"A" * 5000, "octets"),
])
def test_unusable_key_records(record, said):
    with pytest.raises(DkimSyntaxError, match=said):
        parse_key_record(record)


PIECES = [name + b"=" for name in [*TAGS, b"c", b"i", b"l", b"q", b"t", b"x", b"k", b"p", b"n"]]
PIECES += [*TAGS.values(), b";", b"; ", b":", b"\r\n\t", b"=", b"AAAA", b"\xff", b"relaxed/simple"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join) | st.binary(max_size=60))
def test_a_value_or_our_error(text):
    dkim_signature.claimed_domain(text)
    for parse in (parse_signature, parse_key_record):
        try:
            parse(text)
        except DkimSyntaxError as error:
            assert str(error).isascii()
