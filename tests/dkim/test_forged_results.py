"""Authentication-Results forged through a real OpenDKIM, by who owns a domain and its key.

Invariant: no message from evil.example makes the filter take it for one from sender.example,
whatever fields it brings and whatever OpenDKIM can be made to write.
"""

import os
import re
from pathlib import Path

import dkimkit
import opendkim
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from chatmaild.dkim.verification import Validity, from_results

HOST = "mx.example.org"
KEY = dkimkit.rsa(1024)
FROM = b"From: alice@sender.example"
PASS = b"dkim=pass header.d=sender.example"

pytestmark = pytest.mark.skipif(
    not Path(opendkim.DAEMON).exists() and not os.environ.get("CI"),
    reason="needs the package opendkim")


@pytest.fixture(scope="module")
def verified(tmp_path_factory):
    directory = tmp_path_factory.mktemp("opendkim")
    with opendkim.verifier(directory, directory / "milter.sock", HOST) as publish:
        publish({f"s1._domainkey.{domain}": KEY.record
                 for domain in ("sender.example", "evil.example")})
        yield lambda message: opendkim.sign(directory / "milter.sock", message)


def state(message):
    """What the filter makes of it. A line that OpenDKIM broke off is a field of its own, or none.
    """
    lines = re.split(rb"\r\n(?![ \t])", message.partition(b"\r\n\r\n")[0])
    fields = [tuple(line.split(b":", 1)) for line in lines if b":" in line]
    return from_results(fields, HOST, "sender.example").state


NAMES = [b"Authentication-Results", b"authentication-results", b"Authentication-Results ",
         b"Authentication-Results\t", b"ARC-Authentication-Results"]
PLACES = [b"mx.example.org", b"MX.Example.Org", b"(x) mx.example.org", b"mx.example.org(x)",
          b'"mx.example.org"', b"mx.example.org 1", b"mx.example.org (x) 1", b"mx.example.org.",
          b"\r\n\tmx.example.org\r\n", b"\xc2\xa0mx.example.org", b"\x0bmx.example.org",
          b"mx.example.org\x0b", b"other.example", b"mx.example.org/1",
          b"=?utf-8?q?mx.example.org?="]
BETWEEN = [b"; ", b";\r\n\t", b" ; ", b";;", b" 1; ", b" ", b"\r\n ;"]
IDENTITIES = [
    b"@evil.example", b"x@evil.example", b"x@a.evil.example",
    b"x@evil.example=3B=09" + PASS.replace(b" ", b"=20").replace(b"=pass", b"=3Dpass").replace(
        b"d=sender", b"d=3Dsender") + b"=20header.i=3D@evil.example",
    b"=3B=20dkim=3Dpass=20header.d=3Dsender.example=3B@evil.example",
    b"a=0D=0A=20=3Bdkim=3Dpass=20header.d=3Dsender.example@evil.example",
    b"x=0AAuthentication-Results:=20mx.example.org=3B=20" + PASS.replace(b" ", b"=20").replace(
        b"=pass", b"=3Dpass").replace(b"d=sender", b"d=3Dsender") + b"=3B@evil.example",
    b"=28=29@evil.example", b"x=22=3B@evil.example", b"x=0Ay@evil.example",
]

forged = st.builds(lambda name, place, between, result: name + b": " + place + between + result,
                   st.sampled_from(NAMES), st.sampled_from(PLACES), st.sampled_from(BETWEEN),
                   st.sampled_from([PASS, PASS + b" header.i=@sender.example", b"none; " + PASS]))


def by_evil(identity, *lines):
    """A message of evil.example's, its signature valid, under a From that is not its own."""
    field = (b" v=1; a=rsa-sha256; d=evil.example; s=s1; i=" + identity
             + b"; h=from; bh=BH; b=")
    signature = dkimkit.sign_by_hand(KEY, field, [FROM], b"hello\r\n")
    return b"\r\n".join([*lines, signature, FROM, b"To: bob@chat.example"]) + b"\r\n\r\nhello\r\n"


@settings(max_examples=300, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture,
                                 HealthCheck.too_slow])
@given(st.sampled_from(IDENTITIES), st.lists(forged, max_size=4))
@example(IDENTITIES[3], [])
@example(IDENTITIES[0], [b"Authentication-Results: mx.example.org; " + PASS] * 3)
@example(IDENTITIES[0], [b"Authentication-Results: mx.example.org; " + PASS, b"X-Odd : y"])
def test_nobody_is_believed_to_be_another(verified, identity, lines):
    assert state(verified(by_evil(identity, *lines))) is not Validity.VALID


def test_the_owner_of_the_domain_is(verified):
    signed = dkimkit.sign(dkimkit.MESSAGE, KEY)
    assert state(verified(signed)) is Validity.VALID
    assert state(verified(signed.replace(b"Two", b"2"))) is Validity.INVALID


def test_opendkim_can_be_made_to_write_it(verified):
    """Else the above would prove nothing."""
    assert PASS in verified(by_evil(IDENTITIES[3]))
