"""Makes password hashes in Dovecot's form, by the system's libcrypt.

Python 3.13 has no crypt module any more, so this calls libcrypt (libxcrypt in Debian) through
ctypes, which lets other threads run meanwhile.
"""

import ctypes
import functools

from chatmaild.accounts.signup import MAX_PASSWORD
from chatmaild.errors import ChatmaildError

_DATA_SIZE = 32_768     # struct crypt_data of libxcrypt, crypt.h
_SALT_SIZE = 192        # CRYPT_GENSALT_OUTPUT_SIZE


@functools.cache
def _libcrypt() -> ctypes.CDLL:
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            library = ctypes.CDLL(name, use_errno=True)
            break
        except OSError:
            continue
    else:
        raise ChatmaildError("libcrypt.so.1 cannot be loaded: install the package libcrypt1")
    library.crypt_gensalt_rn.restype = ctypes.c_char_p
    library.crypt_gensalt_rn.argtypes = (
        ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p,
        ctypes.c_int,
    )
    library.crypt_r.restype = ctypes.c_char_p
    library.crypt_r.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)
    return library


def hash_password(password: bytes) -> str:
    """Return ``{SHA512-CRYPT}$6$...`` with a fresh salt. Takes about 2 ms; other threads run.

    Raises ValueError if `password` has more than `MAX_PASSWORD` octets, or a NUL. Raises
    `ChatmaildError` if libcrypt fails.
    """
    if len(password) > MAX_PASSWORD or b"\0" in password:
        raise ValueError("not a password that crypt(3) takes")
    library = _libcrypt()
    salt = library.crypt_gensalt_rn(
        b"$6$", 0, None, 0, ctypes.create_string_buffer(_SALT_SIZE), _SALT_SIZE)
    hashed: bytes | None = salt and library.crypt_r(
        password, salt, ctypes.create_string_buffer(_DATA_SIZE))
    if not hashed or not hashed.startswith(b"$6$"):
        raise ChatmaildError("libcrypt made no SHA-512 hash")
    return "{SHA512-CRYPT}" + hashed.decode("ascii")
