"""The key in an Autocrypt header is a key, made here by GnuPG, or the header is text."""

import base64
import os
import random
import subprocess

import pytest

from chatmaild.message import autocryptkey
from chatmaild.message.refusal import Refusal

ANY = 1 << 20
TEXT = b"The meeting is at nine at the old harbour, bring the papers. " * 8


def header(key: bytes) -> bytes:
    return b"addr=alice@chat.test; prefer-encrypt=mutual; keydata=" + base64.b64encode(key)


def counted(value: bytes) -> int:
    found = autocryptkey.read(value, ANY)
    assert found, "no header that counts"
    return found.text


@pytest.fixture(scope="module")
def public_keys(tmp_path_factory):
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    environment = os.environ | {"GNUPGHOME": str(home)}
    keys = {}
    for algorithm in ("future-default", "rsa3072", "nistp256"):
        user = f"{algorithm}@chat.test"
        subprocess.run(["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key",
                        f"<{user}>", algorithm], env=environment, check=True)
        keys[algorithm] = subprocess.run(["gpg", "--export", user], env=environment, check=True,
                                         capture_output=True).stdout
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)
    return keys


@pytest.mark.parametrize("algorithm", ["future-default", "rsa3072", "nistp256"])
def test_a_real_key_counts_as_its_user_id(public_keys, algorithm):
    value = header(public_keys[algorithm])
    before_key = len(b"addr=alice@chat.test; prefer-encrypt=mutual")
    by_chance = counted(value) - before_key - len(f"<{algorithm}@chat.test>")
    assert 0 <= by_chance < 64      # eight octets of ASCII in a row, about twice in 10 KB


@pytest.mark.parametrize("folding", [b" ", b"\r\n ", b"\n\t"])
def test_a_key_may_be_folded(public_keys, folding):
    value = header(public_keys["nistp256"])
    folded = folding.join(value[i:i + 70] for i in range(0, len(value), 70))
    assert counted(folded) > 0


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("key", [
    TEXT,
    packet(6, b"\4" + TEXT),
    packet(11, b"b\0\0\0\0\0" + TEXT),
    packet(13, TEXT),
], ids=["text", "text-as-key", "literal", "user-id-alone"])
def test_text_is_no_key(key):
    with pytest.raises(Refusal):
        counted(header(key))


@pytest.mark.parametrize("tag", [14, 6])
def test_numbers_that_are_text_are_no_key(public_keys, tag):
    with pytest.raises(Refusal):
        counted(header(public_keys["nistp256"] + packet(tag, b"\4" + TEXT)))


@pytest.mark.parametrize("tag", [2, 13, 17, 11, 21, 60])
def test_text_in_any_other_packet_counts_in_full(public_keys, tag):
    key = public_keys["nistp256"]
    more = counted(header(key + packet(tag, b"\4" + TEXT))) - counted(header(key))
    assert abs(more - len(TEXT) - 1) < 16


@pytest.mark.parametrize("value", [
    b"addr=alice@chat.test; prefer-encrypt=mutual",
    b"addr=alice@chat.test; prefer-encrypt=mutual; keydata=",
    b"addr=alice@chat.test; keydata= \r\n ",
    b"keydata=%s",
    b"addr=alice@chat.test; new=1; keydata=%s",
    b"addr=alice@chat.test; addr=bob@chat.test; keydata=%s",
    b"addr=alice@chat.test; words; keydata=%s",
    b"addr=alice@chat.test; " + b"_a=1; " * 60 + b"keydata=%s",
    b"nothing of the kind", b"", b";",
])
def test_what_recipients_must_ignore_is_no_header(public_keys, value):
    key = base64.b64encode(public_keys["nistp256"])
    assert autocryptkey.read(value.replace(b"%s", key), ANY) is None


def test_attributes_that_may_be_ignored_count(public_keys):
    key = base64.b64encode(public_keys["nistp256"])
    value = b"addr=Alice@chat.test; _note=%s; keydata=%s;"
    found = autocryptkey.read(value % (b"", key), ANY)
    assert found.address == b"alice@chat.test"
    assert counted(value % (TEXT, key)) - found.text == len(TEXT)


def test_white_space_in_a_key_counts_beyond_its_folds(public_keys):
    value = header(public_keys["nistp256"])
    assert counted(value + b"\r\n " * 1000) - counted(value) > 2900


def test_a_key_has_few_packets(public_keys):
    many = packet(2, b"\4" + os.urandom(70)) * 500
    with pytest.raises(Refusal):
        counted(header(public_keys["nistp256"] + many))


@pytest.mark.parametrize("text, tag, size", [
    (TEXT, 2, 20),
    (TEXT, 14, 6),
    ("Встреча в полдень у старой гавани. ".encode() * 10, 2, 60),
    (b"meeting " * 60, 2, 8),
], ids=["signatures", "subkeys", "Cyrillic", "words"])
def test_text_in_small_packets_behind_a_key_counts(public_keys, text, tag, size):
    packets = b"".join(packet(tag, b"\4" + text[at:at + size])
                       for at in range(0, len(text), size))
    key = public_keys["nistp256"]
    assert counted(header(key + packets)) - counted(header(key)) >= len(text) // 2


def test_text_between_noise_counts(public_keys):
    # Seeded: where the noise is text by chance, the key is refused as text, as it may be.
    noise = random.Random(1).randbytes
    subkeys = b"".join(packet(14, b"\4" + noise(60) + TEXT[at:at + 60] + noise(60))
                       for at in range(0, 480, 60))
    assert counted(header(public_keys["nistp256"] + subkeys)) > 480


@pytest.mark.parametrize("algorithm", ["future-default", "rsa3072", "nistp256"])
def test_words_spelled_in_base64_count(public_keys, algorithm):
    key = public_keys[algorithm]
    letters = bytes(range(65, 91)) + bytes(range(97, 123)) * 3
    words = bytes(random.Random(1).choices(letters, k=4096))    # no word comes twice
    align = os.urandom(-(len(key) + len(packet(14, b"\4"))) % 3)
    value = header(key + packet(14, b"\4" + align + base64.b64decode(words)))
    assert words in value
    assert counted(value) > 1536


def test_what_is_too_short_for_a_key_is_text():
    key = packet(6, b"\4at noon")
    addressed = b"addr=alice@chat.test; keydata="
    assert counted(addressed + base64.b64encode(key)) == len(addressed) + len(key)
