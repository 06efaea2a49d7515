"""Invariant: what both dkimpy and OpenDKIM take for a valid signature is one for us, and what we
take for one, one of them does; unless doc/incoming.md says otherwise.

Key records, signatures and header fields are drawn as odd as they may be. OpenDKIM is asked where
it decides.
"""

import os
import re
import time
from pathlib import Path

import dkim
import dkimkit
import opendkim
import pytest
from dkimcheck import NAME, check
from hypothesis import HealthCheck, example, given, settings, strategies as st

FROM = b"From: alice@sender.example"
TO = b"To: bob@chat.example"
BODY = b"hello\r\n"
KEY = dkimkit.rsa(1024)
PUBLIC = KEY.record.partition(b"p=")[2]
SIGNATURE = [b" v=1", b" a=rsa-sha256", b" d=sender.example", b" s=s1", b" h=from:to", b" bh=BH",
             b" b="]

# What our documents say that we refuse, or judge by other limits.
RULES = {
    "SHA-1": rb"a\s*=\s*rsa-sha1",
    "l=": rb"(^|;)\s*l\s*=",
    "clocks within 5 minutes": rb"(^|;)\s*[tx]\s*=\s*0*[1-9][0-9]{,11}\s*(;|$)",
}

pytestmark = pytest.mark.skipif(
    not Path(opendkim.DAEMON).exists() and not os.environ.get("CI"),
    reason="needs the package opendkim")

# Drawn alike each time: what it finds must not depend on whose turn it is. More examples find more.
many = settings(max_examples=400, deadline=None, derandomize=True,
                suppress_health_check=[HealthCheck.function_scoped_fixture,
                                       HealthCheck.too_slow])


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    directory = tmp_path_factory.mktemp("opendkim")
    with opendkim.verifier(directory, directory / "milter.sock") as publish:
        def is_valid(message, record):
            publish({NAME: record})
            field = opendkim.sign(directory / "milter.sock", message).removesuffix(message)
            return re.search(rb"\bdkim=pass\b", field) is not None
        yield is_valid


def by_dkimpy(message, record):
    def published(name, timeout=5):
        return record if name.lower() == f"{NAME}.".encode() else None
    try:
        return dkim.verify(message, dnsfunc=published)
    except Exception:   # whatever it raises, it has not found the signature valid
        return False


def assert_agreed(by_opendkim, message, record):
    ours = check(message, {NAME: (record,)}, now=time.time()).code == "valid"
    dkimpy = by_dkimpy(message, record)
    if ours == dkimpy:
        return
    assert ours == by_opendkim(message, record)


def message(field, *lines):
    return b"\r\n".join([field, *(lines or (FROM, TO))]) + b"\r\n\r\n" + BODY


def by_hand(specs):
    return dkimkit.sign_by_hand(KEY, b";".join(specs), (FROM, TO), BODY)


BLANKS = [b" ", b"\t", b"\r\n ", b"\r\n\t", b"\x0b", b"\x0c", b""]
STRAY = [b'"', b'" "', b'\\"', b"\\", b"\\;", b"-", b"_", b".", b"=", b"==", b"\x80", b"'", b"A",
         b"(x)", b",", *BLANKS]
NAMES = [b"v", b"k", b"p", b"n", b"h", b"s", b"t", b"g", b"P", b"x-y", b"a1", b"1a", b"_", b"",
         b"K", b"a b", b"n\xff"]
WORDS = [b"DKIM1", b"rsa", b"RSA", b"sha256", b"sha1:sha256", b"sha256 : sha1", b"*", b"email",
         b"email:x", b"y", b"s", b"y:s", b"", b"a=b", b"=", b'"', b"DKIM2", b"sha256:", b":", b"x"]


def placed(stray, text):
    """`text` with stray pieces at positions of it."""
    for position, piece in stray:
        at = position % (len(text) + 1)
        text = text[:at] + piece + text[at:]
    return text


stray = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(STRAY)), max_size=3)
blank = st.sampled_from(BLANKS)


@st.composite
def records(draw):
    """Key records of one key, written in more and less usual ways."""
    specs = [b"v=DKIM1", b"k=rsa", b"p=" + placed(draw(stray), PUBLIC)]
    for name, word in draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(WORDS)),
                                    max_size=2)):
        specs.insert(draw(st.integers(0, len(specs))), name + b"=" + word)
    kept = [spec for spec in specs if draw(st.integers(0, 7))]
    around = [draw(blank) + spec.replace(b"=", draw(blank) + b"=" + draw(blank), 1) + draw(blank)
              for spec in kept]
    text = b";".join(around) + draw(st.sampled_from([b"", b";", b"; ", b";;", b'"', b'";"']))
    # no octet string of the DNS has a line end here: OpenDKIM is given a file of lines
    return draw(st.sampled_from([b"", b'"', b" "])) + re.sub(rb"[\r\n]", b" ", text)


SIGNED = message(by_hand(SIGNATURE))


@many
@given(records())
@example(KEY.record.replace(b"QAB", b'Q" "AB'))
@example(b'"' + KEY.record.replace(b"; ", b';" "') + b'"')
@example(KEY.record + b'"')
@example(KEY.record.replace(b"QAB", rb"Q\"\ \"AB"))
def test_odd_key_records(verifier, record):
    assert_agreed(verifier, SIGNED, record)


VALUES = [b"1", b"rsa-sha256", b"RSA-SHA256", b"sender.example", b"Sender.Example", b"s1", b"S1",
          b"from:to", b"From : To", b"from::to", b":from:to:", b"from:to:from", b"from:t o:to",
          b"from:\r\n\tto", b"from: :to", b"to:from", b"from", b"relaxed/simple", b"simple",
          b"simple/simple", b"simple/", b"", b"@sender.example", b"@a.sender.example",
          b"x=40y@sender.example", b"sender.example", b"dns/txt", b"dns/txt:http", b"dns",
          b"1000000000000", b"9" * 30, b"99999999999", b"0" * 20, b"-1", b"1.5",
          b"0", b"17", b'"x"', b"a=b", b"b=AAAA"]


@st.composite
def signatures(draw):
    """The parts of a DKIM-Signature between its semicolons."""
    specs = list(SIGNATURE)
    for _ in range(draw(st.integers(0, 2))):
        tag = draw(st.sampled_from([b"i", b"q", b"c", b"x", b"t", b"z", b"v", b"a", b"d", b"s",
                                    b"h", b"H", b"y-z", b"x1", b"1x", b""]))
        specs.insert(draw(st.integers(0, len(specs))), b" " + tag + b"="
                     + draw(st.sampled_from(VALUES)))
    if draw(st.booleans()):
        specs.pop(draw(st.integers(0, len(specs) - 1)))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(specs) - 1))
        specs[at] = placed(draw(stray), specs[at])
    specs = [spec.replace(b"=", draw(blank) + b"=" + draw(blank), 1) for spec in specs]
    return specs + draw(st.sampled_from([[], [b""], [b" "], [b"\r\n "], [b"", b""]]))


# What no server shows as one field: line ends that are no folds, and lines of blanks.
NO_FIELD = re.compile(rb"\r(?!\n)|(?<!\r)\n|\r\n(?![ \t])|\r\n[ \t]*(\r\n|$)")


def is_refused_by_rule(text):
    return any(re.search(rule, text) for rule in RULES.values())


@many
@given(signatures())
@example(SIGNATURE[:4] + [b" h=from::to"] + SIGNATURE[5:])
@example(SIGNATURE[:6] + [b" x=1000000000000"] + SIGNATURE[6:])
@example(SIGNATURE[:6] + [b" x=" + b"9" * 30] + SIGNATURE[6:])
@example(SIGNATURE[:6] + [b" z-z=1"] + SIGNATURE[6:])
@example(SIGNATURE[:5] + [b" bh=BH===="] + SIGNATURE[6:])
@example(SIGNATURE[:5] + [b' bh="BH"'] + SIGNATURE[6:])
def test_odd_signatures(verifier, specs):
    field = by_hand(specs)
    if NO_FIELD.search(field) or is_refused_by_rule(b";".join(specs)):
        return
    assert_agreed(verifier, message(field), KEY.record)


LINES = [FROM, TO, b"to: z", b"TO:bob@chat.example", b"Subject: x", b"X-None:", b"x-none : z",
         b"From : x@y.zz", b"To:  bob@chat.example ", b"To: bob@chat.example\r\n\t", b"To:\tz"]


@many
@given(st.sampled_from([b"simple/simple", b"simple/relaxed", b"relaxed/simple",
                        b"relaxed/relaxed"]),
       st.lists(st.sampled_from([b"from", b"to", b"subject", b"x-none"]), max_size=6),
       st.lists(st.sampled_from(LINES), max_size=4))
def test_odd_header_fields(verifier, canonical, names, lines):
    signed = dkimkit.sign(message(FROM, TO, b"Subject: y"), KEY, canonical=canonical,
                          include_headers=[b"from", *names])
    head = [signed.partition(b"\r\nFrom:")[0], FROM, *lines]
    text = message(*head)
    if text.lower().count(b"\r\nfrom") > 1:
        return      # exactly one From, says the document
    assert_agreed(verifier, text, KEY.record)


def test_the_others_are_asked(verifier):
    """The three agree about what is good and what is not, or the above would prove nothing."""
    changed = SIGNED.replace(b"hello", b"hallo")
    for text, record, valid in [(SIGNED, KEY.record, True), (changed, KEY.record, False),
                                (SIGNED, dkimkit.rsa(2048).record, False)]:
        assert verifier(text, record) == by_dkimpy(text, record) == valid
        assert (check(text, {NAME: (record,)}, now=time.time()).code == "valid") == valid
