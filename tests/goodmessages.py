"""Messages as real clients write them. Only the ciphertext is made up, where the program that
would make it is not at hand. `table()` holds (name, headers, body); all must pass outgoing."""

import functools
import os
import random
from base64 import b64encode

import attacks
import programs
from attacks import armor, mpi, noise, packet, partial, pkesk, seipd, skesk, x25519
from openpgpmessages import BOUNDARY, headers, mime_body

V6_FINGERPRINT = b"\x21\x06" + os.urandom(32)
KEYS = {
    "X25519": x25519(noise(8), noise(32), noise(40)),
    "X448": packet(1, b"\3" + noise(8) + b"\x1a" + noise(56) + b"\x29\x09" + noise(40)),
    "v6 X25519": packet(1, b"\6" + V6_FINGERPRINT + b"\x19" + noise(32) + b"\x28" + noise(40)),
    "v6 to a v4 key": packet(1, b"\6\x15\4" + noise(20) + b"\x12" + mpi(b"\x40" + noise(32))
                             + b"\x30" + noise(48)),
    "v6 anonymous": packet(1, b"\6\0\x19" + noise(32) + b"\x28" + noise(40)),
    "anonymous": pkesk(keyid=bytes(8)),
    "ECDH": pkesk(algorithm=18, material=mpi(b"\x40" + noise(32)) + b"\x30" + noise(48)),
    "ECDH X448 of GnuPG": pkesk(algorithm=18, material=mpi(noise(56)) + b"\x30" + noise(48)),
    "Elgamal": pkesk(algorithm=16, material=mpi(noise(256)) + mpi(noise(255))),
    "RSA 4096": pkesk(material=mpi(noise(512))),
    "RSA with a short number": pkesk(material=mpi(b"\1" + noise(254))),
    "RSA of Go": pkesk(material=b"\x08\0" + b"\0\x17" + noise(254)),
    "ML-KEM-768": packet(1, b"\6" + V6_FINGERPRINT + b"\x23" + noise(32 + 1088) + b"\x28" + noise(40)),
    "ML-KEM-1024": packet(1, b"\6" + V6_FINGERPRINT + b"\x24" + noise(56 + 1568) + b"\x28" + noise(40)),
    "SKESK v4": skesk(b"\4\x09\3\x08" + noise(8) + b"\xff"),
    "SKESK v4 with a key": skesk(b"\4\x09\3\x08" + noise(8) + b"\x60" + noise(33)),
    "SKESK v5": skesk(b"\5\x09\2\3\x08" + noise(8) + b"\x60" + noise(15) + noise(48)),
    "SKESK v6, Argon2": skesk(b"\6\x26\x09\2\x14\4" + noise(16) + b"\1\4\x15" + noise(15) + noise(48)),
    "SKESK v6": skesk(b"\6\x1d\x09\2\x0b\3\x08" + noise(8) + b"\x60" + noise(15) + noise(48)),
    "legacy format": packet(1, b"\3" + noise(8) + b"\1" + mpi(noise(256)), legacy=True),
    "several": b"".join(x25519(noise(8), noise(32), noise(40)) for _ in range(7)),
    "several anonymous": b"".join(x25519(bytes(8), noise(32), noise(40)) for _ in range(7)),
    "a thousand": b"".join(x25519(noise(8), noise(32), noise(40)) for _ in range(1000)),
    "the same key often": x25519(b"TESTTEST", noise(32), noise(40)) + b"".join(
        x25519(b"TESTTEST", noise(32), noise(40)) for _ in range(20)),
}
V2 = b"\2\x09\2\x06"
BODIES = {
    "v1": seipd(), "v1, short": seipd(noise(49)), "v2 OCB": packet(18, V2 + noise(400)),
    "v2 GCM": packet(18, b"\2\x07\3\x10" + noise(90)),
    "two-octet length": b"\xd2" + bytes([192 + 2, 100]) + b"\1" + noise(512 + 292 - 1),
    "partial lengths": partial(18, [b"\1" + noise(511), noise(8192), noise(1)], noise(3)),
    "partial, the last piece empty": partial(18, [b"\1" + noise(1023)], b""),
    "512 KiB pieces": partial(18, [V2 + noise((512 << 10) - 4)] * 2, noise(1000)),
    "large": seipd(noise(1_500_000)),
}


def subpacket(kind, content):
    return bytes([len(content) + 1, kind]) + content


def notation(name, value):
    """A signature's notation for people to read, RFC 9580 section 5.2.3.24."""
    content = b"\x14\x80\0\0\0" + len(name).to_bytes(2, "big") + len(value).to_bytes(2, "big") + name + value
    return b"\xff" + len(content).to_bytes(4, "big") + content


def signature(kind, *more):
    """A signature over a key, as rPGP and GnuPG write it, with more subpackets."""
    hashed = b"".join((
        subpacket(33, b"\4" + noise(20)), subpacket(2, noise(4)), subpacket(27, b"\3"),
        subpacket(11, b"\x09\x08\x07"), subpacket(21, b"\x0a\x09\x08"), subpacket(22, b"\0"),
        subpacket(30, b"\x09"), subpacket(25, b"\1"), *more))
    unhashed = subpacket(16, noise(8))
    numbers = mpi(noise(32)) + mpi(noise(32))
    return packet(2, bytes([4, kind, 22, 10]) + len(hashed).to_bytes(2, "big") + hashed
                  + len(unhashed).to_bytes(2, "big") + unhashed + noise(2) + numbers)


def public_key(user, *more):
    """The packets of an Ed25519 key with an X25519 subkey; `more` goes into its first signature."""
    return (packet(6, b"\4" + noise(4) + b"\x16\x09+\6\1\4\1\xdaG\x0f\1" + mpi(b"\x40" + noise(32))), packet(13, user),
            signature(0x13, *more), packet(14, b"\4" + noise(4) + b"\x12\x0a+\6\1\4\1\x97U\1\5\1"
                                           + mpi(b"\x40" + noise(32)) + b"\3\1\x08\7"),
            signature(0x18))


def relays(count):
    """What core 2.45 and later write into a key: all addresses of its owner."""
    return notation(b"relays@chatmail.at", b",".join(
        b"abcdefgh%d@relay%d.example.org" % (number, number) for number in range(count)))


KEY = public_key(b"<alice@chat.test>")
ADDRESS = b"addr=alice@chat.test; prefer-encrypt=mutual; keydata="


def autocrypt(packets, width=78):
    """The header of a key, as core folds it."""
    return ADDRESS + folded(b64encode(b"".join(packets)), width)


def folded(value, width=76):
    return b"\n ".join(value[at:at + width] for at in range(0, len(value), width))


def clients():
    """What clients put around the same ciphertext."""
    text = armor(KEYS["X25519"] + BODIES["v1"])
    delimiter = b"--" + BOUNDARY.encode()

    def parts(one, two, before=b"", after=b"", blank=b"\r\n"):
        return b"".join((before, delimiter, b"\r\n", one, b"\r\nVersion: 1\r\n", blank, delimiter,
                         b"\r\n", two, b"\r\n", text, blank, delimiter, b"--\r\n", after))

    one = b"Content-Type: application/pgp-encrypted\r\n"
    two = b"Content-Type: application/octet-stream\r\n"
    asc = b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
    described = b"Content-Description: PGP/MIME version identification\r\n"
    encrypted = b"Content-Description: OpenPGP encrypted message\r\n"
    inline = b'Content-Disposition: inline; filename="encrypted.asc"\r\n'
    charset = b'; charset="utf-8"\r\n'
    return {
        "Delta Chat 1.100": parts(one + described, asc + encrypted + inline[:-2] + b";\r\n"),
        "Delta Chat 2": parts(
            one[:-2] + charset + b"Content-Transfer-Encoding: 7bit\r\n",
            two[:-2] + charset + b"Content-Transfer-Encoding: 7bit\r\n", before=b"\r\n"),
        "Delta Chat 2, descriptions": parts(
            one[:-2] + charset + described + b"Content-Transfer-Encoding: 7bit\r\n",
            asc[:-2] + charset + encrypted + inline[:-2] + b";\r\nContent-Transfer-Encoding: 7bit\r\n",
            before=b"\r\n"),
        "Thunderbird": parts(
            one + described, asc + encrypted + inline,
            before=b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n"),
        "Enigmail": parts(
            one + described, asc + encrypted + inline,
            before=b"\r\nThis is an OpenPGP/MIME encrypted message (RFC 2440 and 3156)\r\n"),
        "Mailvelope": parts(
            one + b"Content-Description: PGP/MIME Versions Identification\r\n",
            asc + encrypted + inline,
            before=b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n\r\n"),
        "K-9": parts(one, asc + inline, blank=b"", before=b""),
        "Mutt": parts(one + b"Content-Disposition: attachment\r\n",
                      two + b'Content-Disposition: attachment; filename="msg.asc"\r\n'),
        "Evolution": parts(one + b"Content-Transfer-Encoding: 7bit\r\n",
                           asc[:-2].replace(b"; ", b";\r\n\t") + b"\r\n"
                           b"Content-Description: This is an encrypted message part\r\n"
                           b"Content-Transfer-Encoding: 7bit\r\n"),
        "KMail": parts(one + b'Content-Disposition: attachment\r\nContent-Transfer-Encoding: 7Bit\r\n',
                       two + b'Content-Disposition: inline; filename="msg.asc"\r\n'
                       b"Content-Transfer-Encoding: 7Bit\r\n"),
        "Proton": parts(
            one[:-2] + b'; name="version.asc"\r\n' + described, asc + encrypted + inline,
            before=b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n"),
        "Apple": parts(one + b"Content-Transfer-Encoding: 7bit\r\n"
                       b"Content-Description: PGP/MIME Versions Identification\r\n",
                       b"Content-Transfer-Encoding: 7bit\r\nContent-Disposition: inline;\r\n"
                       b"\tfilename=encrypted.asc\r\nContent-Type: application/octet-stream;\r\n"
                       b"\tname=encrypted.asc\r\n" + encrypted),
        "blank lines at the end": parts(one, two, after=b"\r\n\r\n"),
        "no line end at the end": parts(one, two)[:-2],
    }


def with_headers():
    """Headers of real clients, on a good body."""
    kind = b'multipart/encrypted; protocol="application/pgp-encrypted"'
    for name, boundary in {
        "Delta Chat 1": b"nB3oHIWG9k9oLyWfzVbbBm2OZtQ3yM", "Delta Chat 2": b"18a2f1b3c4d5e6f7_6b8b4567_327b23c6",
        "Thunderbird": b"------------0rOA0EFcM2hvCn0IE9FXUa1G", "Mutt": b"a8Wt8u1KmwUX3Y2C",
        "K-9": b"----R3Z5ZQ3V8F8M5QGLJ5IX5D4FZ9VKJW", "Evolution": b"=-abcDEF+/GhI12=",
        "Apple": b"Apple-Mail=_ABCDEFAB-FACE-DEAD-BEEF-0123456789AB", "KMail": b"nextPart2278331.ElGaqSPkdT",
        "Python": b"===============7330845974216740156==", "Emacs": b"=-=-=", "nodemailer": b"--_NmP-9f8c9ab0b7a7c1e3-Part_1",
        "emailjs": b"----sinikael-?=_1-16158899853500.9123", "Outlook": b"----=_NextPart_000_0001_01D5ABCD.12345678",
        "Claws": b"Sig_/aBcDeFgHiJ", "Roundcube": b"=_0123456789abcdef0123456789abcdef", "seventy": b"a1" * 35,
    }.items():
        yield f"boundary of {name}", attacks.replaced(
            "Content-Type", kind + b';\n\tboundary="' + boundary + b'"'), boundary
    for name, value in {
        "unquoted": b"multipart/encrypted; protocol=application/pgp-encrypted; boundary=" + BOUNDARY.encode(),
        "boundary first": b'multipart/encrypted; boundary="' + BOUNDARY.encode() + b'";\n protocol="application/pgp-encrypted"',
        "capitals": b'Multipart/Encrypted; PROTOCOL="Application/PGP-Encrypted"; Boundary="' + BOUNDARY.encode() + b'"',
        "charset": kind + b'; charset=utf-8; boundary="' + BOUNDARY.encode() + b'"',
        "semicolon at the end": kind + b'; boundary="' + BOUNDARY.encode() + b'";',
        "white space": b' multipart/encrypted;  protocol="application/pgp-encrypted"; \n \tboundary="' + BOUNDARY.encode() + b'" ',
    }.items():
        yield f"Content-Type {name}", attacks.replaced("Content-Type", value), None
    for name, value in {
        "bare": b"alice@chat.test", "name": b"Alice <alice@chat.test>", "quoted": b'"Alice, A." <alice@chat.test>',
        "encoded": b"=?utf-8?q?Al=C3=ADce?= <alice@chat.test>", "UTF-8": '"Алиса" <alice@chat.test>'.encode(),
        "several words": b"=?utf-8?b?0JDQu9C40YHQsA==?=\n =?utf-8?b?0JDQu9C40YHQsA==?= <alice@chat.test>",
        "empty name": b'"" <alice@chat.test>', "own address": b'"alice@chat.test" <alice@chat.test>',
        "case": b"Alice <Alice@Chat.Test>", "escapes": b'"Alice \\"A\\" O\'Hara" <alice@chat.test>',
        "folded": b"Alice\n <alice@chat.test>", "dots": b"Alice B. Carroll <alice@chat.test>", "at work": b'"Alice @ work" <alice@chat.test>',
    }.items():
        yield f"From {name}", attacks.replaced("From", value), None
    many = b", ".join(b'"Person %d" <person%04d@chat.test>' % (n, n) for n in range(60))
    for name, value in {
        "To": b"bob@chat.test, =?utf-8?q?C=C3=A9cile?= <cecile@example.org>",
        "In-Reply-To": b"<Mr.abcdefgh.ijklmnop@chat.test>", "Reply-To": b"<list@example.org>",
        "References": b"\n ".join(b"<%032x@localhost>" % n for n in range(40)),
        "Chat-Disposition-Notification-To": b"alice@chat.test", "Auto-Submitted": b"auto-generated",
        "List-ID": b'"Channel" <xyz.chat.test>', "Chat-Group-ID": b"AbCdEfGhIjK",
        "Content-Transfer-Encoding": b"7bit", "X-Mailer": b"Evolution", "User-Agent": b"Mozilla Thunderbird",
        "Autocrypt": ADDRESS + folded(b64encode(b"".join(KEY))),
        "Autocrypt-Gossip": b"addr=bob@chat.test; keydata=" + folded(b64encode(b"".join(KEY))),
    }.items():
        yield f"header {name}", [*attacks.replaced(name, None), (name, value)], None
    rsa = (b"\xc6\xc1\x4d\4" + noise(524), KEY[1], b"\xc2\xc1\x94\4" + noise(595), KEY[1],
           b"\xc2\xc1\x94\4" + noise(595), b"\xce\xc1\x4d\4" + noise(524), b"\xc2\xc1\x7c\4" + noise(571))
    yield "Autocrypt RSA", [*headers(), ("Autocrypt", ADDRESS + b64encode(b"".join(rsa)))], None
    yield "Autocrypt ML-KEM", [*headers(), ("Autocrypt", ADDRESS + b64encode(
        b"\xc6\xd2\xff\6" + noise(5054) + KEY[1]))], None
    yield "Autocrypt, half a signature", [*headers(), ("Autocrypt", ADDRESS + b64encode(
        b"".join(KEY)[:-60]))], None
    for count in (1, 3, 5):
        yield f"Autocrypt of core 2.45, {count} relays", [
            *headers(), ("Autocrypt", autocrypt(public_key(b"<alice@chat.test>", relays(count))))], None
    yield "Autocrypt of GnuPG with identities", [*headers(), ("Autocrypt", autocrypt(public_key(
        b"Alice <alice@chat.test>", *(notation(b"proof@ariadne.id", b"https://example.org/@alice%d" % n) for n in range(6)),
        subpacket(24, b"https://keys.example.org/alice"), subpacket(28, b"alice@chat.test"))))], None
    yield "Autocrypt with an image", [*headers(), ("Autocrypt", autocrypt((*KEY, packet(17, noise(1500)))))], None
    yield "Autocrypt without a key", [*headers(), ("Autocrypt", b"addr=alice@chat.test; prefer-encrypt=mutual")], None
    yield "Autocrypt with a new attribute", [*headers(), ("Autocrypt", b"addr=alice@chat.test; new=1; keydata=AAAA")], None
    for subject in (b"...", b"[...]", b"Re: hello", b"=?utf-8?q?=5B=2E=2E=2E=5D?=", b"Encrypted Message", b""):
        yield f"Subject {subject.decode()}", attacks.replaced("Subject", subject), None
    for date in (b"Sun, 22 Nov 2026 16:00:00 +0000", b"22 Nov 2026 16:00:00 GMT", b"Sun,  1 Nov 2026 6:00:00 -0500"):
        yield f"Date {date.decode()}", attacks.replaced("Date", date), None
    yield "MIME-Version of Apple Mail", attacks.replaced(
        "MIME-Version", rb"1.0 (Mac OS X Mail 16.0 \(3696.120.41.1.1\))"), None
    yield "no To", attacks.replaced("To", None), None
    yield "sixty recipients", attacks.replaced("To", many), None


def securejoins():
    plain = [pair for pair in headers() if pair[0] not in ("Content-Type",)]
    for step in (b"vc-request", b"vg-request"):
        join = [*plain, ("Secure-Join", step), ("Secure-Join-Invitenumber", b"T0uC6yY_-fM")]
        request = b"Secure-Join: " + step + b"\r\n"
        for name, extra, text in (
            ("bare", [("Content-Type", b"text/plain; charset=utf-8")], request),
            ("core 2.59", [("Content-Type", b'text/plain; charset="utf-8"'), ("Content-Transfer-Encoding", b"7bit")], request),
            ("flowed", [("Content-Type", b"text/plain; charset=utf-8; format=flowed; delsp=no")], request),
            ("lower case", [("Content-Type", b"text/plain; charset=utf-8")], request.lower() + b"\r\n\r\n"),
            ("quoted-printable", [("Content-Type", b"text/plain; charset=utf-8"), ("Content-Transfer-Encoding", b"quoted-printable")], request.replace(b"-j", b"=2Dj")),
            ("base64", [("Content-Type", b"text/plain; charset=utf-8"), ("Content-Transfer-Encoding", b"base64")], b64encode(request) + b"\r\n"),
        ):
            yield f"{step.decode()} {name}", [*join, *extra], text
        mixed = [*join, ("Content-Type", b'multipart/mixed; boundary="xyz"')]
        for name, head in {
            "old": b"Content-Type: text/plain; charset=utf-8; format=flowed; delsp=no\r\n",
            "1.160 and 2.10": b"Content-Type: text/plain; charset=\"utf-8\"\r\nMessage-ID: <abc.def-123@localhost>\r\nContent-Transfer-Encoding: 7bit\r\n",
            "folded": b"Content-Type: text/plain;\r\n charset=utf-8\r\n",
            "no head": b"",
        }.items():
            yield f"{step.decode()} mixed {name}", mixed, b"\r\n--xyz\r\n" + head + b"\r\n" + request + b"\r\n--xyz--\r\n\r\n"
        for count in (1, 3, 5):
            yield f"{step.decode()} of core 2.45, {count} relays", [
                *join, ("Content-Type", b"text/plain; charset=utf-8"),
                ("References", b"<%s@localhost>" % (b"0" * 36)),
                ("Autocrypt", autocrypt(public_key(b"<alice@chat.test>", relays(count))))], request
        yield f"{step.decode()} of core 1.131", [
            *mixed, ("Secure-Join-Fingerprint", b"0123456789ABCDEF0123456789abcdef01234567"),
            ("Secure-Join-Group", b"AbCdEfGhIjK")], (
                b"\r\n--xyz\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + request + b"\r\n--xyz--\r\n")
        yield f"{step.decode()} with a key", [
            *join, ("Content-Type", b"text/plain"), ("Autocrypt", ADDRESS + b64encode(b"".join(KEY)))], request


@functools.cache
def table():
    found = []
    for name, key in KEYS.items():
        found.append((f"key {name}", headers(), mime_body(armor(key + BODIES["v1"]))))
    for name, ciphertext in BODIES.items():
        found.append((f"ciphertext {name}", headers(), mime_body(armor(KEYS["RSA 4096"] + ciphertext))))
    for width in (60, 64, 72, 76):
        for checksum in (True, False):
            found.append((f"armor of width {width}, checksum {checksum}", headers(), mime_body(
                armor(KEYS["X25519"] + seipd(noise(601 + width)), width, checksum))))
    found += [(f"client {name}", headers(), text) for name, text in clients().items()]
    text = armor(KEYS["X25519"] + BODIES["v1"]).replace(b"\r\n", b"\n")
    found += [(f"program {name}", *program(random.Random(name), text))
              for name, program in programs.OUTGOING.items()]
    body = mime_body(armor(KEYS["X25519"] + BODIES["v1"]))
    for name, head, boundary in with_headers():
        found.append((name, head, body.replace(BOUNDARY.encode(), boundary) if boundary else body))
    return found + list(securejoins())
