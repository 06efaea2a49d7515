"""Real OpenPGP messages, made in the test run by the programs that are installed, and the MIME
that real clients put around them."""

import functools
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

BOUNDARY = "b9dcf36d7ca4e5b6"
PART_1 = (b"Content-Type: application/pgp-encrypted\r\n"
          b"Content-Description: PGP/MIME version identification\r\n"
          b"\r\n"
          b"Version: 1\r\n"
          b"\r\n")
PART_2_HEAD = (b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
               b"Content-Description: OpenPGP encrypted message\r\n"
               b'Content-Disposition: inline; filename="encrypted.asc";\r\n'
               b"\r\n")


def crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class Gpg:
    """GnuPG with keys of several algorithms in a home of its own, gone with the object."""

    KEYS = {    # primary key, subkey
        "rsa": ("RSA\nKey-Length: 1024", "RSA\nSubkey-Length: 2048"),
        "cv25519": ("EDDSA\nKey-Curve: ed25519", "ECDH\nSubkey-Curve: cv25519"),
        "p256": ("ECDSA\nKey-Curve: nistp256", "ECDH\nSubkey-Curve: nistp256"),
        "brainpool": ("ECDSA\nKey-Curve: nistp256", "ECDH\nSubkey-Curve: brainpoolP384r1"),
        "elgamal": ("EDDSA\nKey-Curve: ed25519", "ELG\nSubkey-Length: 1024"),
    }

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="gpg")
        for name, (primary, sub) in self.KEYS.items():
            self._run("--gen-key", data=f"%no-protection\nKey-Type: {primary}\n"
                      f"Subkey-Type: {sub}\nName-Email: {name}@x.test\n%commit\n".encode())

    def _run(self, *arguments, data=b""):
        return subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--quiet", "--no-options", "--no-tty",
             "--pinentry-mode", "loopback", "--trust-model", "always", *arguments],
            input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout

    def encrypt(self, recipients, *options, data=b"Hello, this is a message.\n" * 20):
        to = [part for name in recipients for part in ("--recipient", f"{name}@x.test")]
        symmetric = ["--symmetric", "--passphrase", "x"] if not to or "-c" in options else []
        options = [option for option in options if option != "-c"]
        return self._run(*to, *symmetric, *options, "--armor", *(["--encrypt"] if to else []),
                         data=data)

    def close(self):
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"],
                       stderr=subprocess.DEVNULL)
        shutil.rmtree(self.home, ignore_errors=True)


@functools.cache
def gpg_symmetric(size: int = 2000, *options: str) -> bytes:
    """An armored message of incompressible content, encrypted to a passphrase, LF line ends."""
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        try:
            return subprocess.run(
                ["gpg", "--homedir", home, "--batch", "--quiet", "--no-options",
                 "--pinentry-mode", "loopback", "--passphrase", "x", "--s2k-count", "1024",
                 "-z0", *options, "--armor", "--symmetric"],
                input=os.urandom(size), stdout=subprocess.PIPE, check=True).stdout
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


def from_gpg() -> dict[str, bytes]:
    gpg = Gpg()
    try:
        found = {f"gpg {name}": gpg.encrypt([name]) for name in Gpg.KEYS}
        found |= {
            "gpg several": gpg.encrypt(list(Gpg.KEYS)),
            "gpg hidden": gpg.encrypt(["rsa", "cv25519"], "--throw-keyids"),
            "gpg symmetric": gpg.encrypt([]),
            "gpg key and passphrase": gpg.encrypt(["cv25519"], "-c"),
            "gpg signed": gpg.encrypt(["cv25519"], "--sign"),
            "gpg short": gpg.encrypt(["rsa"], data=b"a"),
            "gpg empty": gpg.encrypt(["cv25519"], data=b""),
            "gpg 200 kB": gpg.encrypt(["cv25519"], "-z0", data=os.urandom(200_000)),
            "gpg 3 MB": gpg.encrypt(["rsa"], "-z0", data=os.urandom(3_000_000)),
        }
        for cipher in ("AES", "AES192", "TWOFISH", "CAMELLIA256", "3DES"):
            found[f"gpg {cipher}"] = gpg.encrypt(
                ["rsa"], "--compliance", "rfc4880",     # newer ones refuse 3DES otherwise
                "--cipher-algo", cipher)
        for mode in "01":
            found[f"gpg S2K mode {mode}"] = gpg.encrypt([], "--s2k-mode", mode)
        return found
    finally:
        gpg.close()


def from_sq() -> dict[str, bytes]:
    """Sequoia; nothing if it is not installed, or is of a version with other options."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)

        def sq(*arguments, data=b""):
            return subprocess.run(["sq", *arguments], input=data, cwd=directory, check=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

        if not shutil.which("sq") or b"0.27" not in subprocess.run(
                ["sq", "--version"], capture_output=True).stdout:
            return {}
        for suite in ("cv25519", "rsa3k"):
            sq("key", "generate", "-u", f"<{suite}@x.test>", "-c", suite, "-e", f"{suite}.key")
        text = b"Hello, this is a message.\n" * 20
        both = ("--recipient-cert", "cv25519.key", "--recipient-cert", "rsa3k.key")
        return {
            "sq cv25519": sq("encrypt", *both[:2], data=text),
            "sq rsa": sq("encrypt", *both[2:], data=text),
            "sq both": sq("encrypt", *both, data=text),
            "sq 100 kB": sq("encrypt", *both[:2], data=os.urandom(100_000)),
            "sq uncompressed": sq("encrypt", "--compression", "none", *both[:2], data=text),
        }


def from_rnp() -> dict[str, bytes]:
    if not shutil.which("rnpkeys") and not os.environ.get("CI"):
        return {}
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(["rnpkeys", "--homedir", home, "--generate-key", "--userid", "a@x.test",
                        "--password", ""], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

        def rnp(*arguments, data=b"Hello, this is a message.\n" * 20):
            return subprocess.run(
                ["rnp", "--homedir", home, "--armor", "--password", "x", *arguments],
                input=data, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

        return {
            "rnp": rnp("-e", "-r", "a@x.test"),
            "rnp symmetric": rnp("-c"),
            "rnp 100 kB": rnp("-e", "-r", "a@x.test", data=os.urandom(100_000)),
        }


def from_pgpy() -> dict[str, bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pgpy
        from pgpy import constants as c
        found = {}
        for name, (primary, sub) in {
            "cv25519": ((c.PubKeyAlgorithm.EdDSA, c.EllipticCurveOID.Ed25519),
                        (c.PubKeyAlgorithm.ECDH, c.EllipticCurveOID.Curve25519)),
            "rsa": ((c.PubKeyAlgorithm.RSAEncryptOrSign, 2048),
                    (c.PubKeyAlgorithm.RSAEncryptOrSign, 2048)),
        }.items():
            key = pgpy.PGPKey.new(*primary)
            key.add_uid(pgpy.PGPUID.new("", email="a@x.test"),
                        usage={c.KeyFlags.Sign, c.KeyFlags.Certify},
                        hashes=[c.HashAlgorithm.SHA256], ciphers=[c.SymmetricKeyAlgorithm.AES256],
                        compression=[c.CompressionAlgorithm.Uncompressed])
            key.add_subkey(pgpy.PGPKey.new(*sub), usage={c.KeyFlags.EncryptCommunications})
            message = pgpy.PGPMessage.new("Hello, this is a message.\n" * 20)
            found[f"pgpy {name}"] = str(key.pubkey.encrypt(message)).encode()
        found["pgpy symmetric"] = str(
            pgpy.PGPMessage.new("Hello, this is a message.\n" * 20).encrypt("x")).encode()
        return found


@functools.cache
def real() -> dict[str, bytes]:
    """name: armored message, LF or CRLF line ends."""
    return from_gpg() | from_sq() | from_rnp() | from_pgpy()


def mime_body(armored: bytes, boundary: str = BOUNDARY) -> bytes:
    delimiter = b"--" + boundary.encode()
    return b"".join((
        delimiter, b"\r\n", PART_1, delimiter, b"\r\n", PART_2_HEAD, crlf(armored), b"\r\n",
        delimiter, b"--\r\n",
    ))


def headers(sender: str = "alice@chat.test", boundary: str = BOUNDARY) -> list[tuple[str, bytes]]:
    return [
        ("From", f"<{sender}>".encode()),
        ("To", b'"hidden-recipients": ;'),
        ("Subject", b"[...]"),
        ("Date", b"Sun, 22 Nov 2026 16:00:00 +0000"),
        ("Message-ID", b"<bc5b3e3a-96a0-43f9-a8a4-2b2d2d1c4c9e@localhost>"),
        ("Chat-Version", b"1.0"),
        ("MIME-Version", b"1.0"),
        ("Content-Type", b'multipart/encrypted; protocol="application/pgp-encrypted";\n'
                         b' boundary="' + boundary.encode() + b'"'),
    ]
