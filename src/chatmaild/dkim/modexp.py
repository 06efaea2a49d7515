"""Modular exponentiation by OpenSSL, for RSA: seven times faster than Python's own `pow`.

The functions are in the libcrypto that hashlib loads anyway, so they cost no memory. Their names
and types have not changed since OpenSSL 1.0. The calls keep Python's lock: on the one CPU of a
filter, handing it over nine times for each signature would cost more than it could gain.
"""

import ctypes
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_void_p
from typing import Any

import _hashlib  # type: ignore[import]    # a part of CPython without types

_library = ctypes.PyDLL(_hashlib.__file__)   # also finds the symbols of libraries it is linked with


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = _library[name]
    function.restype, function.argtypes = result, arguments
    return function


_new = _function("BN_bin2bn", c_void_p, c_char_p, c_int, c_void_p)
_free = _function("BN_free", None, c_void_p)
_new_context = _function("BN_CTX_new", c_void_p)
_free_context = _function("BN_CTX_free", None, c_void_p)
_power = _function("BN_mod_exp", c_int, *[c_void_p] * 5)
_to_octets = _function("BN_bn2binpad", c_int, c_void_p, c_char_p, c_int)


def power(base: bytes, exponent: bytes, modulus: bytes) -> bytes:
    """``base ** exponent % modulus``, all of them big-endian; the result is as long as `modulus`.

    `modulus` must be odd. Not for secret numbers: the time that it takes depends on them.
    """
    result = ctypes.create_string_buffer(len(modulus))
    context = _new_context()
    numbers = [_new(octets, len(octets), None) for octets in (b"", base, exponent, modulus)]
    try:
        if not (context and all(numbers) and _power(*numbers, context)
                and _to_octets(numbers[0], result, len(modulus)) == len(modulus)):
            raise MemoryError("modular exponentiation")
    finally:
        for number in numbers:
            _free(number)
        _free_context(context)
    return result.raw
