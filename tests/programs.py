"""How mail programs frame an OpenPGP message: the facts of each generator, with what it draws at
random. `OUTGOING` are programs that people submit with, `INCOMING` are others whose mail arrives.

Each takes a `random.Random` and the armored message, and returns (headers, body) as the milter
sees them. What Debian has and needs no window is run itself, see `realprograms`. Sylpheed, Claws
Mail and Evolution's library were run once, and their mail is in data/programs; what they draw is
from their source. The others are made again from their source or from their mail.
"""

import calendar
import random
import string
from base64 import encodebytes
from collections.abc import Callable
from email.utils import formatdate
from quopri import encodestring

from openpgpmessages import crlf

Message = tuple[list[tuple[str, bytes]], bytes]
Program = Callable[[random.Random, bytes], Message]

ALNUM = string.ascii_letters + string.digits
BASE64 = ALNUM + "+/"
HEXADECIMAL = "0123456789abcdef"
TYPE_1 = b"Content-Type: application/pgp-encrypted\r\n"
TYPE_2 = b"Content-Type: application/octet-stream\r\n"
NAMED = b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
INLINE = b'Content-Disposition: inline; filename="encrypted.asc"\r\n'
DESCRIBED = b"Content-Description: PGP/MIME version identification\r\n"
ENCRYPTED = b"Content-Description: OpenPGP encrypted message\r\n"
RFC_3156 = b"This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n"
SENDER = b"alice@chat.test"


def drawn(draw: random.Random, characters: str, count: int) -> str:
    return "".join(draw.choices(characters, k=count))


def date(draw: random.Random) -> str:
    zone = draw.choice(["+0000", "+0100", "-0500", "+0545", "-0330", "+1400"])
    return formatdate(draw.randrange(calendar.timegm((2026, 1, 1, 0, 0, 0)), 1 << 31))[:-5] + zone


def framed(draw: random.Random, boundary: str, one: bytes, two: bytes, armored: bytes, *,
           before: bytes = b"", version: bytes = b"Version: 1\r\n\r\n", end: bytes = b"\r\n",
           content_type: str = 'multipart/encrypted; protocol="application/pgp-encrypted";\n'
                               ' boundary="{}"',
           more: tuple[tuple[str, bytes], ...] = ()) -> Message:
    """The message of that boundary and those heads of parts."""
    delimiter = b"--" + boundary.encode()
    headers = [
        ("From", draw.choice([b"", b"Alice ", b'"Alice, A." ', b"=?utf-8?q?Al=C3=ADce?= "])
         + b"<" + SENDER + b">"),
        ("To", b"Bob <bob@example.org>"),
        ("Subject", b"..."),
        ("Date", date(draw).encode()),
        ("Message-ID", b"<%s@chat.test>" % drawn(draw, ALNUM, 22).encode()),
        ("MIME-Version", b"1.0"),
        ("Content-Type", content_type.format(boundary).encode()),
        *more,
    ]
    body = b"".join((before, delimiter, b"\r\n", one, b"\r\n", version, delimiter, b"\r\n", two,
                     b"\r\n", crlf(armored), end, delimiter, b"--\r\n"))
    return headers, body


def sylpheed(draw: random.Random, armored: bytes) -> Message:
    """libsylph/utils.c: the date with blanks, commas and colons replaced, 16 of 67 characters."""
    when = date(draw)
    for character in " ,:":
        when = when.replace(character, "_")
    boundary = f"Encrypt=_{when}_{drawn(draw, ALNUM + '+_./=', 16)}"
    return framed(draw, boundary, TYPE_1, TYPE_2, armored)


def claws(draw: random.Random, armored: bytes) -> Message:
    """Claws Mail's own of that function (src/common/utils.c): no date, 23 characters."""
    boundary = f"Encrypt_/{drawn(draw, ALNUM + '+_./=', 23)}"
    return framed(draw, boundary, TYPE_1, TYPE_2, armored,
                  content_type='multipart/encrypted; boundary="{}";\n'
                               ' protocol="application/pgp-encrypted"')


def evolution(draw: random.Random, armored: bytes) -> Message:
    """Camel: base64 of an MD5 sum; the description is in the person's language."""
    boundary = "=-" + drawn(draw, BASE64, draw.choice([20, 21, 22])) + draw.choice(["", "=="])
    described = draw.choice([
        b"This is an encrypted message part", b"This is a digitally encrypted message part",
        b"=?UTF-8?Q?Dies_ist_ein_verschl=C3=BCsselter_Nachrichtenteil?=",
        b"=?UTF-8?Q?Ceci_est_une_partie_de_message_chiffr=C3=A9e?=",
        "Это зашифрованная часть сообщения".encode(),
    ])
    transfer = draw.choice([b"", b"Content-Transfer-Encoding: 7bit\r\n"])
    return framed(
        draw, boundary, TYPE_1 + transfer,
        NAMED + b"Content-Description: " + described + b"\r\n" + transfer, armored,
        content_type='multipart/encrypted; protocol="application/pgp-encrypted";\n\tboundary="{}"')


def mutt(draw: random.Random, armored: bytes) -> Message:
    """96 random bits in base64; Content-Disposition in the message headers goes."""
    return framed(
        draw, drawn(draw, BASE64, 16), TYPE_1 + b"Content-Disposition: attachment\r\n",
        TYPE_2 + b'Content-Disposition: attachment; filename="msg.asc"\r\n', armored,
        before=b"\r\n",
        content_type='multipart/encrypted; protocol="application/pgp-encrypted";\n\tboundary="{}"',
        more=(("Content-Disposition", b"inline"),))


def k9(draw: random.Random, armored: bytes) -> Message:
    """K-9 and Thunderbird for Android: the first part is a text body, and so quoted-printable."""
    return framed(
        draw, "----" + drawn(draw, string.ascii_uppercase + string.digits, 30),
        TYPE_1 + b"Content-Transfer-Encoding: quoted-printable\r\n",
        NAMED.replace(b"; ", b";\r\n ") + b"Content-Transfer-Encoding: 7bit\r\n"
        + INLINE.replace(b"; ", b";\r\n "), armored, version=b"Version: 1\r\n",
        content_type='multipart/encrypted; boundary="{}";\n  protocol="application/pgp-encrypted"',
        more=(("User-Agent", b"Thunderbird for Android"),))


def fairemail(draw: random.Random, armored: bytes) -> Message:
    """Jakarta Mail's boundary; the version part has nothing in it."""
    boundary = f"----=_Part_{draw.randrange(100)}_{draw.randrange(1 << 28)}.{draw.randrange(1 << 41)}"
    return framed(
        draw, boundary, TYPE_1 + b"Content-Transfer-Encoding: 7bit\r\n",
        b"Content-Type: application/octet-stream; name=encrypted.asc\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"Content-Disposition: inline; filename=encrypted.asc\r\n", armored,
        version=draw.choice([b"", b"\r\n"]),
        content_type='multipart/encrypted; protocol="application/pgp-encrypted"; \n\tboundary="{}"')


def horde(draw: random.Random, armored: bytes) -> Message:
    return framed(
        draw, "=_" + drawn(draw, ALNUM + "-_", 24),
        TYPE_1 + b"Content-Description: PGP/MIME Versions Identification\r\n",
        b"Content-Type: application/octet-stream\r\n"
        b"Content-Description: PGP Encrypted Data\r\nContent-Disposition: inline\r\n", armored,
        before=b"This message is in MIME format.\r\n\r\n",
        content_type='multipart/encrypted; boundary="{}";\n protocol="application/pgp-encrypted"')


def kmail(draw: random.Random, armored: bytes) -> Message:
    boundary = f"nextPart{draw.randrange(1, 1 << 31)}.{drawn(draw, ALNUM, 10)}"
    return framed(
        draw, boundary, TYPE_1 + b"Content-Disposition: attachment\r\n"
        b"Content-Transfer-Encoding: 7Bit\r\n",
        TYPE_2 + b'Content-Disposition: inline; filename="msg.asc"\r\n'
        b"Content-Transfer-Encoding: 7Bit\r\n", armored,
        content_type='multipart/encrypted; boundary="{}"; protocol="application/pgp-encrypted"')


def thunderbird(draw: random.Random, armored: bytes) -> Message:
    return framed(draw, "------------" + drawn(draw, ALNUM, 24), TYPE_1 + DESCRIBED,
                  NAMED + ENCRYPTED + INLINE, armored, before=RFC_3156,
                  content_type='multipart/encrypted; protocol="application/pgp-encrypted";\n'
                               ' boundary="{}"')


def gpgmail(draw: random.Random, armored: bytes) -> Message:
    """GPGMail of old: descriptions and file names in the person's language."""
    blocks = [drawn(draw, "0123456789ABCDEF", count) for count in (8, 4, 4, 4, 12)]
    return framed(
        draw, "Apple-Mail=_" + "-".join(blocks), b"Content-Transfer-Encoding: 7bit\r\n"
        b"Content-Disposition: attachment\r\n" + TYPE_1
        + b"Content-Description: PGP/MIME Versions Identification\r\n",
        b"Content-Transfer-Encoding: 7bit\r\nContent-Disposition: inline;\r\n"
        b"\tfilename=" + draw.choice([b"encrypted.asc", b"verschluesselt.asc"])
        + b"\r\nContent-Type: application/octet-stream;\r\n\tname=encrypted.asc\r\n"
        b"Content-Description: " + draw.choice([
            b"OpenPGP encrypted message", b"Mit OpenPGP =?utf-8?q?verschl=C3=BCsselte?= Nachricht"])
        + b"\r\n", armored, before=RFC_3156,
        content_type='multipart/encrypted;\n\tboundary="{}";\n\tprotocol="application/pgp-encrypted"',
        more=(("MIME-Version", b"1.0"),)[1:])


def roundcube(draw: random.Random, armored: bytes) -> Message:
    return framed(
        draw, "=_" + drawn(draw, HEXADECIMAL, 32), TYPE_1 + DESCRIBED, NAMED.replace(
            b"; ", b";\r\n ") + b"Content-Description: PGP/MIME encrypted message\r\n"
        + INLINE.replace(b"; ", b";\r\n "), armored, before=RFC_3156 + b"\r\n",
        content_type='multipart/encrypted;\n boundary="{}";\n protocol="application/pgp-encrypted"')


def schleuder(draw: random.Random, armored: bytes) -> Message:
    """Ruby's mail with mail-gpg."""
    boundary = f"--==_mimepart_{drawn(draw, HEXADECIMAL, 13)}_{drawn(draw, HEXADECIMAL, 16)}"
    return framed(
        draw, boundary, TYPE_1 + b"Content-Transfer-Encoding: 7bit\r\n"
        b"Content-Description: PGP/MIME Versions Identification\r\n",
        b"Content-Type: application/octet-stream;\r\n name=encrypted.asc\r\n"
        b"Content-Transfer-Encoding: 7bit\r\nContent-Disposition: inline;\r\n"
        b" filename=encrypted.asc\r\n" + ENCRYPTED, armored,
        before=RFC_3156.replace(b"4880", b"2440"),
        content_type='multipart/encrypted;\n boundary="{}";\n protocol="application/pgp-encrypted";\n'
                     ' charset=UTF-8')


def bot(draw: random.Random, armored: bytes) -> Message:
    """Bots in Python, some of whom tell in Autocrypt that they have no key."""
    return framed(
        draw, f"==============={draw.randrange(1 << 62):019d}==",
        b"Content-Transfer-Encoding: 7bit\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: application/pgp-encrypted; charset="us-ascii"\r\n',
        TYPE_2 + b"MIME-Version: 1.0\r\n", armored, version=b"Version: 1\r\n",
        more=(("Autocrypt", b"addr=%s; prefer-encrypt=%s" % (
            SENDER, draw.choice([b"mutual", b"nopreference"]))),))


def delta_chat(draw: random.Random, armored: bytes) -> Message:
    boundary = "_".join(drawn(draw, HEXADECIMAL, count) for count in (16, 8, 8))
    charset = b'; charset="utf-8"\r\n'
    return framed(
        draw, boundary, TYPE_1[:-2] + charset + b"Content-Transfer-Encoding: 7bit\r\n",
        TYPE_2[:-2] + charset + b"Content-Transfer-Encoding: 7bit\r\n", armored, before=b"\r\n",
        more=(("Chat-Version", b"1.0"),))


def pgp_universal(draw: random.Random, armored: bytes) -> Message:
    boundary = "PGP_Universal_" + "_".join(drawn(draw, "0123456789ABCDEF", 8) for _ in range(4))

    def head(media_type: bytes, code: bytes, name: bytes) -> bytes:
        return (b"Content-Type: application/" + media_type + b";\r\n\tx-mac-type=" + code
                + b";\r\n\tname=" + name + b"\r\nContent-Disposition: attachment; filename=" + name
                + b"\r\n")
    return framed(
        draw, boundary, head(b"pgp-encrypted", b"54455854", b"Version.txt"),
        head(b"octet-stream", b"70674546", b"Message.pgp"), armored.replace(
            b"MESSAGE-----\n", b"MESSAGE-----\nVersion: PGP Universal 3.3.2 (Build 1)\n", 1),
        content_type='multipart/encrypted;\n\tboundary="{}";\n\tprotocol="application/pgp-encrypted"')


def icewarp(draw: random.Random, armored: bytes) -> Message:
    blank = draw.choice([b"", b" ", b"\t", b"   "])
    return framed(draw, drawn(draw, ALNUM, 20), TYPE_1, TYPE_2, armored.replace(
        b"MESSAGE-----\n\n", b"MESSAGE-----\nVersion: IceWarp 11\nComment:\n" + blank + b"\n", 1))


def mime_lite(draw: random.Random, armored: bytes) -> Message:
    """A part of a message each is 7bit, the whole is called binary."""
    headers, body = framed(
        draw, f"_----------=_{draw.randrange(10 ** 14, 10 ** 15)}",
        b"Content-Disposition: inline\r\nContent-Transfer-Encoding: 7bit\r\n" + TYPE_1,
        INLINE + b"Content-Transfer-Encoding: " + draw.choice([b"7bit", b"binary"]) + b"\r\n"
        + NAMED, armored, before=b"This is a multi-part message in MIME format.\r\n\r\n",
        content_type='multipart/encrypted; protocol="application/pgp-encrypted"; boundary="{}"')
    return [("Content-Transfer-Encoding", b"binary"), *headers], body


def _encoded(draw: random.Random, armored: bytes, encoding: bytes,
             encode: Callable[[bytes], bytes]) -> Message:
    identifier = drawn(draw, string.ascii_lowercase + string.digits, 10).encode()
    transfer = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    attached = (b"Content-ID: <f_" + identifier + b">\r\nX-Attachment-Id: f_" + identifier + b"\r\n")
    return framed(
        draw, "0000000000" + drawn(draw, HEXADECIMAL, 18), TYPE_1 + DESCRIBED + transfer + attached,
        NAMED + INLINE + ENCRYPTED + transfer + attached, encode(armored), before=b"",
        version=crlf(encode(b"Version: 1")),
        content_type='multipart/encrypted; boundary="{}"; protocol="application/pgp-encrypted"')


def gmail_base64(draw: random.Random, armored: bytes) -> Message:
    """Mailvelope through Gmail."""
    ended = draw.choice([armored, crlf(armored), armored.rstrip(b"\n")])
    return _encoded(draw, ended, b"base64", encodebytes)


def gmail_quoted(draw: random.Random, armored: bytes) -> Message:
    return _encoded(draw, armored, b"quoted-printable", lambda octets: encodestring(octets) + b"\n")


def outlook(draw: random.Random, armored: bytes) -> Message:
    """Exchange puts dates into the disposition and an identifier of its own to each part."""
    then = b"Sat, 28 Nov 2026 10:00:00 GMT"
    attached = (b"Content-ID: <%s@eurprd04.prod.outlook.com>\r\n"
                % drawn(draw, "0123456789ABCDEF", 32).encode())
    dates = b'; size=%d;\r\n\tcreation-date="%s";\r\n\tmodification-date="%s"\r\n' % (
        len(armored), then, then)
    return framed(
        draw, f"_002_{drawn(draw, ALNUM, 20)}outlo_", TYPE_1 + attached
        + b"Content-Transfer-Encoding: base64\r\n",
        NAMED + INLINE[:-2] + dates + attached + b"Content-Transfer-Encoding: base64\r\n",
        encodebytes(crlf(armored)), version=crlf(encodebytes(b"Version: 1\r\n")),
        content_type='multipart/encrypted;\n\tprotocol="application/pgp-encrypted";\n\tboundary="{}"')


def gateway(draw: random.Random, armored: bytes) -> Message:
    """Gateways write a few words before the first part, and parameters as long as a line may be."""
    words = draw.choice([b"This message was encrypted by the gateway of Example Ltd.",
                         b"Diese Nachricht ist verschl\xc3\xbcsselt.", b"a " * 127])
    return framed(
        draw, drawn(draw, HEXADECIMAL, 40), TYPE_1, TYPE_2, armored, before=words + b"\r\n\r\n",
        content_type='multipart/encrypted; x-gateway="' + "mail " * 180 + '";\n'
                     + " " * 100 + 'protocol="application/pgp-encrypted"; boundary="{}"')


OUTGOING: dict[str, Program] = {
    function.__name__.replace("_", "-"): function for function in (
        sylpheed, claws, evolution, mutt, k9, fairemail, horde, kmail, thunderbird, gpgmail,
        roundcube, schleuder, bot, delta_chat)}
INCOMING: dict[str, Program] = OUTGOING | {
    function.__name__.replace("_", "-"): function for function in (
        pgp_universal, icewarp, mime_lite, gmail_base64, gmail_quoted, outlook, gateway)}
