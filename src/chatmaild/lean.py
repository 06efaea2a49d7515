"""Imports asyncio without OpenSSL, for a service that has no use for TLS: 5 of 24 MB.

asyncio and hashlib load OpenSSL when they find it and do without when not. So it is hidden while
they are imported, and only if this is the first to import them: in a process that uses TLS
already, a test run say, nothing happens. Import this before anything else.
"""

import sys

_OPENSSL = ("ssl", "_ssl", "_hashlib")

if not {"asyncio", "hashlib", *_OPENSSL} & set(sys.modules):
    sys.modules.update(dict.fromkeys(_OPENSSL))
    import asyncio  # noqa: F401
    import hashlib  # noqa: F401
    import hmac     # noqa: F401
    for name in _OPENSSL:
        del sys.modules[name]
