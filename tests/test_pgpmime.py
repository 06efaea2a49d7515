"""Real messages of OpenPGP programs pass, however their octets are cut."""

import openpgpmessages
import pytest

from chatmaild.wire.message import Content, Kind, Limits, MessageReader, lower_names

ENCRYPTED = Content(Kind.ENCRYPTED)


def read(headers, body, chunk=65535, limits=Limits()):
    reader = MessageReader(lower_names(headers), limits)
    for at in range(0, len(body), chunk):
        reader.feed(body[at:at + chunk])
    return reader.finish(), reader.packets.summary


@pytest.fixture(scope="session")
def real():
    return openpgpmessages.real()


def test_real_messages_are_encrypted(real):
    for name, armored in real.items():
        body = openpgpmessages.mime_body(armored)
        content, summary = read(openpgpmessages.headers(), body)
        assert content == ENCRYPTED, (name, content)
        for chunk in (1000, 7) if len(body) < 100_000 else (8192, 1777):
            assert read(openpgpmessages.headers(), body, chunk) == (ENCRYPTED, summary), name


def test_real_messages_are_encrypted_without_checksum(real):
    for name, armored in real.items():
        lines = [line for line in armored.splitlines(True) if not line.startswith(b"=")]
        content, _ = read(openpgpmessages.headers(), openpgpmessages.mime_body(b"".join(lines)))
        assert content == ENCRYPTED, (name, content)
