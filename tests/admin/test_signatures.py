"""filter-test explains how it verifies signatures."""

import json

import dkimkit
import pytest
from incomingmessages import encrypted, signed

from chatmaild import cli


@pytest.fixture
def explained(tmp_path, capsys):
    # Where no mailboxes can be seen every recipient counts as one.
    (tmp_path / "ini").write_text("[chatmaild]\nmail_domains = chat.example\n"
                                  f"mailboxes_dir = {tmp_path}/absent\n")

    def run(message, zone, *options):
        (tmp_path / "message").write_bytes(message)
        (tmp_path / "zone").write_text(zone)
        code = cli.main(["-c", str(tmp_path / "ini"), "filter-test", "--direction", "incoming",
                         "--dns-file", str(tmp_path / "zone"), *options,
                         str(tmp_path / "message")])
        return code, capsys.readouterr().out
    return run


def zone(signer):
    text = signer.record.decode()
    halves = f'"{text[:200]}" "{text[200:]}"'
    return f"$ORIGIN sender.example.\ns1._domainkey IN TXT ( {halves} ) ; key\n"


def test_a_valid_signature_is_explained(explained):
    code, text = explained(signed(encrypted()), zone(dkimkit.rsa()))
    assert code == 0
    assert "verdict: accept" in text
    assert "signature 1: the signature is valid" in text
    for step in ("d=sender.example, From is in sender.example: aligned", ": equal",
                 "canonical header: from:<alice@sender.example>", "key: rsa, 2048 bits",
                 "key name: s1._domainkey.sender.example", "key record: v=DKIM1; k=rsa; p="):
        assert step in text


@pytest.mark.parametrize("change, key, reason", [
    (lambda m: m, dkimkit.ed25519, "key-unusable"),
    (lambda m: m.replace(b"From: <a", b"From: <b"), dkimkit.rsa, "signature-wrong"),
    (lambda m: m.replace(b"Version: 1", b"Version:  1"), dkimkit.rsa, "valid"),
    (lambda m: m.replace(b"h=from", b"l=1; h=from"), dkimkit.rsa, "signature-unusable"),
])
def test_what_is_wrong_is_named(explained, change, key, reason):
    code, text = explained(change(signed(encrypted())), zone(key()), "--json")
    document = json.loads(text)
    report, = document["signatures"]
    assert code == 1
    assert (report["reason"], report["valid"]) == (reason, reason == "valid")


def test_without_a_signature(explained):
    code, text = explained(encrypted(), zone(dkimkit.rsa()), "--json")
    document = json.loads(text)
    assert (code, document["reason"], document["signatures"]) == (1, "no-signature", [])
