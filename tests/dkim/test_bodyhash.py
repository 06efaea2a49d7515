"""Invariant: whatever the octets and however they are cut, the hash is the one dkimpy computes."""

import base64
import hashlib
import random

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import example, given, settings, strategies as st

from chatmaild.dkim.bodyhash import BodyHash

ALGORITHMS = [(False, Simple), (True, Relaxed)]
PIECES = [b"\r", b"\n", b"\r\n", b" ", b"\t", b"  ", b"a", b"=20", b"\0", b"\x0b", b"\xff",
          b" \r\n"]


def streamed(relaxed, chunks):
    body = BodyHash(relaxed)
    for chunk in chunks:
        body.update(chunk)
    return body.digest()


def expected(algorithm, body):
    return hashlib.sha256(algorithm.canonicalize_body(body)).digest()


@settings(max_examples=600, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), max_size=6))
@example([b"\r\n", b"\n", b"\r", b"\n"])
@example([b"a \r", b"\n"])
@example([b" ", b"\t", b"\r", b"\r\n"])
def test_equals_dkimpy_for_awkward_pieces(chunks):
    for relaxed, algorithm in ALGORITHMS:
        assert streamed(relaxed, chunks) == expected(algorithm, b"".join(chunks))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_equals_dkimpy_for_any_octets_and_cuts(body, cuts):
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[a:b] for a, b in zip(edges, edges[1:])]
    for relaxed, algorithm in ALGORITHMS:
        assert streamed(relaxed, chunks) == expected(algorithm, body)


@pytest.mark.parametrize("relaxed, algorithm", ALGORITHMS)
def test_byte_by_byte(relaxed, algorithm):
    rng = random.Random(5)
    body = b"".join(rng.choices(PIECES, k=4000))
    assert streamed(relaxed, [body[i:i + 1] for i in range(len(body))]) == expected(algorithm, body)


@pytest.mark.parametrize("relaxed, value", [
    (False, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
    (True, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
])
def test_empty_body(relaxed, value):
    """The values of RFC 6376 sections 3.4.3 and 3.4.4."""
    assert base64.b64encode(streamed(relaxed, [])).decode() == value
    assert base64.b64encode(streamed(relaxed, [b"\r\n\r", b"\n"])).decode() == value


@pytest.mark.parametrize("filler, relaxed_form", [
    (b"\r\n", b"\r\n"), (b" \r\n", b"\r\n"), (b"\r", b"\r"),
    (b"\n", b"\n"), (b" ", b""), (b"\t ", b""),
])
def test_hostile_runs_take_no_longer_than_ordinary_text(filler, relaxed_form):
    """Long runs of what is held back or reduced: the work stays linear, so this ends at once."""
    count, chunks = 20_000, 40
    body = filler * count * chunks
    for relaxed, canonical in [(False, body), (True, relaxed_form * count * chunks or b" ")]:
        got = streamed(relaxed, [filler * count] * chunks + [b"x"])
        assert got == hashlib.sha256(canonical + b"x\r\n").digest()
