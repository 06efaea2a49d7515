"""Which keys sign a domain's mail, from the settings of OpenDKIM and rspamd."""

import base64
import subprocess

import pytest

from chatmaild.admin.dns import observation, signers
from chatmaild.admin.dns.signers import KeyFile

DOMAIN = "chat.example.org"
FILES = {
    "/etc/opendkim/key.table": f"""\
# comment
chat {DOMAIN}:s1:/etc/dkimkeys/s1.private
old  {DOMAIN}:s0:/etc/dkimkeys/s0.private   # no longer used
other example.org:mail:/etc/dkimkeys/mail.private
""",
    "/etc/opendkim/signing.table": f"*@{DOMAIN} chat\n*@example.org other\n",
    "/etc/opendkim/tabs.table": f"chat\t{DOMAIN}:s1:/etc/dkimkeys/s1.private\n\n \n",
    "/etc/opendkim/exact.table": f"{DOMAIN} chat\n",
    "/etc/opendkim/any.table": "any %:s2:/etc/dkimkeys/%.private\n",
    "/etc/rspamd/selectors.map": f"{DOMAIN} mapped\n",
}


def read(path):
    return FILES.get(path, "")


@pytest.mark.parametrize("text, expected", [
    ("KeyTable refile:/etc/opendkim/key.table\nSigningTable refile:/etc/opendkim/signing.table",
     [("s1", "/etc/dkimkeys/s1.private")]),
    ("keytable /etc/opendkim/key.table\nSigningTable  file:/etc/opendkim/exact.table",
     [("s1", "/etc/dkimkeys/s1.private")]),
    ("KeyTable\t\tfile:/etc/opendkim/tabs.table\nSigningTable\t/etc/opendkim/exact.table\n",
     [("s1", "/etc/dkimkeys/s1.private")]),
    ("KeyTable file:/etc/opendkim/key.table",
     [("s1", "/etc/dkimkeys/s1.private"), ("s0", "/etc/dkimkeys/s0.private")]),
    ("KeyTable /etc/opendkim/any.table", [("s2", f"/etc/dkimkeys/{DOMAIN}.private")]),
    (f"Domain example.org, {DOMAIN}\nSelector mail\nKeyFile /etc/dkimkeys/mail.private",
     [("mail", "/etc/dkimkeys/mail.private")]),
    ("Domain example.org\nSelector mail\nKeyFile /etc/dkimkeys/mail.private", []),
    ("#KeyTable /etc/opendkim/key.table", []),
    ("KeyTable dsn:pgsql://x", []),
    ("", []),
])
def test_opendkim(text, expected):
    assert signers.opendkim(text, DOMAIN, read) == [KeyFile(*one) for one in expected]


@pytest.mark.parametrize("settings, expected", [
    ({"use_esld": True, "domain": {DOMAIN: {"path": "/keys/3"}}}, []),
    ({}, [("dkim", f"/var/lib/rspamd/dkim/{DOMAIN}.dkim.key")]),
    ({"selector": "s1", "path": "/keys/$domain/$selector"}, [("s1", f"/keys/{DOMAIN}/s1")]),
    ({"domain": {DOMAIN: {"selector": "s3", "path": "/keys/3"}}}, [("s3", "/keys/3")]),
    ({"domain": {DOMAIN: {"selectors": [{"selector": "a", "path": "/a"},
                                        {"selector": "b", "path": "/b"}]}}},
     [("a", "/a"), ("b", "/b")]),
    ({"selector_map": "/etc/rspamd/selectors.map"},
     [("mapped", f"/var/lib/rspamd/dkim/{DOMAIN}.mapped.key")]),
    ({"enabled": False}, []),
    ([], []),
])
def test_rspamd(settings, expected):
    if isinstance(settings, dict):
        settings = {"use_esld": False, **settings}
    assert signers.rspamd(settings, DOMAIN, read) == [KeyFile(*one) for one in expected]


@pytest.mark.parametrize("kind, command", [
    ("rsa", ["openssl", "genrsa", "2048"]),
    ("ed25519", ["openssl", "genpkey", "-algorithm", "ed25519"]),
])
def test_the_record_of_a_key(tmp_path, kind, command):
    private = subprocess.run(command, capture_output=True, check=True).stdout
    public = subprocess.run(["openssl", "pkey", "-pubout", "-outform", "DER"], input=private,
                            capture_output=True, check=True).stdout
    record = observation.key_record(public)
    assert record.startswith(f"v=DKIM1; k={kind}; p=")
    octets = base64.b64decode(record.partition("p=")[2])
    assert octets == (public if kind == "rsa" else public[-32:])
