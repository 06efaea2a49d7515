"""Pins what is used of dkimpy, below its documented interface."""

import hashlib

import dkimkit
import pytest
from hypothesis import given, settings, strategies as st

from chatmaild.dkim import crypto
from chatmaild.dkim.keyrecord import KeyRecord, parse_key_record
from chatmaild.dkim.taglist import DkimSyntaxError


@pytest.mark.parametrize("relaxed, name, value, expected", [
    (False, b"A", b" X", b"A: X\r\n"),
    (False, b"B ", b" Y\t\r\n\tZ  ", b"B : Y\t\r\n\tZ  \r\n"),
    (True, b"A", b" X", b"a:X\r\n"),
    (True, b"B ", b" Y\t\r\n\tZ  ", b"b:Y Z\r\n"),
    (True, b"Subject", b"", b"subject:\r\n"),
    (True, b"Subject", b" \xff\xfe", b"subject:\xff\xfe\r\n"),
    (True, b"A", b" \x0bx \t\x0c\t", b"a:\x0bx \x0c\r\n"),
    (True, b"A", b" x\r", b"a:x\r\r\n"),
])
def test_canonical_header(relaxed, name, value, expected):
    """The examples of RFC 6376 section 3.4.5, and some more."""
    assert crypto.canonical_headers(relaxed, [(name, value)] * 2) == expected * 2


def key_of(signer, bits=1024):
    return crypto.public_key(parse_key_record(signer.record), bits)


@pytest.mark.parametrize("bits", [1024, 2048])
def test_length_of_an_rsa_key(bits):
    signer = dkimkit.rsa(bits)
    assert key_of(signer, bits).bits == bits
    with pytest.raises(DkimSyntaxError, match=f"{bits} bits"):
        key_of(signer, bits + 1)


def test_an_rsa_key_without_its_envelope():
    """RFC 6376 errata 3017: some publish the bare RSAPublicKey."""
    record = parse_key_record(dkimkit.rsa().record)
    bare = KeyRecord("rsa", record.data[24:], False, False)
    assert crypto.public_key(bare, 1024) == crypto.public_key(record, 1024)


def der(modulus, exponent):
    def integer(number):
        data = number.to_bytes(number.bit_length() // 8 + 1, "big")
        return b"\x02\x82" + len(data).to_bytes(2, "big") + data
    body = integer(modulus) + integer(exponent)
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("modulus, exponent", [
    (1 << 9000 | 1, 65537), (1 << 2047 | 1, 1), (1 << 2047 | 1, 1 << 1024 | 1), (1 << 2047 | 1, 4),
    (1 << 2047, 65537),
])
def test_keys_that_cost_time_or_are_none(modulus, exponent):
    with pytest.raises(DkimSyntaxError, match="unusual"):
        crypto.public_key(KeyRecord("rsa", der(modulus, exponent), False, False), 1024)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 300), st.binary(max_size=4))
def test_broken_keys_are_our_error(noise, cut, patch):
    good = parse_key_record(dkimkit.rsa().record).data
    for data in (noise, good[:cut] + patch + good[cut + len(patch):], good[:cut]):
        for kind in ("rsa", "ed25519"):
            try:
                key = crypto.public_key(KeyRecord(kind, data, False, False), 1024)
                crypto.verify(key, hashlib.sha256(b""), noise)
            except DkimSyntaxError:
                pass


@pytest.mark.parametrize("signer", [dkimkit.rsa, dkimkit.ed25519])
def test_signatures_of_the_wrong_length_are_not_valid(signer):
    key = key_of(signer())
    for length in (0, 1, 63, 64, 65, 255, 256, 257):
        assert not crypto.verify(key, hashlib.sha256(b""), b"\1" * length)
