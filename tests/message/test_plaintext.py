"""The bounds that tell text from noise are bounds: computed here again, by other means."""

import math
import os
from base64 import b64encode

import pytest
from hypothesis import given, settings, strategies as st

from chatmaild.message import plaintext


def test_likelihood_ratio_is_one_of_a_distribution():
    """Then Markov's inequality holds: noise reaches 80 bits with less than 2**-80."""
    total = sum(2 ** ((weight - plaintext.ZERO) / 8) / 256 for weight in plaintext.WEIGHTS)
    assert total <= 1


def test_distinct_values_bound_by_exact_arithmetic():
    for n in (49, 100, 384, 768):
        k = plaintext.DISTINCT_LIMITS[n]
        # C(256,k) k**n / 256**n < 2**-80, in whole numbers; and k is not timid
        assert math.comb(256, k) * k ** n << 80 < 256 ** n
        assert math.comb(256, k + 1) * (k + 1) ** n << 80 >= 256 ** n


def test_share_of_letters_bound_by_the_exact_binomial_tail():
    for limits, letters in ((plaintext.LOWER_LIMITS, 26), (plaintext.LETTER_LIMITS, 52)):
        for n in (100, 300, 1024):
            tail = sum(math.comb(n, m) * letters ** m * (64 - letters) ** (n - m)
                       for m in range(limits[n], n + 1))
            assert tail << 80 < 64 ** n


def test_runs_and_short_bodies_bound():
    assert 99 ** 72 << 98 < 256 ** 72
    assert 99 ** 49 << 67 < 256 ** 49
    assert len(plaintext.TEXT) <= 99


@given(st.binary(min_size=1, max_size=5000), st.lists(st.integers(1, 900), max_size=20),
       st.integers(0, 5))
def test_a_sampler_does_not_depend_on_where_octets_are_cut(octets, cuts, offset):
    whole, pieces = plaintext.Sampler(), plaintext.Sampler()
    whole.feed(octets, offset)
    at = 0
    for cut in cuts:
        pieces.feed(octets[at:at + cut], offset + at)
        at += cut
    pieces.feed(octets[at:], offset + at)
    whole.finish()
    pieces.finish()
    assert whole.text_at == pieces.text_at


@given(st.lists(st.integers(1, 900), max_size=30), st.lists(st.integers(1, 1600), max_size=6))
def test_a_sampler_tells_where_text_begins_among_lengths(cuts, pieces):
    """Between the pieces of a body in partial lengths is an octet that is not fed."""
    octets = bytes(os.urandom(1000)) + b"The meeting is at noon. " * 100
    ends = {sum(pieces[:count]) for count in range(1, len(pieces) + 1)}
    places = [at + sum(end <= at for end in ends) for at in range(len(octets))]
    found = set()
    for extra in ((), {sum(cuts[:count]) for count in range(1, len(cuts) + 1)}):
        sampler, at = plaintext.Sampler(), 0
        for end in sorted(ends.union(extra, [len(octets)])):
            sampler.feed(octets[at:end], places[at] if at < len(octets) else 0)
            at = min(end, len(octets))
        found.add(sampler.text_at)
    assert found == {places[plaintext.WINDOW]}


@pytest.mark.parametrize("width", [4, 32, 60, 64, 72, 76])
@given(st.integers(0, 40), st.integers(0, 120))
@settings(max_examples=30, deadline=None)
def test_text_in_whole_lines_is_found_where_it_begins(width, before, inside):
    octets = width // 4 * 3
    needed = plaintext.lines_needed(width)
    text = (b"The meeting is at noon. " * 20)[:needed * octets + inside]
    data = b"\xff" * (before * octets) + text + b"\xff" * 200
    data = data[:len(data) // octets * octets]
    lines = b"".join(b64encode(data[at:at + octets]) + b"\r\n"
                     for at in range(0, len(data), octets))
    assert plaintext.find_lines_of_text(lines, width) == before


def test_lines_of_noise_are_no_text():
    assert 99 ** 96 << 131 < 256 ** 96
    noise = b"".join(b64encode(os.urandom(48)) + b"\r\n" for _ in range(20_000))
    assert plaintext.find_lines_of_text(noise, 64) == -1


def test_noise_passes():
    for length in range(0, plaintext.WINDOW + 1, 7):
        assert not plaintext.is_text(os.urandom(length), length)
    assert not plaintext.has_text_run(os.urandom(1 << 20))
