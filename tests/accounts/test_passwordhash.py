"""Hashes that crypt(3) verifies, and what a password must not contain."""

import subprocess
import threading
import time

import pytest
from rig.until import until

from chatmaild.accounts.passwordhash import hash_password
from chatmaild.accounts.signup import MAX_PASSWORD


@pytest.mark.parametrize("password", [
    b"simple password", b"\xe9 latin-1 and \xff", "schöne Grüße".encode(), b"x" * MAX_PASSWORD,
    b"$6$rounds=1000$", b" ",
])
def test_openssl_agrees_with_every_hash(password):
    hashed = hash_password(password)
    scheme, _, crypted = hashed.partition("}")
    _, six, salt, digest = crypted.split("$")
    assert scheme == "{SHA512-CRYPT" and six == "6" and len(salt) == 16 and len(digest) == 86
    # 256 octets is all that the other implementation takes
    if len(password) <= 256:
        made = subprocess.run(["openssl", "passwd", "-6", "-salt", salt, "-stdin"],
                              input=password, stdout=subprocess.PIPE, check=True)
        assert made.stdout.decode().strip() == crypted


def test_each_hash_has_a_salt_of_its_own():
    assert hash_password(b"same password") != hash_password(b"same password")


@pytest.mark.parametrize("password", [b"x" * (MAX_PASSWORD + 1), b"a\0b"])
def test_what_crypt_would_cut_or_refuse(password):
    with pytest.raises(ValueError):
        hash_password(password)


def test_other_threads_run_meanwhile():
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0)

    thread = threading.Thread(target=tick)
    thread.start()

    def during_one() -> int:
        before = time.monotonic()
        hash_password(b"some password")
        after = time.monotonic()
        return len([at for at in ticks if before < at < after])
    try:
        until(lambda: during_one() > 20, "the other thread to run while a password is hashed")
    finally:
        stop.set()
        thread.join()
