"""The key in an Autocrypt header is a key, made here by GnuPG, or the header is text."""

import base64
import os
import random
import subprocess

import pytest

from chatmaild.message import autocryptkey
from chatmaild.message.refusal import Refusal

TEXT = b"The meeting is at nine at the old harbour, bring the papers. " * 8


def header(key: bytes) -> bytes:
    return b"addr=alice@chat.test; prefer-encrypt=mutual; keydata=" + base64.b64encode(key)


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
    by_chance = autocryptkey.free_text(value) - before_key - len(f"<{algorithm}@chat.test>")
    assert 0 <= by_chance < 64      # eight octets of ASCII in a row, about twice in 10 KB


@pytest.mark.parametrize("folding", [b" ", b"\r\n ", b"\n\t"])
def test_a_key_may_be_folded(public_keys, folding):
    value = header(public_keys["nistp256"])
    folded = folding.join(value[i:i + 70] for i in range(0, len(value), 70))
    assert autocryptkey.free_text(folded) > 0


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("key", [
    b"",
    TEXT,
    packet(6, b"\4" + TEXT),
    packet(11, b"b\0\0\0\0\0" + TEXT),
    packet(13, TEXT),
], ids=["nothing", "text", "text-as-key", "literal", "user-id-alone"])
def test_text_is_no_key(key):
    with pytest.raises(Refusal):
        autocryptkey.free_text(header(key))


def test_text_behind_a_key_is_refused(public_keys):
    with pytest.raises(Refusal):
        autocryptkey.free_text(header(public_keys["nistp256"] + packet(2, b"\4" + TEXT)))


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
    counted = autocryptkey.free_text(header(key + packets)) - autocryptkey.free_text(header(key))
    assert counted >= len(text) // 2


def test_text_between_noise_counts(public_keys):
    subkeys = b"".join(packet(14, b"\4" + os.urandom(60) + TEXT[at:at + 60] + os.urandom(60))
                       for at in range(0, 480, 60))
    assert autocryptkey.free_text(header(public_keys["nistp256"] + subkeys)) > 480


@pytest.mark.parametrize("algorithm", ["future-default", "rsa3072", "nistp256"])
def test_words_spelled_in_base64_count(public_keys, algorithm):
    key = public_keys[algorithm]
    letters = bytes(range(65, 91)) + bytes(range(97, 123)) * 3
    words = bytes(random.Random(1).choices(letters, k=4096))    # no word comes twice
    align = os.urandom(-(len(key) + len(packet(14, b"\4"))) % 3)
    value = header(key + packet(14, b"\4" + align + base64.b64decode(words)))
    assert words in value
    assert autocryptkey.free_text(value) > 1536


def test_what_is_too_short_for_a_key_is_text():
    key = packet(6, b"\4at noon")
    assert autocryptkey.free_text(b"keydata=" + base64.b64encode(key)) == len(key)
