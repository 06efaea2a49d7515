"""Real messages of OpenPGP programs pass, however their octets are cut."""

import attacks
import openpgpmessages
import pytest

from chatmaild.message.reader import Content, ContentKind, MessageReader, ReaderOptions, lower_names

ENCRYPTED = Content(ContentKind.ENCRYPTED)


def read(headers, body, chunk=65535, limits=ReaderOptions()):
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


@pytest.mark.parametrize("behind", [b"", attacks.pkesk(), attacks.seipd()])
def test_an_empty_session_key_is_found_whatever_follows_it(behind):
    key = attacks.x25519(attacks.noise(8), attacks.noise(32), attacks.noise(40))
    body = attacks.body(key + attacks.packet(1, b"") + behind)
    first_line = body.index(attacks.ARMOR_BEGIN) + len(attacks.ARMOR_BEGIN)
    octet = len(key) + len(attacks.packet(1, b""))
    place = first_line + octet // 48 * 66 + octet % 48 * 4 // 3
    for chunk in (65535, 100, 7, 1):
        content, _ = read(openpgpmessages.headers(), body, chunk)
        assert content == Content(ContentKind.CLEARTEXT, "session-key-truncated", place)


def test_an_armor_inside_another_is_found_however_it_is_cut():
    body = attacks.body(attacks.x25519(attacks.noise(8), attacks.noise(32), attacks.noise(40)))
    place = body.index(attacks.ARMOR_BEGIN)
    begun = b"-----BEGIN PGP MESSAGE-----\r\nComment: the meeting is at noon\r\n\r\n"
    for chunk in (65535, 100, 7, 1):
        content, _ = read(openpgpmessages.headers(), body[:place] + begun + body[place:], chunk,
                          ReaderOptions(tolerant=True))
        assert content == Content(ContentKind.CLEARTEXT, "text-in-armor", place + len(begun))
