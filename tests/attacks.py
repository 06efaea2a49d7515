"""Messages that try to get text past the filter, by class, each with the text that would leak.

`table()` holds (name, headers, body, secret): what passes such a message on must not pass on the
secret. The same table runs against the rules, the milter and a real Postfix.
"""

import functools
import os
import struct
from base64 import b64encode

from openpgpmessages import BOUNDARY, PART_1, PART_2_HEAD, headers, mime_body

TEXT = b"The meeting is at noon behind the old mill, bring the money and come alone."
MORE = TEXT + b" " + TEXT
"""Longer than the 100 octets that the headers of a part may carry."""
LONG = TEXT * 40
WHITE = b"".join(b" " if octet >> bit & 1 else b"\t" for octet in TEXT for bit in range(8))
"""The same text, spelled in blanks."""
ARMOR_BEGIN = b"-----BEGIN PGP MESSAGE-----\r\n\r\n"
ARMOR_END = b"-----END PGP MESSAGE-----\r\n"
DELIMITER = b"--" + BOUNDARY.encode() + b"\r\n"
CLOSING = b"--" + BOUNDARY.encode() + b"--\r\n"


def packet(tag, body, legacy=False):
    if legacy:
        return bytes([0x80 | tag << 2 | 2]) + struct.pack("!I", len(body)) + body
    return bytes([0xC0 | tag]) + b"\xff" + struct.pack("!I", len(body)) + body


def partial(tag, pieces, last):
    """A packet in partial lengths; pieces must have a power of two octets."""
    data = bytes([0xC0 | tag])
    for piece in pieces:
        assert len(piece) & len(piece) - 1 == 0
        data += bytes([224 + len(piece).bit_length() - 1]) + piece
    return data + b"\xff" + struct.pack("!I", len(last)) + last


def mpi(number):
    return struct.pack("!H", (len(number) - 1) * 8 + number[0].bit_length()) + number


def noise(count):
    return b"\x81" + os.urandom(count - 1)


def pkesk(keyid=None, algorithm=1, material=None):
    return packet(1, b"\3" + (keyid or noise(8)) + bytes([algorithm])
                  + (mpi(noise(256)) if material is None else material))


def x25519(keyid, point, wrapped):
    return packet(1, b"\3" + keyid + b"\x19" + point + bytes([len(wrapped) + 1]) + b"\x09"
                  + wrapped)


def skesk(body):
    return packet(3, body)


def seipd(body=None):
    return packet(18, b"\1" + (noise(600) if body is None else body))


def armor(octets, width=64, checksum=True):
    encoded = b64encode(octets)
    lines = [encoded[at:at + width] for at in range(0, len(encoded), width)]
    tail = [b"=AbCd"] if checksum else []
    return ARMOR_BEGIN + b"\r\n".join([*lines, *tail, ARMOR_END])


def body(octets):
    return mime_body(armor(octets))


def utf16(text):
    return text.decode("ascii").encode("utf-16-le")


def notation(text):
    """A signature over a key with that notation, but for its truth."""
    data = b"\x80\0\0\0" + struct.pack("!HH", 7, len(text)) + b"x@y.net" + text
    area = b"\xff" + struct.pack("!I", len(data) + 1) + b"\x14" + data
    return packet(2, b"\4\x13\x16\x0a" + struct.pack("!H", len(area)) + area + b"\0\0" + noise(68))


GOOD_PACKETS = [pkesk(), seipd()]
KNOWN = b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n"
CYRILLIC = "Встреча в полдень за старой мельницей, приноси деньги и приходи один. ".encode()


def preambles(good):
    yield "preamble", TEXT + b"\r\n" + good
    yield "preamble after the sentence", (
        b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n" + TEXT + b"\r\n"
        + good)
    yield "preamble on the line of the sentence", (
        b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156) " + TEXT + b"\r\n" + good)
    yield "epilogue", good + TEXT + b"\r\n"
    yield "epilogue after blank lines", good + b"\r\n\r\n" + TEXT + b"\r\n"
    yield "on the line of the closing delimiter", good[:-2] + b" " + TEXT + b"\r\n"
    yield "epilogue of white space and tabs", good + b" \t  \t\t" * 50 + b"\r\n" + TEXT + b"\r\n"
    yield "no closing delimiter", good.replace(CLOSING, TEXT + b"\r\n")
    yield "other closing delimiter", good.replace(CLOSING, b"--" + TEXT.replace(b" ", b"") + b"--\r\n")
    yield "second closing delimiter", good + TEXT + b"\r\n" + CLOSING
    yield "third part", good.replace(
        CLOSING, DELIMITER + b"Content-Type: text/plain\r\n\r\n" + TEXT + b"\r\n" + CLOSING)
    yield "part before", (DELIMITER + b"Content-Type: text/plain\r\n\r\n" + TEXT + b"\r\n" + good)
    yield "part between", good.replace(
        DELIMITER + PART_2_HEAD, DELIMITER + b"Content-Type: text/plain\r\n\r\n" + TEXT + b"\r\n"
        + DELIMITER + PART_2_HEAD)
    yield "nothing but text", TEXT + b"\r\n"
    yield "nothing", b""
    yield "only part 1", DELIMITER + PART_1 + CLOSING + TEXT
    yield "text as part 2", DELIMITER + PART_1 + DELIMITER + PART_2_HEAD + TEXT + b"\r\n" + CLOSING
    yield "bare LF", good.replace(b"Version: 1\r\n", b"Version: 1\n" + TEXT + b"\r\n")
    yield "bare CR", good.replace(b"Version: 1\r\n", b"Version: 1\r" + TEXT + b"\r\n")
    yield "NUL", good.replace(b"Version: 1\r\n", b"Version: 1\0" + TEXT + b"\r\n")
    yield "NUL in armor", good.replace(ARMOR_END, b"\0" + TEXT + b"\r\n" + ARMOR_END)
    yield "one endless line", LONG * 30
    yield "line ends without end before", b"\r\n" * 1500 + good
    yield "line ends without end behind", good + b"\r\n" * 1300
    yield "line ends without end before the armor", good.replace(ARMOR_BEGIN, b"\r\n" * 150 + ARMOR_BEGIN)
    yield "known sentence twice", KNOWN + KNOWN + good
    yield "known sentences", KNOWN + b"This message is in MIME format\r\n" + good
    yield "known sentence and two full stops", KNOWN[:-2] + b"..\r\n" + good
    yield "blanks around a known sentence", b" " + KNOWN + good


def version_parts(good):
    yield "more in the version", good.replace(b"Version: 1\r\n", b"Version: 1 " + TEXT + b"\r\n")
    yield "a line after the version", good.replace(b"Version: 1\r\n", b"Version: 1\r\n" + TEXT + b"\r\n")
    yield "a line before the version", good.replace(b"Version: 1\r\n", TEXT + b"\r\nVersion: 1\r\n")
    yield "version twice", good.replace(b"Version: 1\r\n", b"Version: 1\r\nVersion: 1\r\nX: " + TEXT + b"\r\n")
    yield "other version", good.replace(b"Version: 1\r\n", b"Version: " + TEXT + b"\r\n")
    yield "no version, but text", good.replace(b"Version: 1\r\n", TEXT + b"\r\n")
    quoted = b"Content-Transfer-Encoding: quoted-printable\r\n"
    yield "quoted-printable version and text", good.replace(PART_1, quoted + PART_1).replace(
        b"Version: 1\r\n", b"Version: 1=\r\n" + TEXT + b"\r\n")
    yield "quoted-printable armor", good.replace(PART_2_HEAD, quoted + PART_2_HEAD).replace(
        ARMOR_END, ARMOR_END + b"=\r\n" + TEXT + b"\r\n")
    yield "no version", good.replace(b"Version: 1\r\n", b"").replace(
        b"Content-Description: PGP/MIME", b"Content-Description: " + TEXT + b" PGP/MIME")


def part_heads(good):
    for name, line in {
        "other header": b"X-Note: " + TEXT,
        "description": b"Content-Description: " + MORE,
        "Subject": b"Subject: " + TEXT,
        "Content-ID": b"Content-ID: <" + TEXT.replace(b" ", b".") + b"@x>",
        "folded": b"Content-Location: x\r\n " + TEXT,
        "file name": b'Content-Disposition: inline; filename="' + MORE + b'"',
        "file name by RFC 2231": b"Content-Disposition: inline; filename*=utf-8''"
                                 + TEXT.replace(b" ", b"%20"),
        "file name in pieces": b"Content-Disposition: inline; filename*0=\"" + TEXT + b"\"",
        "file name by RFC 2047": b'Content-Disposition: inline; filename="=?utf-8?b?'
                                 + b64encode(TEXT) + b'?="',    # 100 octets and its frame
        "blanks that tell": b"Content-Disposition: inline;" + WHITE[:102] + b' filename="encrypted.asc"',
        "blanks behind": b"Content-Disposition: inline" + WHITE[:102],
        "text in three headers": b"Content-Description: " + TEXT[:36] + b'\r\nContent-Disposition: inline; filename="'
                                 + TEXT[:36] + b'"\r\nMIME-Version: 1.0' + WHITE[:36],
        "a Message-ID": b"Message-ID: <" + TEXT[:20].replace(b" ", b".") + b"@" + b"x." * 160 + b"y>",
        "disposition": b"Content-Disposition: " + TEXT.replace(b" ", b"-"),
        "comment": b"Content-Transfer-Encoding: 7bit (" + TEXT + b")",
        "base64": b"Content-Transfer-Encoding: base64\r\nX: " + TEXT,
        "no colon": TEXT,
        "short": b"X: " + TEXT[:20],
    }.items():
        yield f"part head, {name}", good.replace(PART_1, line + b"\r\n" + PART_1)
        yield f"part 2 head, {name}", good.replace(
            PART_2_HEAD, b"Content-Type: application/octet-stream\r\n" + line + b"\r\n\r\n")
    yield "name parameter", good.replace(b'name="encrypted.asc"', b'name="' + MORE + b'"', 1)
    yield "charset parameter", good.replace(b'name="encrypted.asc"', b'charset="' + TEXT + b'"', 1)
    yield "unknown parameter", good.replace(b'name="encrypted.asc"', b'note="' + TEXT + b'"', 1)
    yield "parameter twice", good.replace(
        b'name="encrypted.asc"', b'name="encrypted.asc"; name="' + TEXT + b'"', 1)
    yield "comment in type", good.replace(
        b"Content-Type: application/octet-stream;",
        b"Content-Type: application/octet-stream (" + TEXT + b");")
    yield "part type", good.replace(b"application/octet-stream", b"text/plain").replace(
        ARMOR_BEGIN, TEXT + b"\r\n" + ARMOR_BEGIN)
    yield "type twice", good.replace(
        PART_2_HEAD, b"Content-Type: application/octet-stream\r\nContent-Type: text/html; x="
        + TEXT.replace(b" ", b"_") + b"\r\n\r\n")
    yield "long head", good.replace(PART_1, (b"MIME-Version: 1.0\r\n " + TEXT + b"\r\n") * 20 + PART_1)


def armors(good):
    lines = armor(b"".join(GOOD_PACKETS)).splitlines(True)
    for name, inserted in {
        "text": TEXT + b"\r\n",
        "a word": b"Noon!\r\n",
        "letters": b"TheMeetingIsAtNoonBehindTheOldMillBringTheMoneyAndComeAlone00000\r\n",
        "four letters": b"noon\r\n",
        "base64 of text": b64encode(TEXT) + b"\r\n",
        "base64 of text, a line long": b64encode(TEXT[:48]) + b"\r\n",
        "with a dash": b"-" + TEXT + b"\r\n",
        "with an equals sign": b"=" + TEXT + b"\r\n",
        "a blank line and text": b"\r\n" + TEXT + b"\r\n",
        "tab": b"\t" + TEXT + b"\r\n",
        "latin-1": "Grüße aus der Mühle".encode("latin-1") + b"\r\n",
        "white space": b" " * 30 + b"\t" * 20 + b"\r\n" + TEXT + b"\r\n",
    }.items():
        for place in (2, 3, len(lines) // 2, len(lines) - 3, len(lines) - 2, len(lines) - 1):
            yield f"armor, {name} at line {place}", mime_body(
                b"".join([*lines[:place], inserted, *lines[place:]]))
        yield f"armor, {name} before", good.replace(ARMOR_BEGIN, inserted + ARMOR_BEGIN)
        yield f"armor, {name} after", good.replace(ARMOR_END, ARMOR_END + inserted)
    for header in (b"Comment", b"Version", b"Hash", b"Note", b"Charset", b"MessageID"):
        yield f"armor header {header.decode()}", good.replace(
            ARMOR_BEGIN, ARMOR_BEGIN[:-2] + header + b": " + TEXT + b"\r\n\r\n")
    yield "white space for the blank line", good.replace(
        ARMOR_BEGIN, ARMOR_BEGIN[:-2] + b"  \t\r\n" + TEXT + b"\r\n")
    yield "text on the BEGIN line", good.replace(b"MESSAGE-----\r\n\r\n", b"MESSAGE----- " + TEXT + b"\r\n\r\n")
    yield "text on the END line", good.replace(ARMOR_END, ARMOR_END[:-2] + b" " + TEXT + b"\r\n")
    yield "text behind each line", good.replace(b"=AbCd\r\n", b"=AbCd " + TEXT + b"\r\n")
    yield "long checksum", good.replace(b"=AbCd\r\n", b"=" + TEXT.replace(b" ", b"") + b"\r\n")
    yield "two checksums", good.replace(b"=AbCd\r\n", b"=AbCd\r\n=noon\r\n" + TEXT + b"\r\n")
    yield "second armor", good.replace(ARMOR_END, ARMOR_END + ARMOR_BEGIN + TEXT + b"\r\n" + ARMOR_END)
    yield "message in parts", good.replace(b"PGP MESSAGE", b"PGP MESSAGE, PART 1/2").replace(
        b"=AbCd\r\n", TEXT + b"\r\n")
    yield "signed message", good.replace(ARMOR_BEGIN, b"-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\n"
                                         + TEXT + b"\r\n" + ARMOR_BEGIN)
    yield "no armor end", good.replace(ARMOR_END, TEXT + b"\r\n")
    yield "empty armor", mime_body(ARMOR_BEGIN + ARMOR_END) + TEXT
    yield "cleartext in armor", mime_body(ARMOR_BEGIN + TEXT + b"\r\n" + ARMOR_END)
    yield "base64 of cleartext in armor", mime_body(armor(LONG))
    yield "long lines", mime_body(armor(b"".join(GOOD_PACKETS) + TEXT, width=500))
    yield "padding in the middle", mime_body(armor(b"".join(GOOD_PACKETS)).replace(
        lines[4], lines[4][:62] + b"==\r\n").replace(lines[5], b64encode(TEXT[:48]) + b"\r\n"))


def packets(good):
    key, secret = pkesk(), seipd()
    for name, octets in {
        "literal": packet(11, b"b\0\0\0\0\0" + TEXT),
        "compressed": packet(8, b"\0" + packet(11, b"b\0\0\0\0\0" + TEXT)),
        "signature": packet(2, b"\4" + TEXT),
        "user id": packet(13, TEXT),
        "user attribute": packet(17, TEXT),
        "marker": packet(10, b"PGP"),
        "marker with text": packet(10, TEXT),
        "padding": packet(21, TEXT),
        "trust": packet(12, TEXT),
        "private": packet(60, TEXT),
        "reserved": packet(0, TEXT),
        "mdc": packet(19, TEXT[:20]),
        "one-pass signature": packet(4, TEXT[:13]),
        "public key": packet(6, b"\4" + TEXT),
        "legacy literal": packet(11, b"b\0\0\0\0\0" + TEXT, legacy=True),
        "aead": packet(20, b"\1\x09\2\x10" + LONG),
        "sed": packet(9, LONG),
    }.items():
        yield f"packet {name} before", body(octets + key + secret)
        yield f"packet {name} between", body(key + octets + secret)
        yield f"packet {name} after", body(key + secret + octets)
        yield f"packet {name} instead", body(key + octets)
        yield f"packet {name} alone", body(octets)
    yield "no session key", body(seipd(noise(50) + LONG))
    yield "no ciphertext", body(key + pkesk(material=mpi(b"\x80" + TEXT)))
    yield "two ciphertexts", body(key + secret + packet(18, b"\1" + LONG))
    yield "data after the ciphertext", body(key + secret + LONG)
    yield "truncated ciphertext", body(key + secret[:-100]).replace(ARMOR_END, ARMOR_END + TEXT)
    yield "truncated, the missing as text", body((key + packet(18, b"\1" + noise(300) + LONG))[:-10])
    yield "indeterminate length", body(key + b"\x87" + LONG)
    yield "ciphertext too short", body(key + packet(18, b"\1" + TEXT[:40]))
    yield "ciphertext version 0", body(key + packet(18, b"\0" + LONG))
    yield "ciphertext version 3", body(key + packet(18, b"\3" + LONG))
    yield "ciphertext v2 with text for parameters", body(key + packet(18, b"\2The" + noise(100) + LONG))
    yield "ciphertext v2 with text for a salt", body(key + packet(18, b"\2\x09\2\x06" + TEXT[:32] + noise(200)))
    yield "ciphertext v2 of 40 octets, all text", body(key + packet(18, b"\2\x09\2\x06" + noise(32) + TEXT[:40]))
    yield "session key after the ciphertext", body(key + secret + pkesk(material=mpi(b"\x80" + TEXT)))
    yield "first bit not set", body(LONG)


def session_keys(good):
    secret = seipd()
    words = [TEXT[at:at + 8].ljust(8) for at in range(0, len(TEXT), 8)]
    for name, keys in {
        "RSA number is text": pkesk(material=mpi(TEXT * 4)),
        "short RSA number is text": pkesk(material=mpi(TEXT[:40])),
        "Elgamal numbers are text": pkesk(algorithm=16, material=mpi(TEXT * 2) + mpi(noise(128))),
        "second Elgamal number is text": pkesk(algorithm=16, material=mpi(noise(128)) + mpi(TEXT * 2)),
        "ECDH point is text": pkesk(algorithm=18, material=mpi(b"\x40" + TEXT[:32]) + b"\x30" + noise(48)),
        "ECDH wrapped key is text": pkesk(algorithm=18, material=mpi(b"\x40" + noise(32)) + b"\x30" + TEXT[:48]),
        "X25519 point is text": x25519(noise(8), TEXT[:32], noise(40)),
        "X25519 wrapped key is text": x25519(noise(8), noise(32), TEXT[:40]),
        "unknown algorithm is text": pkesk(algorithm=99, material=LONG[:2000]),
        "unknown algorithm, half text": pkesk(algorithm=99, material=noise(900) + LONG[:1000]),
        "unknown algorithm, UTF-16": pkesk(algorithm=99, material=utf16(TEXT * 5)),
        "unknown algorithm, Cyrillic": pkesk(algorithm=99, material=CYRILLIC * 3),
        "unknown algorithm, too long": pkesk(algorithm=99, material=noise(2100) + TEXT),
        "unknown version": packet(1, b"\7" + LONG[:400]),
        "version 2": packet(1, b"\2" + noise(8) + b"\1" + mpi(TEXT * 3)),
        "more behind the number": pkesk(material=mpi(noise(256)) + TEXT),
        "number with leading zeros": pkesk(material=b"\x08\0\0\0" + TEXT[:12] + noise(242)),
        "number with a wrong length": pkesk(material=b"\x07\xff" + b"\x1f" + noise(255)),
        "number longer than the packet": packet(1, b"\3" + noise(8) + b"\1\x08\0" + TEXT),
        "bits beyond the number": pkesk(material=b"\0\x09" + TEXT[:2] + TEXT),
        "key ids are text": b"".join(pkesk(keyid=word) for word in words),
        "key ids are text, thousands": b"".join(
            x25519(LONG[at:at + 8], noise(32), noise(40)) for at in range(0, 2400, 8)),
        "too many": b"".join(x25519(noise(8), noise(32), noise(40)) for _ in range(2001)),
        "thousands of tiny": b"".join(
            packet(1, b"\3" + noise(8) + b"\x63" + LONG[at:at + 16]) for at in range(0, 3000, 16)),
        "SKESK salt is text, many": b"".join(
            skesk(b"\4\x09\3\x08" + LONG[at:at + 8] + b"\x60") for at in range(0, 400, 8)),
        "SKESK key is text": b"".join(
            skesk(b"\4\x09\3\x08" + noise(8) + b"\x60" + LONG[at:at + 33]) for at in range(0, 99, 33)),
        "SKESK longer": skesk(b"\4\x09\3\x08" + noise(8) + b"\x60" + TEXT),
        "SKESK unknown version": skesk(b"\x09" + LONG[:300]),
        "SKESK unknown S2K": skesk(b"\4\x09\x65" + TEXT),
        "SKESK unknown cipher": skesk(b"\4\x6e" + TEXT),
        "SKESK v6 counts wrong": skesk(b"\6\x50" + TEXT),
        "SKESK v5 is text": skesk(b"\5\x09\2\3\x08" + TEXT[:8] + b"\x60" + TEXT[8:55]),
        "PKESK v6 unknown recipient": packet(1, b"\6\x20" + TEXT),
        "PKESK v6 is text": packet(1, b"\6\0\x63" + TEXT),
        "empty": packet(1, b"") + pkesk(material=mpi(b"\x80" + TEXT)),
        "partial lengths": partial(1, [b"\3" + noise(8) + b"\1" + noise(502)], TEXT),
        "16 MB": packet(1, b"\3" + noise(8) + b"\x63" + LONG * 50),
    }.items():
        yield f"session key, {name}", body(keys + secret)
        yield f"session key, {name}, after a good one", body(pkesk() + keys + secret)


def ciphertexts(good):
    key = pkesk()
    for name, text in {
        "text": LONG,
        "text after noise": noise(400) + LONG,
        "text before noise": LONG + noise(1000),
        "text in the middle": noise(3000) + LONG + noise(3000),
        "text at the end of much noise": noise(60_000) + LONG,
        "three lines between two windows": noise(30_000) + TEXT + TEXT + noise(30_000),
        "text after 30 KB": noise(30_000) + LONG * 60 + noise(30_000),
        "short text": TEXT,
        "49 letters": TEXT[:49],
        "capitals": TEXT.upper(),
        "capitals, long": LONG.upper(),
        "digits": b"0123456789 0987654321 " * 30,
        "UTF-16": utf16(LONG),
        "UTF-16 big endian": LONG.decode().encode("utf-16-be"),
        "UTF-32": LONG.decode().encode("utf-32-le"),
        "Cyrillic": CYRILLIC * 10,
        "Cyrillic, short": CYRILLIC,
        "KOI8-R": CYRILLIC.decode().encode("koi8-r") * 10,
        "CP1251": CYRILLIC.decode().encode("cp1251") * 10,
        "Latin-1": "Grüße aus der Mühle, bring das Geld mit, heute Mittag, ganz allein! ".encode("latin-1") * 10,
        "Chinese": "中午在老磨坊后面见面带上钱一个人来不要告诉任何人我们会等你直到一点钟".encode() * 5,
        "Japanese, UTF-16": "正午に古い水車小屋の裏で会いましょうお金を持って一人で来てください".encode("utf-16-be") * 8,
        "Greek": "Η συνάντηση είναι το μεσημέρι πίσω από τον παλιό μύλο. ".encode() * 8,
        "Arabic": "الاجتماع ظهرا خلف المطحنة القديمة، أحضر المال وتعال وحدك. ".encode() * 8,
        "emoji": "😀😁😂🤣😃😄😅😆".encode() * 20,
        "base64 in base64": b64encode(LONG),
        "hexadecimal": LONG.hex().encode(),
        "ROT13": bytes((c - 97 + 13) % 26 + 97 if 97 <= c < 123 else c for c in LONG),
        "XOR 0xAA": bytes(c ^ 0xAA for c in LONG),
        "EBCDIC": LONG.decode().encode("cp500"),
        "html": b"<html><body><p>" + LONG + b"</p></body></html>",
        "with line ends": TEXT.replace(b" ", b"\r\n") * 10,
        "with control characters": b"\x01\x02".join(LONG[at:at + 30] for at in range(0, 3000, 30)),
        "with noise between": b"".join(LONG[at:at + 6] + noise(1) for at in range(0, 3000, 6)),
        "zeros": bytes(2000) + TEXT,
        "a PNG": b"\x89PNG\r\n\x1a\n" + bytes(40) + LONG,
    }.items():
        yield f"ciphertext is {name}", body(key + seipd(text))
        yield f"ciphertext v2 is {name}", body(key + packet(
            18, b"\2\x09\2\x06" + (noise(32) + text if len(text) > 400 else text.ljust(80, b"."))))
        if len(text) > 600:
            yield f"ciphertext in partial lengths is {name}", body(
                key + partial(18, [b"\1" + text[:511]], text[511:]))
    spelled = b"".join((LONG.title() * 2).replace(b",", b"").replace(b".", b"").split())
    spelled = spelled[:2976 // 64 * 64]
    yield "words spelled in base64", mime_body(_spelled(key, spelled))
    yield "small words spelled in base64", mime_body(_spelled(key, spelled.lower()))
    yield "tiny pieces of text", body(
        key + partial(18, [b"\1" + noise(511)] + [bytes([c]) for c in LONG], b""))
    yield "first piece too small", body(key + partial(18, [b"\1" + LONG[:255]], LONG[255:]))
    yield "only partial lengths", body(
        key + bytes([0xC0 | 18, 224 + 9]) + b"\1" + noise(511) + bytes([224 + 10]) + LONG[:1024])


def _spelled(key, letters):
    """Armor whose last lines are these letters, and whose packets are whole all the same."""
    rest = 48 * 20 - (len(key) + 6) % 48
    octets = key + packet(18, b"\1" + noise(rest - 1 + len(letters) // 4 * 3))
    lines = armor(octets).splitlines(True)
    count = len(letters) // 64
    end = len(lines) - 2
    lines[end - count:end] = [letters[at * 64:at * 64 + 64] + b"\r\n" for at in range(count)]
    return b"".join(lines)


def with_bodies():
    good = body(b"".join(GOOD_PACKETS))
    for family in (preambles, version_parts, part_heads, armors, packets, session_keys,
                   ciphertexts):
        for name, text in family(good):
            yield f"{family.__name__}: {name}", headers(), text


def replaced(name, value, base=None):
    """The good headers with one of them given another value (or None: taken away)."""
    return [(n, value if n == name else v) for n, v in base or headers()
            if n != name or value is not None]


REMOVED = (
    *(f"{name} with {what}" for name in ("Autocrypt", "Autocrypt-Gossip")
      for what in ("nothing", "an unknown attribute")),
    "blanks that tell around Subject", "blanks that tell around MIME-Version")
"""Attacks in headers that are taken out or replaced; the rest of the message passes."""


def with_headers():
    good = body(b"".join(GOOD_PACKETS))
    kind = b'multipart/encrypted; protocol="application/pgp-encrypted"'
    types = {
        "comment": kind + b' (' + TEXT + b'); boundary="' + BOUNDARY.encode() + b'"',
        "other protocol": b'multipart/encrypted; protocol="application/pkcs7-mime"; boundary="'
                          + BOUNDARY.encode() + b'"; x="' + TEXT + b'"',
        "no protocol": b'multipart/encrypted; boundary="' + BOUNDARY.encode() + b'"',
        "unknown parameter": kind + b'; note="' + TEXT + b'"; boundary="' + BOUNDARY.encode() + b'"',
        "boundary by RFC 2231": kind + b"; boundary*=utf-8''" + BOUNDARY.encode(),
        "boundary in pieces": kind + b'; boundary*0="b9dcf36d"; boundary*1="7ca4e5b6"',
        "boundary twice": kind + b'; boundary="' + TEXT[:60] + b'"; boundary="' + BOUNDARY.encode() + b'"',
        "boundary with quoted pairs": kind + b'; boundary="\\b9dcf36d7ca4e5b6"',
        "8 bit": kind + 'x="ü"; boundary="'.encode() + BOUNDARY.encode() + b'"',
        "mixed": b'multipart/mixed; boundary="' + BOUNDARY.encode() + b'"',
        "alternative": b'multipart/alternative; boundary="' + BOUNDARY.encode() + b'"',
        "signed": b'multipart/signed; protocol="application/pgp-signature"; boundary="'
                  + BOUNDARY.encode() + b'"',
        "text/plain that names it": b'text/plain; x="multipart/encrypted"; y="application/pgp-encrypted"',
        "report": b'multipart/report; report-type=disposition-notification; boundary="x"',
        "S/MIME": b"application/pkcs7-mime; smime-type=enveloped-data",
        "html": b"text/html", "message": b"message/rfc822", "none": None, "empty": b"",
        "blanks that tell": kind + b";" + WHITE[:264] + b'boundary="' + BOUNDARY.encode() + b'"',
        "folds that tell": kind + b";" + b"\n " * 90 + b'boundary="' + BOUNDARY.encode() + b'"',
        "image": b"image/png", "endless": kind + b";" + b" " * 3000 + b"x=1",
    }
    for name, value in types.items():
        yield f"Content-Type {name}", replaced("Content-Type", value), TEXT + b"\r\n" + good
        if name not in ("none", "empty", "text/plain that names it"):
            yield f"Content-Type {name}, good body", replaced("Content-Type", value), good
    sentence = TEXT.replace(b" ", b"_").replace(b",", b"").replace(b".", b"")
    assert len(sentence) > 70
    for name, boundary in {"a long sentence": sentence, "quoted": TEXT[:60]}.items():
        yield f"boundary is {name}", replaced(
            "Content-Type", kind + b'; boundary="' + boundary + b'"'), good.replace(
                BOUNDARY.encode(), boundary)
    yield "second Content-Type", [*headers(), ("Content-Type", b"text/plain")], TEXT + good
    yield "second Content-Type first", [("Content-Type", b"text/plain"), *headers()], TEXT + good
    yield "Content-Type with a space", replaced("Content-Type", None) + [
        ("Content-Type ", dict(headers())["Content-Type"])], good
    for encoding in (b"base64", b"quoted-printable", b"x-uuencode", TEXT, b"7bit (" + TEXT + b")"):
        yield f"encoding {encoding[:12].decode()}", [
            *headers(), ("Content-Transfer-Encoding", encoding)], good
    for name in ("Subject", "From", "To", "Date", "Message-ID", "MIME-Version", "References"):
        yield f"{name} twice", [*headers(), (name, TEXT), (name, TEXT)], good
    for name in ("X-Note", "Comments", "Keywords", "Received", "User-Agent", "Organization",
                 "Content-Description", "Content-Disposition", "Content-Language", "Bcc", "Sender-Note",
                 "Resent-From", "Return-Path", "Disposition-Notification-To", "Thread-Topic"):
        yield f"header {name}", [*headers(), (name, TEXT)], good
    yield "Subject", replaced("Subject", TEXT), good
    yield "Subject encoded", replaced("Subject", b"=?utf-8?b?" + b64encode(TEXT) + b"?="), good
    yield "Subject with dots", replaced("Subject", b"... " + TEXT), good
    yield "MIME-Version comment", replaced("MIME-Version", b"1.0 (" + TEXT + b")"), good
    for name in ("To", "Cc", "Reply-To", "References", "In-Reply-To", "Message-ID", "Date",
                 "Chat-Version", "Chat-Group-Name", "List-ID", "List-Post", "Auto-Submitted",
                 "Secure-Join-Group"):
        yield f"much in {name}", [*replaced(name, None), (name, LONG * 2)], good
    yield "much in many", [*headers(), *(("Chat-Note", TEXT) for _ in range(100))], good
    yield "much in names", [*headers(), *((f"Chat-{TEXT.decode().replace(' ', '-')}", b"1")
                                          for _ in range(100))], good
    yield "much in comments of addresses", replaced("To", b"<b@c.test> (" + LONG * 2 + b")"), good
    for name in ("Autocrypt", "Autocrypt-Gossip"):
        for what, key in {
            "text": LONG, "base64 of text": b64encode(LONG), "a packet of text": b64encode(packet(6, b"\4" + LONG)),
            "a literal packet": b64encode(packet(11, b"b\0\0\0\0\0" + LONG)), "nothing": b"",
            "a key and text": b64encode(packet(6, b"\4" + noise(50)) + LONG),
            "a subkey of text": b64encode(packet(6, b"\4" + noise(150)) + packet(14, b"\4" + LONG)),
            "a signature of text": b64encode(packet(6, b"\4" + noise(150)) + packet(2, b"\4" + LONG * 2)),
            "a notation of text": b64encode(packet(6, b"\4" + noise(150)) + notation(LONG * 2)),
            "a notation of Cyrillic": b64encode(packet(6, b"\4" + noise(150)) + notation(CYRILLIC * 40)),
            "many notations": b64encode(packet(6, b"\4" + noise(150)) + b"".join(
                notation((LONG * 2)[at:at + 40]) for at in range(0, 6000, 40))),
            "an image": b64encode(packet(6, b"\4" + noise(150)) + packet(17, LONG * 2)),
            "a padding packet": b64encode(packet(6, b"\4" + noise(150)) + packet(21, LONG * 2)),
            "blanks that tell": b64encode(packet(6, b"\4" + noise(300))) + (WHITE + b"\r\n ") * 9,
            "a user id of text": b64encode(packet(6, b"\4" + noise(50)) + packet(13, LONG * 2)),
        }.items():
            yield f"{name} with {what}", [
                *headers(), (name, b"addr=alice@chat.test; keydata=" + key)], good
        yield f"{name} with an unknown attribute", [*headers(), (
            name, b"addr=alice@chat.test; text=" + LONG + b"; keydata=" + b64encode(packet(6, b"\4" + noise(200))))], good
        yield f"{name} with text instead of a base64 key", [*headers(), (
            name, b"addr=alice@chat.test; keydata=" + LONG.replace(b" ", b""))], good
    for name in ("Subject", "MIME-Version", "Content-Transfer-Encoding", "Date", "Content-Type", "To", "Chat-Version"):
        value = dict(headers()).get(name, b"7bit")
        yield f"blanks that tell around {name}", [*replaced(name, None), (name, value + (WHITE + b"\n ") * 8)], good
    yield "MIME-Version and blanks", replaced("MIME-Version", b"1.0" + b"\n  " * 9000 + b"x"), good
    yield "Autocrypt and blanks", [*headers(), ("Autocrypt", b"addr=alice@chat.test; keydata=" + (b"\n" + b" " * 900) * 60 + b"!")], good
    yield "a little text in each of many gossiped keys", [*headers(), *(
        ("Autocrypt-Gossip", b"addr=bob@chat.test; keydata=" + b64encode(
            packet(6, b"\4" + noise(50)) + packet(2, b"\4" + noise(120)) + packet(2, b"\4" + LONG[at:at + 7])))
        for at in range(0, 700, 7))], good
    yield "gossiped keys of tiny packets", [*headers(), *(
        ("Autocrypt-Gossip", b"addr=bob@chat.test; keydata=" + b64encode(packet(6, b"\4" + noise(60)) + b"\xce\1\4" * 9000))
        for _ in range(11))], good
    yield "much in Autocrypt attributes", [*headers(), (
        "Autocrypt", b"addr=alice@chat.test; _note=" + LONG * 2 + b"; keydata="
        + b64encode(packet(6, b"\4" + noise(50))))], good


def with_from():
    """Mail in a false name: what would leak is trust, so they must be refused as a whole."""
    good = body(b"".join(GOOD_PACKETS))
    for name, value in {
        "other": b"<bob@chat.test>", "other domain": b"alice@elsewhere.test",
        "two": b"<alice@chat.test>, <bob@chat.test>", "two, reversed": b"bob@chat.test, alice@chat.test",
        "group": b"friends: alice@chat.test;", "empty group": b"alice@chat.test:;", "empty": b"",
        "unquoted address as name": b"bob@chat.test <alice@chat.test>",
        "address as name": b'"bob@chat.test" <alice@chat.test>',
        "encoded address as name": b"=?utf-8?q?bob=40chat=2Etest?= <alice@chat.test>",
        "encoded address as name, base64": b"=?utf-8?b?" + b64encode(b"bob@chat.test") + b"?= <alice@chat.test>",
        "encoded address in two words": b"=?utf-8?q?bob=40?= =?utf-8?q?chat=2Etest?= <alice@chat.test>",
        "encoded address, folded": b"=?utf-8?q?bob=40?=\n =?utf-8?b?" + b64encode(b"chat.test") + b"?= <alice@chat.test>",
        "encoded address, cut by a fold": b"=?utf-8?b?Ym9iQGNo\n YXQudGVzdA==?= <alice@chat.test>",
        "encoded address in UTF-7": b"=?utf-7?q?bob+AEA-chat.test?= <alice@chat.test>",
        "comment": b"alice@chat.test (bob@chat.test)", "comment inside": b"<alice(x)@chat.test>",
        "route": b"<@bob.test:alice@chat.test>", "quoted local part": b'<"alice"@chat.test>',
        "two brackets": b"<bob@chat.test> <alice@chat.test>", "no address": b"Alice",
        "homoglyph": "<аlice@chat.test>".encode(), "full width at": "bob＠chat.test <alice@chat.test>".encode(),
        "NUL": b"<alice@chat.test\0>", "CR": b"<alice@chat.test>\r<bob@chat.test>",
        "trailing dot": b"<alice@chat.test.>", "nested": b"<<alice@chat.test>>",
        "encoded brackets": b"=?utf-8?q?=3Cbob=40chat.test=3E?= <alice@chat.test>",
        "literal": b"<alice@[192.0.2.1]>", "semicolon": b"alice@chat.test; bob@chat.test",
        "endless name": b'"' + LONG + b'" <alice@chat.test>',
    }.items():
        yield f"From {name}", replaced("From", value), good
    yield "no From", replaced("From", None), good
    yield "From twice", [*headers(), ("From", b"<Alice@chat.test>")], good
    yield "other From second", [*headers(), ("From", b"<bob@chat.test>")], good
    yield "other From first", [("From", b"<bob@chat.test>"), *headers()], good
    yield "Sender", [*headers(), ("Sender", b"<bob@chat.test>")], good
    yield "Sender nonsense", [*headers(), ("Sender", TEXT)], good


def unencrypted():
    """Whole messages in the clear that look like something that may pass."""
    base = [pair for pair in headers() if pair[0] != "Content-Type"]
    plain = [*base, ("Content-Type", b"text/plain; charset=utf-8")]
    join = [*plain, ("Secure-Join", b"vc-request"), ("Secure-Join-Invitenumber", b"abcDEF123_-x")]
    request = b"Secure-Join: vc-request\r\n"
    mixed = [*base, ("Secure-Join", b"vc-request"), ("Content-Type", b'multipart/mixed; boundary="xx"')]

    def parts(*heads_and_texts):
        return b"".join(b"--xx\r\n" + head + b"\r\n\r\n" + text + b"\r\n"
                        for head, text in heads_and_texts) + b"--xx--\r\n"

    text_plain = b"Content-Type: text/plain; charset=utf-8"
    yield "plain", plain, TEXT + b"\r\n"
    yield "securejoin and text", join, request + TEXT + b"\r\n"
    yield "text and securejoin", join, TEXT + b"\r\n" + request
    yield "securejoin on one line", join, request[:-2] + b" " + TEXT + b"\r\n"
    yield "securejoin text only in the header", join, TEXT + b"\r\n"
    yield "securejoin without header", plain, request + TEXT
    yield "securejoin, other step", [*plain, ("Secure-Join", b"vg-request")], request + TEXT
    yield "securejoin, later step", [*plain, ("Secure-Join", b"vc-request-with-auth")], b"Secure-Join: vc-request-with-auth\r\n" + TEXT
    yield "securejoin, later step alone", [*plain, ("Secure-Join", b"vc-contact-confirm")], b"Secure-Join: vc-contact-confirm\r\n"
    yield "securejoin twice", [*join, ("Secure-Join", b"vc-request")], request
    yield "securejoin, text in Invitenumber", [*join[:-1], ("Secure-Join-Invitenumber", TEXT)], request
    yield "securejoin, much in Invitenumber", [*join[:-1], ("Secure-Join-Invitenumber", b"noon" * 100)], request
    yield "securejoin, text in Group", [*join, ("Secure-Join-Group", TEXT)], request
    yield "securejoin, second Invitenumber", [*join, join[-1]], request
    yield "securejoin, second Group", [*join, ("Secure-Join-Group", b"noon"), ("Secure-Join-Group", b"mill")], request
    yield "securejoin, long Invitenumber", [*join[:-1], ("Secure-Join-Invitenumber", b"noonmill" * 7)], request
    yield "securejoin, text in Fingerprint", [*join, ("Secure-Join-Fingerprint", TEXT[:40].replace(b" ", b"_"))], request
    yield "securejoin, short Fingerprint", [*join, ("Secure-Join-Fingerprint", b"BAD0FACE")], request
    for name in ("Chat-Group-Name", "Chat-Version", "List-ID", "References", "In-Reply-To", "Message-ID", "To", "Cc"):
        yield f"securejoin, much in {name}", [*replaced(name, None, join), (name, LONG)], request
    yield "securejoin, much in a display name", replaced("To", b'"' + LONG + b'" <bob@chat.test>', join), request
    yield "securejoin, much in a key", [*join, ("Autocrypt", b"addr=alice@chat.test; keydata=" + b64encode(packet(6, b"\4" + noise(150)) + notation(LONG)))], request
    yield "securejoin, blanks that tell", [*replaced("Content-Type", None, join), ("Content-Type", b"text/plain;" + WHITE[:264] + b"charset=utf-8")], request
    yield "securejoin as html", [*base, ("Secure-Join", b"vc-request"), ("Content-Type", b"text/html")], request
    yield "securejoin, parameter", replaced("Content-Type", b'text/plain; note="' + TEXT + b'"', join), request
    yield "securejoin, base64 of text", [*join, ("Content-Transfer-Encoding", b"base64")], b64encode(request + TEXT) + b"\r\n"
    yield "securejoin, base64 and text", [*join, ("Content-Transfer-Encoding", b"base64")], b64encode(request) + b"\r\n" + TEXT + b"\r\n"
    yield "securejoin, unknown encoding", [*join, ("Content-Transfer-Encoding", b"x-note")], request
    yield "securejoin, quoted-printable", [*join, ("Content-Transfer-Encoding", b"quoted-printable")], request[:-2] + b"=20=\r\n" + TEXT + b"\r\n"
    yield "securejoin, second part", mixed, parts((text_plain, request), (text_plain, TEXT))
    yield "securejoin, attachment", mixed, parts((text_plain, request), (b"Content-Type: image/png\r\nContent-Disposition: attachment; filename=x.png", b64encode(LONG)))
    yield "securejoin, preamble", mixed, TEXT + b"\r\n" + parts((text_plain, request))
    yield "securejoin, epilogue", mixed, parts((text_plain, request)) + TEXT + b"\r\n"
    yield "securejoin, part header", mixed, parts((text_plain + b"\r\nX-Note: " + TEXT, request))
    yield "securejoin, part Message-ID", mixed, parts((text_plain + b"\r\nMessage-ID: <" + TEXT + b"@x>", request))
    yield "securejoin, much in the part's Message-ID", mixed, parts((text_plain + b"\r\nMessage-ID: <" + b"noon" * 25 + b"@" + b"mill." * 50 + b"x>", request))
    yield "securejoin, a little more in the part's headers", mixed, parts((text_plain + b"\r\nMessage-ID: <" + b"noon" * 12 + b"@" + b"mill." * 10 + b"x>", request))
    yield "securejoin, blanks that tell in the part", mixed, parts((b"Content-Type: text/plain;" + WHITE[:120] + b"charset=utf-8", request))
    yield "securejoin, nested", mixed, parts((b'Content-Type: multipart/mixed; boundary="yy"', b"--yy\r\n" + text_plain + b"\r\n\r\n" + request + b"--yy--\r\n" + TEXT))
    yield "securejoin, file name", [*join, ("Content-Disposition", b'attachment; filename="' + TEXT + b'"')], request
    yield "securejoin, white space that tells", join, request + b" \t\t \r\n" * 400
    yield "securejoin, other header", [*join, ("Secure-Join-Note", b"noon")], request
    yield "securejoin, NUL", join, request[:-2] + b"\0" + TEXT + b"\r\n"
    yield "securejoin, bare CR", join, request[:-2] + b"\r" + TEXT + b"\r\n"
    yield "securejoin, long", join, request + b" " * 5000 + TEXT + b"\r\n"
    mdn = b"--xx\r\nContent-Type: text/plain\r\n\r\n" + TEXT + b"\r\n--xx\r\nContent-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822;alice@chat.test\r\nDisposition: manual-action/MDN-sent-automatically; displayed\r\n\r\n--xx--\r\n"
    yield "MDN", [*base, ("Content-Type", b'multipart/report; report-type=disposition-notification; boundary="xx"')], mdn
    yield "bounce", [*base, ("Auto-Submitted", b"auto-replied"), ("Content-Type", b'multipart/report; report-type=delivery-status; boundary="xx"')], mdn
    yield "Autocrypt Setup Message", [*base, ("Autocrypt-Setup-Message", b"v1"), ("Content-Type", b'multipart/mixed; boundary="xx"')], parts((text_plain, TEXT), (b"Content-Type: application/autocrypt-setup", b"<html><pre>" + armor(b"".join(GOOD_PACKETS)) + b"</pre></html>"))
    yield "inline PGP", plain, armor(b"".join(GOOD_PACKETS)) + TEXT + b"\r\n"
    yield "inline PGP alone", plain, armor(b"".join([pkesk(), seipd(LONG)]))
    yield "sync message", [*base, ("Chat-Content", b"sync"), ("Content-Type", b"text/plain")], TEXT
    yield "webxdc update", [*base, ("Content-Type", b'multipart/report; report-type=status-update; boundary="xx"')], parts((text_plain, TEXT))
    yield "encrypted inside mixed", [*base, ("Content-Type", b'multipart/mixed; boundary="xx"')], parts((text_plain, TEXT), (b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="' + BOUNDARY.encode() + b'"', body(b"".join(GOOD_PACKETS))))
    yield "nested a thousand times", [*base, ("Content-Type", b'multipart/mixed; boundary="b0"')], b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(1000)) + TEXT


@functools.cache
def table():
    """Everything, as (name, headers, body)."""
    return [*with_bodies(), *with_headers(), *with_from(),
            *((f"unencrypted: {name}", h, b) for name, h, b in unencrypted())]
