"""Modular powers are those of `pow`."""

from hypothesis import given, strategies as st

from chatmaild.dkim import modexp


def octets(number, size=None):
    return number.to_bytes(size or number.bit_length() // 8 + 1, "big")


@given(st.integers(0, 1 << 2100), st.integers(0, 1 << 40), st.integers(0, 1 << 2048))
def test_equals_pow(base, exponent, half):
    modulus = 2 * half + 1
    found = modexp.power(octets(base), octets(exponent), octets(modulus))
    assert found == octets(pow(base, exponent, modulus), len(octets(modulus)))
