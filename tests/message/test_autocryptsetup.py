"""The Autocrypt Setup Message passes where it is allowed, to its sender only, and with no room."""

import dataclasses
from base64 import encodebytes

import attacks
import pytest
from openpgpmessages import gpg_symmetric, headers
from outgoingrules import ALICE, DOMAIN, judge

ALLOWED = dataclasses.replace(DOMAIN, allow_autocrypt_setup=True)
KEY = gpg_symmetric(4000).replace(b"\n", b"\r\n")
WORDS = (b"This is the Autocrypt Setup Message used to transfer your end-to-end setup between "
         b"clients.\r\n\r\nTo decrypt and use your setup, open the message in an Autocrypt-"
         b"compliant client and enter the setup code presented on the generating device.\r\n")
TITLE = b"Autocrypt Setup Message"
TEXT_HEAD = b"Content-Type: text/plain; charset=utf-8; format=flowed; delsp=no\r\n"
FILE_HEAD = (b"Content-Type: application/autocrypt-setup\r\n"
             b'Content-Disposition: attachment; filename="autocrypt-setup-message.html"\r\n')
BASE64 = b"Content-Transfer-Encoding: base64\r\n"
HEADERS = [*attacks.replaced("Content-Type", b'multipart/mixed; boundary="xyz"'),
           ("Autocrypt-Setup-Message", b"v1")]


CODE = b"Passphrase-Format: numeric9x4\r\nPassphrase-Begin: 12\r\n"


def page(key=KEY, words=WORDS.strip(), head=CODE):
    key = key.replace(b"MESSAGE-----\r\n\r\n", b"MESSAGE-----\r\n" + head + b"\r\n", 1)
    return (b"<!DOCTYPE html>\r\n<html>\r\n  <head>\r\n    <title>" + TITLE + b"</title>\r\n"
            b"  </head>\r\n  <body>\r\n    <h1>" + TITLE + b"</h1>\r\n    <p>" + words + b"</p>\r\n"
            b"    <pre>\r\n" + key + b"</pre>\r\n  </body>\r\n</html>\r\n")


def body(words=WORDS, html=None, text_head=TEXT_HEAD, file_head=FILE_HEAD, before=b"", after=b""):
    html = page() if html is None else html
    return (before + b"--xyz\r\n" + text_head + b"\r\n" + words + b"\r\n--xyz\r\n" + file_head
            + b"\r\n" + html + b"\r\n--xyz--\r\n" + after)


def decide(text, domain=ALLOWED, recipients=(ALICE,), message_headers=HEADERS):
    found = judge(message_headers, text, 1000, domain, recipients)
    assert found == judge(message_headers, text, 65535, domain, recipients)
    return found


def encoded(html):
    return encodebytes(html).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("text", [
    body(), body(html=encoded(page()), file_head=FILE_HEAD + BASE64),
    body(html=page(head=b"")),
    body(words=encoded("Это сообщение.".encode()), text_head=TEXT_HEAD + BASE64),
    body(html=encoded(page().replace(b"\r\n", b"\n")), file_head=FILE_HEAD + BASE64,
         before=b"\r\n"),
], ids=["plain", "base64", "no-armor-headers", "other-language", "LF-in-base64"])
def test_it_passes_to_oneself_where_it_is_allowed(text):
    found = decide(text)
    assert found.accepted and found.reason == "autocrypt-setup", found
    assert "Autocrypt-Setup-Message" not in [change.name for change in found.changes]


@pytest.mark.parametrize("domain, recipients, message_headers", [
    (DOMAIN, [ALICE], HEADERS),
    (ALLOWED, ["bob@chat.test"], HEADERS),
    (ALLOWED, [ALICE, "bob@chat.test"], HEADERS),
    (ALLOWED, [], HEADERS),
    (ALLOWED, [ALICE], HEADERS[:-1]),
    (ALLOWED, [ALICE], [*HEADERS[:-1], ("Autocrypt-Setup-Message", attacks.TEXT)]),
    (ALLOWED, [ALICE], [*HEADERS, HEADERS[-1]]),
], ids=["by-default", "to-another", "to-another-too", "to-nobody", "no-header", "other", "twice"])
def test_it_passes_only_there(domain, recipients, message_headers):
    assert not decide(body(), domain, recipients, message_headers).accepted


TEXT = attacks.TEXT + b"\r\n"


@pytest.mark.parametrize("text", [
    body(before=TEXT), body(after=TEXT), body(words=TEXT * 14), body(words=WORDS + b"\0"),
    body(html=TEXT), body(html=page(words=TEXT * 14)), body(html=page() + TEXT * 14),
    body(html=page(words=b'<img src="https://x.test/' + TEXT.strip() + b'">')),
    body(html=page(words=b"<script>alert(1)</script>")),
    body(html=page(key=attacks.armor(attacks.pkesk() + attacks.seipd()))),
    body(html=page(key=attacks.armor(attacks.skesk(b"\4\x09\3\x08" + bytes(8) + b"\x60")
                                     + attacks.seipd(attacks.LONG)))),
    body(html=page(key=KEY.replace(b"-----END", TEXT + b"-----END"))),
    body(html=page(key=KEY + TEXT)), body(html=page(key=KEY + KEY)),
    body(html=page(head=b"Comment: " + TEXT)),
    body(text_head=TEXT_HEAD + b"Subject: " + TEXT),
    body(text_head=TEXT_HEAD.replace(b"plain", b"html")),
    body(file_head=FILE_HEAD.replace(b"autocrypt-setup-message.html", TEXT.strip())),
    body(file_head=FILE_HEAD.replace(b"autocrypt-setup\r", b"octet-stream\r")),
    body(file_head=FILE_HEAD + b"X-Note: " + TEXT),
    body(html=encoded(page()) + TEXT, file_head=FILE_HEAD + BASE64),
    body() + b"--xyz\r\n" + TEXT, body(after=b"x" * 200_000), b"", b"--xyz--\r\n",
    body().replace(b"--xyz--", b"--xyz\r\n" + TEXT_HEAD + b"\r\n" + TEXT + b"--xyz--"),
])
def test_it_has_no_room_for_more(text):
    assert not decide(text).accepted


def test_a_message_in_the_clear_gains_nothing_by_the_header():
    plain = [*headers(), HEADERS[-1]]
    assert not decide(TEXT, message_headers=attacks.replaced(
        "Content-Type", b"text/plain", plain)).accepted
