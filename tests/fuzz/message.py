#!/usr/bin/env python3
"""Coverage-guided fuzzing of the recogniser with atheris, from `tests/rig/venv fuzzer`.

    PYTHONPATH=src python3 tests/fuzz/message.py -max_total_time=60 [CORPUS]

The invariant: whatever bytes come, there is a verdict, and it does not depend on how the bytes
were cut.
"""

import sys

import atheris

with atheris.instrument_imports(include=["chatmaild"]):
    from chatmaild.message.reader import MessageReader, ReaderOptions

HEADERS = [("content-type", b'multipart/encrypted; protocol="application/pgp-encrypted"; '
                            b'boundary="b"')]
SECUREJOIN = [("secure-join", b"vc-request"), ("content-type", b'multipart/mixed; boundary="b"')]


def content(headers, body, cut, tolerant):
    reader = MessageReader(headers, ReaderOptions(tolerant=tolerant))
    for at in range(0, len(body), cut):
        reader.feed(body[at:at + cut])
    return reader.finish()


def one(data):
    if len(data) < 3:
        return
    if data[0] == 0:
        headers, body = [("content-type", data[2:200])], data[200:]
    else:
        headers, body = (HEADERS if data[0] & 1 else SECUREJOIN), data[2:]
    tolerant = bool(data[1] & 128)
    assert content(headers, body, len(body) or 1, tolerant) == content(
        headers, body, data[1] % 90 + 1, tolerant)


atheris.Setup(sys.argv, one)
atheris.Fuzz()
