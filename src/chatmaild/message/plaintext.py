"""Tells plain text from ciphertext.

Ciphertext is uniformly distributed: every octet value is equally likely and independent of the
others. Each test looks for a property of text that uniform octets have with a probability below
2**-80, which is computed, not guessed. (Below 2**-67 for the one test of very short bodies, which
cannot do better.) A message undergoes at most 2**13 tests, so a genuine one is refused by mistake
with a probability below 2**-64.

run        72 octets in a row out of the 99 of ASCII text (NUL included, for UTF-16). Uniform
           octets do this at a given place with (99/256)**72 < 2**-98, and a message has fewer
           than 2**17 places that are looked at.
distinct   k different values in n octets: at most C(256,k) * (k/256)**n. Text in any charset and
           any simple encoding (UTF-16, Cyrillic, hexadecimal, ROT13, XOR) repeats a small set of
           values.
letters    the share of lower-case letters, or of letters, among the base64 characters, by the
           Chernoff bound: finds words that were spelled in the base64 alphabet itself.
lines      96 octets or more of ASCII text alone, in whole lines of armor.
weight     a likelihood ratio. For any distribution q the sum of log2(256 * q(octet)) exceeds t
           on uniform octets with a probability below 2**-t (Markov's inequality). q resembles
           English text, so that about 26 letters reach 80 bits.
"""

import functools
import math
import operator
from binascii import a2b_base64, b2a_base64

WINDOW = 768
"""Octets that one test looks at; a multiple of three, so that base64 characters line up."""

SMALLEST_BODY = 49
"""Octets from which a body of nothing but ASCII text stands out: (99/256)**49 < 2**-67."""

_BITS = 80
_RUN = 72
TEXT = frozenset(b"\0\t\r\n" + bytes(range(0x20, 0x7F)))
_TEXT_CLASS = bytes(b"."[0] if octet in TEXT else 0 for octet in range(256))
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
# One bit for a letter, another for a lower-case one: the bits of a number are counted in one step.
_LETTER_MARKS = bytes(3 if octet in _LOWER else 1 if octet in _LOWER.upper() else 0
                      for octet in range(256))
_ANY_LETTER = int.from_bytes(b"\1" * (WINDOW // 3 * 4), "little")
_EVERY_OCTET = bytes(range(256))


def _distinct_limits(longest: int) -> tuple[int, ...]:
    """limits[n]: the largest k with C(256, k) * (k / 256)**n < 2**-_BITS, or 0."""
    choose = [math.log2(math.comb(256, k)) for k in range(257)]
    step = [0.0] + [math.log2(k / 256) for k in range(1, 257)]
    limits, k = [], 0
    for n in range(longest + 1):
        while choose[k + 1] + n * step[k + 1] < -_BITS:
            k += 1
        limits.append(k)
    return tuple(limits)


def _share_limits(share: float, longest: int) -> tuple[int, ...]:
    """limits[n]: the smallest m with P(m or more of n) < 2**-_BITS by the Chernoff bound
    2**(-n * D(m/n || share)) if each has the probability `share`; n + 1 if there is none."""
    limits, m = [], 0
    for n in range(longest + 1):
        m = max(m, math.ceil(share * n))
        while m <= n and n * _divergence(m / n if n else 0, share) <= _BITS:
            m += 1
        limits.append(m)
    return tuple(limits)


def _divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two coins, in bits."""
    return (p * math.log2(p / q) if p else 0) + ((1 - p) * math.log2((1 - p) / (1 - q)) if p < 1
                                                 else 0)


DISTINCT_LIMITS = _distinct_limits(WINDOW)
LOWER_LIMITS = _share_limits(26 / 64, WINDOW // 3 * 4)
LETTER_LIMITS = _share_limits(52 / 64, WINDOW // 3 * 4)


def _weights() -> bytes:
    """The weight of each octet value in eighths of a bit, rounded down, plus ZERO."""
    share = dict.fromkeys(range(256), 0.0004)
    share |= dict.fromkeys(range(0x20), 0.0003)
    share |= dict.fromkeys(range(0x21, 0x7F), 0.0010)
    share |= dict.fromkeys(range(0x41, 0x5B), 0.0020)
    share |= dict.fromkeys(b"bcfgjkmpqvwxyz", 0.0080)
    share |= dict.fromkeys(b"etaoinshrdlu", 0.0450)
    share |= {0: 0.0100, 0x20: 0.1400}
    assert sum(share.values()) <= 1
    return bytes(math.floor(8 * math.log2(256 * share[o])) + ZERO for o in range(256))


ZERO = 40
WEIGHTS = _weights()


def is_text(octets: bytes, offset: int = 0) -> bool:
    """Whether these octets, at most `WINDOW`, are text and not ciphertext.

    `offset` is their place in the decoded base64 data. Only its remainder by three matters: it
    tells where base64 characters begin.
    """
    length = len(octets)
    if length <= SMALLEST_BODY // 2:
        return False
    if 256 - len(_EVERY_OCTET.translate(None, octets)) <= DISTINCT_LIMITS[length]:
        return True
    characters = b2a_base64(octets[-offset % 3:], newline=False)
    count = len(characters)
    marks = int.from_bytes(characters.translate(_LETTER_MARKS), "little")
    letters = (marks & _ANY_LETTER).bit_count()
    if (letters >= LETTER_LIMITS[count]
            or marks.bit_count() - letters >= LOWER_LIMITS[count]):
        return True
    return length < WINDOW and resembles_text(octets)


def resembles_text(octets: bytes) -> bool:
    """Whether the octets are English text beyond doubt, by the likelihood ratio."""
    return sum(octets.translate(WEIGHTS)) - ZERO * len(octets) > 8 * _BITS


def has_text_run(octets: bytes) -> bool:
    """Whether there is a longer run of ASCII text than ciphertext ever has."""
    return _RUN_OF_TEXT in octets.translate(_TEXT_CLASS)


def is_all_text(octets: bytes) -> bool:
    """Whether a short body, of at least `SMALLEST_BODY` octets, is ASCII text throughout."""
    return len(octets) >= SMALLEST_BODY and TEXT.issuperset(octets)


_RUN_OF_TEXT = b"." * _RUN

_LINES = 96
"""Octets of text throughout, in consecutive lines of armor: (99/256)**96 < 2**-131."""

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# 1 for base64 characters which, as the first of a group of four, may begin an octet of text.
_MAY_BEGIN_TEXT = bytes(
    any(_BASE64.find(character) << 2 | low in TEXT for low in range(4)) if character in _BASE64
    else 0 for character in range(256))


def lines_needed(width: int) -> int:
    """How many lines of `width` base64 characters have enough octets to tell text from noise."""
    return -(-_LINES // (width // 4 * 3))


def find_lines_of_text(lines: bytes, width: int) -> int:
    """Where `lines_needed` consecutive lines of nothing but text begin: the number of the first,
    from 0; -1 if there are none. Each line has `width` base64 characters and CRLF.

    This is fast enough for all of a large ciphertext. Four characters of each line, a column at a
    time, tell whether it may be text. In noise one line in thirty remains, then two in a thousand,
    and only those are decoded.
    """
    stride, needed = width + 2, lines_needed(width)
    count = len(lines) // stride
    columns = (lines[width * quarter // 16 * 4::stride].translate(_MAY_BEGIN_TEXT)
               for quarter in range(4))
    marks = functools.reduce(operator.and_, (int.from_bytes(c, "little") for c in columns))
    candidates, searched = marks.to_bytes(count, "little"), b"\1" * needed
    at = candidates.find(searched)
    while at >= 0 and not TEXT.issuperset(a2b_base64(lines[at * stride:(at + needed) * stride])):
        at = candidates.find(searched, at + 1)
    return at


class Sampler:
    """Runs the tests over octets that claim to be ciphertext, wherever they were cut.

    Feed it consecutive pieces; call `gap` where octets are left out. `text_at` is None until text
    is found, then the offset of the first window of it.
    """

    __slots__ = ("text_at", "_start", "_pending", "_before")

    def __init__(self) -> None:
        self.text_at: int | None = None
        self._start = 0
        self._pending = b""
        self._before = b""

    def feed(self, octets: bytes, offset: int) -> None:
        """The next octets, which begin at `offset` of the base64 data."""
        if not self._pending:
            self._start = offset
        pending = self._pending + octets if self._pending else octets
        # A partial length, which is not fed, may lie between the octets of two calls: so count
        # from the offset of these.
        begin = offset - len(self._pending)
        position, last = 0, len(pending) - WINDOW
        # Most have no run of text in any window: that is one search.
        runs = last >= 0 and has_text_run(self._before[-_RUN:] + pending)
        while position <= last:
            window = pending[position:position + WINDOW]
            self._test(window, self._start, runs)
            self._before = window
            position += WINDOW
            self._start = begin + position
        self._pending = pending[position:]

    def gap(self) -> None:
        """The next octets do not follow the last ones."""
        if self._pending:
            self._test_rest()
            self._pending = b""
        self._before = b""

    def finish(self) -> None:
        """The data is over: test what is left, together with the octets before it."""
        if self._pending:
            self._test_rest()

    def _test_rest(self) -> None:
        rest = (self._before + self._pending)[-WINDOW:]
        offset = self._start - (len(rest) - len(self._pending))
        self._test(rest, offset)
        if self.text_at is None and not self._before and is_all_text(rest):
            self.text_at = offset

    def _test(self, window: bytes, offset: int, runs: bool = True) -> None:
        """`runs`: there may be a run of text in it."""
        # A run may cross the border of two windows.
        if self.text_at is None and (
                is_text(window, offset)
                or runs and has_text_run(self._before[-_RUN:] + window)):
            self.text_at = offset
