"""`chatmaild check --live` sees what a setting does, whatever setting it is.

What outranks our fields differs from host to host. So here the fields themselves are made wrong
behind our back, in a wrapper around auth.lua: the effect is the same, on both releases.
"""

import json
import subprocess
from pathlib import Path

import pytest
from rig.dovecot import SHARED_24
from rig.files import kept
from rig.until import until

OLD = subprocess.run(["dovecot", "--version"], capture_output=True,
                     text=True).stdout.startswith("2.3.")

WRAPPER = """
local honest = auth_userdb_lookup
function auth_userdb_lookup(request)
  local code, fields = honest(request)
  if type(fields) == "table" then
    local name = request.user:match("^[^@]*")
    {change}
  end
  return code, fields
end
"""


def restart_dovecot(host):
    """With no smtpd left that was connected to the former one: its first login would fail."""
    host.restart_dovecot()
    host.stop_postfix()
    host.start_postfix()


def levels(host):
    done = host.chatmaild("check", "--live", "--json", check=False)
    return {f["code"]: f["level"] for f in json.loads(done.stdout)["findings"]
            if f["code"].startswith("live") and f["level"] != "ok"
            and f["code"] not in ("live-certificate",      # self-signed
                                  "live-unsigned")}        # test_signing.py has a signer


@pytest.fixture
def outranked(host):
    """A function that makes chat users get other fields than ours, until the test ends."""
    path = Path("/etc/chatmaild/auth.lua")
    text = path.read_text()

    def replace(content):
        new = path.with_suffix(".new")
        new.write_text(content)
        new.chmod(0o644)
        new.replace(path)
        restart_dovecot(host)

    yield lambda change: replace(text + WRAPPER.format(change=change))
    replace(text)


@pytest.mark.parametrize("of_23, of_24, expected", [
    ('fields.mail = "maildir:/var/mail/elsewhere/" .. name',
     'fields.mail_path = "/var/mail/elsewhere/" .. name',
     {"live-mail", "live-traces"}),
    ('fields.mail = fields.mail .. ":INDEX=/var/mail/index-" .. name',
     'fields.mail_index_path = "/var/mail/index-" .. name',
     {"live-traces"}),
    ('fields.quota_rule = "*:storage=1G"',
     'fields["quota/chat/quota_storage_size"] = "1G"',
     {"live-quota"}),
    ('fields.mail_plugins = "zlib"', 'fields.mail_plugins = "mail_compress"',
     {"live-quota", "live-last-login"}),
])
def test_what_outranks_our_fields_is_seen(host, outranked, of_23, of_24, expected):
    for path in ("/var/mail/elsewhere", "/var/mail"):
        Path(path).mkdir(exist_ok=True)
        Path(path).chmod(0o777)
    outranked(of_23 if OLD else of_24)
    try:
        assert set(levels(host)) == expected
    finally:
        host.run("find", "/var/mail", "-mindepth", "1", "-user", "_chatmaild", "-delete")


SHARED = """\
namespace {
  type = shared
  separator = /
  prefix = Shared/%%u/
  location = maildir:%%h/:INDEX=~/Shared/%%u
  subscriptions = no
  list = children
}
namespace inbox {
  separator = /
}
""" if OLD else SHARED_24
SIEVE = """\
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve = file:~/sieve;active=~/.dovecot.sieve
}
""" if OLD else """\
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
sieve_script personal {
  driver = file
  path = ~/sieve
  active_path = ~/.dovecot.sieve
}
"""
WITHOUT = """
for key in pairs(fields) do
  if key:find("%s") then fields[key] = nil end
end
"""


@pytest.mark.parametrize("lines, change, code", [
    (SHARED, WITHOUT % "namespace" + ("fields.mail_plugins = 'zlib quota'" if OLD else ""),
     "live-neighbour"),
    (SIEVE, WITHOUT % "sieve" + """
     for _, key in ipairs({"mail_plugins", "*/mail_plugins"}) do
       if (request.protocol or request.service) == "lmtp" and fields[key] then
         fields[key] = fields[key] .. " sieve"
       end
     end""", "live-script"),
], ids=["neighbour", "script"])
def test_what_nothing_keeps_from_chat_users_is_seen(host, outranked, lines, change, code):
    """Namespaces and scripts that hosts really have, once our userdb does not shut them out."""
    conf = Path("/etc/dovecot/conf.d/99-zz-test.conf")
    conf.write_text(lines)
    try:
        outranked(change)
        assert levels(host).get(code) == "failure"
    finally:
        conf.unlink()
        restart_dovecot(host)


def test_lmtp_that_does_not_know_ordinary_users_any_more(host):
    """Their mail bounces, and nothing of ours is to blame but the line that somebody added."""
    conf = Path("/etc/dovecot/conf.d/99-zz-test.conf")
    conf.write_text("protocol lmtp {\n  auth_username_format = nobody-%{user}\n}\n" if not OLD
                    else "protocol lmtp {\n  auth_username_format = nobody-%u\n}\n")
    host.run("postconf", "-e", "mailbox_transport=lmtp:unix:private/dovecot-lmtp")
    restart_dovecot(host)
    try:
        assert levels(host).get("live-ordinary") == "failure"
    finally:
        conf.unlink()
        host.run("postconf", "-X", "mailbox_transport")
        restart_dovecot(host)
    assert "live-ordinary" not in levels(host)


def test_a_proxy_and_a_format_for_one_domain_are_no_faults(host):
    """As some hosts have it: all users get in, and get their mail."""
    conf = Path("/etc/dovecot/conf.d/99-zz-test.conf")
    conf.write_text("protocol lmtp {\n  auth_username_format = "
                    "%{if;%Ld;eq;chat.example.org;%Lu;%{if;%Ld;eq;example.org;%Ln;%Lu}}\n}\n"
                    if OLD else "")
    name = "127.0.0.1:10465/inet"
    with kept(Path("/etc/postfix/main.cf")), kept(Path("/etc/postfix/master.cf")):
        host.run("postconf", "-e", "mailbox_transport=lmtp:unix:private/dovecot-lmtp")
        host.run("postconf", "-M", f"{name}=127.0.0.1:10465 inet n - y - - smtpd")
        host.run("postconf", "-P", *(f"{name}/{option}" for option in (
            "smtpd_upstream_proxy_protocol=haproxy", "smtpd_tls_wrappermode=yes",
            "smtpd_sasl_auth_enable=yes", "smtpd_milters=$chat_submission_milters",
            "smtpd_sasl_authenticated_header=yes", "cleanup_service_name=chat-cleanup",
            "smtpd_relay_restrictions=permit_sasl_authenticated,reject")))
        restart_dovecot(host)
        found = json.loads(host.chatmaild("check", "--live", "--json", check=False).stdout)
        conf.unlink()
    restart_dovecot(host)
    bad = {f["code"] for f in found["findings"] if f["level"] == "failure"}
    tried = {f["code"]: f["level"] for f in found["findings"] if "10465" in f["place"]}
    assert not bad & {"live-ordinary", "live-submission", "live-refusal"}
    assert tried["live-cleartext"] == tried["live-delivery"] == "ok"


def test_nothing_is_left(host):
    before = host.chatmaild("accounts", "list").stdout
    assert levels(host) == {}
    assert until(lambda: host.chatmaild("accounts", "list").stdout == before, "accounts to be gone")
