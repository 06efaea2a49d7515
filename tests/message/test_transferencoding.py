"""Parts in base64 or quoted-printable are read by the same grammar, and strictly."""

import base64
import quopri

import attacks
import pytest
from hypothesis import given, settings, strategies as st
from openpgpmessages import crlf, headers

from chatmaild.message.reader import ContentKind, MessageReader, ReaderOptions, lower_names

ARMOR = attacks.armor(b"".join(attacks.GOOD_PACKETS))
VERSION = b"Version: 1\r\n"


def encoded(armor=ARMOR, version=VERSION, encoding=b"base64", encode=base64.encodebytes,
            change=lambda lines: lines):
    """The body of a message whose two parts are encoded; `change` is made to the second one."""
    head = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    return b"".join((
        attacks.DELIMITER, b"Content-Type: application/pgp-encrypted\r\n", head, b"\r\n",
        crlf(encode(version)), b"\r\n" * (encoding != b"base64"), attacks.DELIMITER,
        b"Content-Type: application/octet-stream\r\n", head, b"\r\n", change(crlf(encode(armor))),
        b"\r\n" * (encoding != b"base64"), attacks.CLOSING))


def quoted(armor=ARMOR, version=VERSION, change=lambda lines: lines):
    return encoded(armor, version, b"quoted-printable", quopri.encodestring, change)


def content(body, chunk=65535, tolerant=True):
    reader = MessageReader(lower_names(headers()), ReaderOptions(tolerant=tolerant))
    for at in range(0, len(body), chunk):
        reader.feed(body[at:at + chunk])
    return reader.finish()


GOOD = {
    "base64": encoded(), "LF": encoded(ARMOR.replace(b"\r\n", b"\n"), b"Version: 1\n"),
    "no last line end": encoded(ARMOR.rstrip(), b"Version: 1"), "empty version": encoded(version=b""),
    "blank lines within": encoded(b"\n\n" + ARMOR + b"\n\n", b"\nVersion: 1\n\n"),
    "blank lines around": encoded(change=lambda lines: b"\r\n" + lines + b"\r\n\r\n"),
    "narrow": encoded(encode=lambda octets: b"\n".join(
        base64.b64encode(octets[at:at + 45]) for at in range(0, len(octets), 45)) + b"\n"),
    "quoted": quoted(), "quoted lower case": quoted(change=lambda lines: lines.replace(b"=3D", b"=3d")),
    "quoted in full": encoded(encoding=b"Quoted-Printable", encode=lambda octets: b"".join(
        b"=%02X=\r\n" % octet for octet in octets)),
    "soft line ends": quoted(change=lambda lines: lines.replace(b"BEGIN PGP", b"BEGIN=\r\n PGP")),
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_encoded_parts_pass_from_outside_however_they_are_cut(body):
    for chunk in (65535, 997, 61, 2, 1):
        found = content(body, chunk)
        assert found.kind is ContentKind.ENCRYPTED, found
    assert content(body, tolerant=False).kind is ContentKind.CLEARTEXT


def behind(lines):
    return lambda octets: octets + lines


BAD = {
    "text in the version": encoded(version=VERSION + attacks.TEXT),
    "text before the version": encoded(version=attacks.TEXT + b"\n" + VERSION),
    "version twice": encoded(version=VERSION * 2),
    "text before the armor": encoded(attacks.TEXT + b"\n" + ARMOR),
    "text behind the armor": encoded(ARMOR + attacks.TEXT),
    "text in the armor": encoded(ARMOR.replace(b"=AbCd", attacks.TEXT)),
    "text alone": encoded(attacks.TEXT), "nothing": encoded(b""),
    "bare CR": encoded(ARMOR.replace(b"\r\n", b"\r")),
    "NUL": encoded(ARMOR + b"\0"),
    "half the armor": encoded(ARMOR[:300]),
    "two encodings": encoded(base64.encodebytes(ARMOR)),
    "plain text among base64": encoded(change=behind(attacks.TEXT + b"\r\n")),
    "letters among base64": encoded(change=behind(b"MeetMeAtNoon\r\n")),
    "base64 behind padding": encoded(ARMOR + b"\n" * (-len(ARMOR) % 3 + 1),
                                     change=behind(base64.b64encode(attacks.TEXT[:57]) + b"\r\n")),
    "base64 behind a blank line": encoded(change=behind(b"\r\n" + base64.b64encode(b"\n" * 30) + b"\r\n")),
    "blanks in base64": encoded(change=lambda lines: lines.replace(b"\r\n", b" \r\n")),
    "another boundary": encoded(change=behind(b"--other--\r\n")),
    "first delimiter twice": encoded(change=behind(attacks.DELIMITER)),
    "no closing delimiter": encoded().replace(attacks.CLOSING, b""),
    "thousands of tiny lines": encoded(attacks.armor(attacks.pkesk() + attacks.seipd(attacks.noise(9000))), encode=lambda octets: b"\n".join(
        base64.b64encode(octets[at:at + 3]) for at in range(0, len(octets), 3)) + b"\n"),
    "broken escape": quoted(change=lambda lines: lines.replace(b"=3D", b"=3")),
    "no escape": quoted(change=lambda lines: lines.replace(b"=3D", b"=")),
    "blanks behind a line": quoted(change=lambda lines: lines.replace(b"=3D", b"=3D", 1) + b" \t \r\n"),
    "blanks behind a soft line end": quoted(change=lambda lines: lines.replace(b"BEGIN", b"BEGIN= \r\n")),
    "text between soft line ends": quoted(change=behind(b"=\r\n" + attacks.TEXT + b"=\r\n\r\n")),
    "encoded text": quoted(change=behind(b"=4E=6F=6F=6E\r\n")),
    "an encoding that nobody knows": encoded(encoding=b"x-uuencode"),
    "soft line ends without end": quoted(change=behind(b"=\r\n" * 5000)),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_what_a_lenient_reader_would_skip_or_repair_is_refused(body):
    whole = content(body)
    assert whole.kind is ContentKind.CLEARTEXT
    for chunk in (997, 61, 7, 1):
        assert content(body, chunk) == whole


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 4000), st.binary(min_size=1, max_size=40),
       st.integers(1, 200))
def test_the_verdict_does_not_depend_on_where_chunks_are_cut(name, at, inserted, chunk):
    body = GOOD[name][:at] + inserted + GOOD[name][at:]
    assert content(body, chunk) == content(body)
