"""Findings about Dovecot, on the configurations that real hosts gave."""

import re

import pytest
from captured import CONFIG, DOMAIN, RELEASES, bad, dovecot

from chatmaild.admin.check import dovecot as check_dovecot, mail as check_mail
from chatmaild.admin.check.hostfiles import Identity
from chatmaild.admin.servers import doveconf
from chatmaild.config import inifile

pytestmark = pytest.mark.parametrize("release", RELEASES)

ROOT = Identity("dovecot", 0, 0, frozenset({0}))


@pytest.fixture
def judge(tmp_path):
    """Findings about authentication; the Lua file is where the configuration says."""
    lua = tmp_path / "chatmaild" / "auth.lua"
    lua.parent.mkdir()
    lua.touch()

    def judge(release, state="wired", edit=lambda text: text, who=ROOT, config=CONFIG,
              installed=True):
        host = dovecot(release, state,
                       lambda text: edit(text).replace("/etc/chatmaild/auth.lua", str(lua)))
        return bad(check_dovecot.check(host, config, lambda name: who, lambda path: installed,
                                       str(lua)))
    return judge


def mail(release, state="wired", edit=lambda text: text, kernel=8192, config=CONFIG, accounts=0):
    host = dovecot(release, state, edit)
    return bad(check_mail.check(host, config, lambda: kernel,
                                lambda directory: ["someone"] * accounts))


def replaced(pattern, by, count=0):
    def edit(text):
        return re.sub(pattern, by, text, count=count, flags=re.MULTILINE | re.DOTALL)
    return edit


def test_wired_host_is_in_order(release, judge):
    assert judge(release) == {}
    assert mail(release) == {}


def test_stock_host_lacks_what_we_add(release, judge):
    assert judge(release, "stock") == {"passdb-missing": "failure", "userdb-missing": "failure"}
    expected = {"imap-login": "failure", "lmtp-mode": "failure", "sessions": "failure"}
    if release == "trixie":
        expected["lmtp-username"] = "failure"
    assert mail(release, "stock") == expected


def test_our_file_sorts_too_late(release, judge):
    """PAM first: the blocks of passdb and userdb change places."""
    def last(text):
        for kind in ("passdb", "userdb"):
            ours = re.search(rf"^{kind}[^{{\n]*\{{[^}}]*chatmaild[^}}]*\}}\n", text, re.M)
            if ours:
                text = text.replace(ours[0], "") + ours[0]
        return text
    assert judge(release, edit=last) == {"passdb-order": "failure", "userdb-order": "failure"}


@pytest.mark.parametrize("value, level", [
    ("", "failure"),
    ("*@other.example.org", "failure"),
    (f"*@{DOMAIN} *@example.org", "failure"),
])
def test_username_filter(release, judge, value, level):
    edit = replaced(r"username_filter = \*@.*?$", f"username_filter = {value}", 1)
    assert judge(release, edit=edit) == {"passdb-filter": level}


def test_several_domains(release, judge):
    config = inifile.parse(f"[chatmaild]\nmail_domains = b.example {DOMAIN}".encode(),
                           CONFIG.path)
    assert judge(release, config=config) == {"passdb-filter": "failure"}
    edit = replaced(r"username_filter = \*@\S+$", r"\g<0> *@b.example", 1)
    assert judge(release, edit=edit, config=config) == {}


@pytest.mark.parametrize("line, code", [
    ("result_failure = return-fail", "passdb-result"),
    ("result_internalfail = return-fail", "passdb-result"),
])
def test_other_databases_must_not_be_asked_after_ours(release, judge, line, code):
    assert judge(release, edit=replaced(line, line.replace("return-fail", "continue"), 1)) == {
        code: "failure"}


def test_userdb_must_not_be_passed_over_when_ill(release, judge):
    def edit(text):
        head, userdb, tail = text.partition("userdb {" if release == "bookworm"
                                            else "userdb chatmaild {")
        return head + userdb + tail.replace("return-fail", "continue")
    assert judge(release, edit=edit) == {"userdb-result": "failure"}


@pytest.mark.parametrize("line, expected", [
    ("args = uid=vmail home=/x allow_all_users=yes", {"userdb-static": "failure"}),
    ("static_allow_all_users = yes", {"userdb-static": "failure"}),
    ("args = uid=vmail home=/x", {}),
])
def test_userdb_that_answers_for_everybody(release, judge, line, expected):
    static = f"userdb {{\n  driver = static\n  {line}\n}}\n"
    assert judge(release, edit=lambda text: text + static) == expected


def test_cache_that_remembers_addresses_before_they_exist(release, judge):
    cached = replaced(r"^auth_cache_size = 0", "auth_cache_size = 10 M")
    assert judge(release, edit=cached) == {}
    careless = replaced(r"cache_key=\S+|use_cache = no", "use_cache = yes")
    assert judge(release, edit=careless) == {}
    assert judge(release, edit=lambda text: cached(careless(text))) == {"passdb-cache": "failure"}


def test_worker_that_is_not_root(release, judge):
    edit = replaced(r"(service auth-worker \{.*?\n  user =)[^\n]*", r"\1 dovecot")
    assert judge(release, edit=edit) == {"auth-worker": "failure"}


def test_lua_file_that_dovecot_cannot_read(release, judge, tmp_path):
    stranger = Identity("dovecot", 54321, 54321, frozenset({54321}))
    (tmp_path / "chatmaild").chmod(0o700)
    assert judge(release, who=stranger) == {"lua-file": "failure"}
    (tmp_path / "chatmaild" / "auth.lua").unlink()
    assert judge(release) == {"lua-file": "failure"}
    assert judge(release, who=None) == {"user": "failure"}


def test_main_part_of_the_lua_code_missing(release):
    found = [f.place for f in check_dovecot.check(dovecot(release), CONFIG, lambda name: ROOT,
                                                  lambda path: True, "/gone/chatmaild.lua")
             if f.code == "lua-file"]
    assert "/gone/chatmaild.lua" in found


def test_packages_that_are_missing(release, judge):
    host = dovecot(release)
    found = [f.cure for f in check_dovecot.check(host, CONFIG, lambda name: ROOT,
                                                 lambda path: False) if f.code == "package"]
    assert found == ["apt install dovecot-auth-lua", "apt install lua-socket"]


@pytest.mark.parametrize("before, after, expected", [
    (r"^auth_mechanisms = .*?$", "auth_mechanisms = cram-md5", {"auth-mechanisms": "failure"}),
    (r"^auth_mechanisms = .*?$", "auth_mechanisms = plain login", {}),
    (r"^ssl = yes", "ssl = no", {"imap-tls": "failure"}),
    (r"^auth_username_format = .*?$", "auth_username_format = %Ln",
     {"username-format": "failure"}),
    (r"^auth_username_format = .*?$", "auth_username_format = %{user | username | lower}",
     {"username-format": "failure"}),
])
def test_settings_of_all_users(release, judge, before, after, expected):
    assert judge(release, edit=replaced(before, after, 1)) == expected


@pytest.mark.parametrize("pattern, by, expected", [
    (r"^(auth_username_chars = .*)-_@$", r"\1-@", {"username-chars": "failure"}),
    (r"^auth_username_chars = .*?$", "auth_username_chars = ", {}),
    (r"^auth_verbose = no$", "auth_username_translation = %@",  {}),
    (r"^auth_verbose = no$", "auth_username_translation = @%", {"username-chars": "failure"}),
    (r"^auth_mechanisms = [a-z]*$", "auth_mechanisms = login", {"auth-mechanisms": "failure"}),
    (r"^auth_mechanisms = [a-z]*$", "auth_mechanisms {\n  login = yes\n}",
     {"auth-mechanisms": "failure"}),
    (r"^auth_mechanisms = [a-z]*$", "auth_mechanisms {\n  login = yes\n  plain = yes\n}", {}),
])
def test_names_and_mechanisms_of_logins(release, judge, pattern, by, expected):
    assert judge(release, edit=replaced(pattern, by)) == expected


def test_protocols(release, judge):
    edit = replaced(r"^protocols = .*?$|^protocols \{.*?\}", "protocols = imap", 1)
    assert judge(release, edit=edit) == {"protocols": "failure"}


@pytest.mark.parametrize("value, expected", [
    ("%{user | username | lower}", {"lmtp-username": "failure"}),
    ("%Ln", {"lmtp-username": "failure"}),
    ("%n", {"lmtp-username": "failure"}),
    ("%u", {}),
    ("%Lu", {}),
    ("%{user | lower}", {}),
    ("%{user}", {}),
    (f"%{{if;%Ld;eq;{DOMAIN};%Lu;%Ln}}", {}),
    ("%{if;%Ld;eq;other.example;%Lu;%Ln}", {"lmtp-username": "failure"}),
    ("%{user | username | lower}%{user | domain | lower | "
     f"if('eq', '{DOMAIN}', '@{DOMAIN}', '')}}", {}),
    ("%{user | username | lower}%{user | domain | lower | if('eq', 'x', '@x', '')}",
     {"lmtp-username": "failure"}),
])
def test_user_name_at_delivery(release, value, expected):
    def edit(text):
        text = re.sub(r"^protocol lmtp \{.*?^\}\n", "", text, flags=re.M | re.S)
        return text + f"protocol lmtp {{\n  auth_username_format = {value}\n}}\n"
    assert mail(release, edit=edit) == expected


def test_operator_that_bounces_everything(release):
    value = ("%{user | username | lower}%{user | domain | lower | "
             f"if('=', '{DOMAIN}', '@{DOMAIN}', '')}}")

    def edit(text):
        text = re.sub(r"^protocol lmtp \{.*?^\}\n", "", text, flags=re.M | re.S)
        return text + f"protocol lmtp {{\n  auth_username_format = {value}\n}}\n"
    # 2.3 knows no such operator, and so no such mistake
    assert mail(release, edit=edit) == (
        {"lmtp-username": "failure"} if release == "trixie" else {})


@pytest.mark.parametrize("setting", [
    "imap_capability = +XCHATMAIL",
    "imap_capability = IMAP4rev1 XCHATMAIL",
    "imap_capability {\n  XCHATMAIL = yes\n}",
    "protocol imap {\n  imap_capability = +XCHATMAIL\n}",
    "protocol imap {\n  imap_capability {\n    XCHATMAIL = yes\n  }\n}",
])
def test_xchatmail_for_everybody(release, setting):
    def edit(text):
        return re.sub(r"^imap_capability = *$\n", "", text, flags=re.M) + setting + "\n"
    assert mail(release, edit=edit) == {"xchatmail": "failure"}


@pytest.mark.parametrize("change, fails", [
    (lambda text: re.sub("(service_count = 0|restart_request_count = unlimited)(\n  type = login)",
                         lambda m: m[1].split(" =")[0] + " = 1" + m[2], text), True),
    (lambda text: text.replace("client_limit = 4096", "client_limit = 5"), True),
    (lambda text: text.replace("client_limit = 4096", "client_limit = 0"), False),
])
def test_login_processes(release, change, fails):
    assert mail(release, edit=change) == ({"imap-login": "failure"} if fails else {})


def test_limits_of_kernel_and_imap(release):
    assert mail(release, kernel=128) == {"inotify": "failure"}
    assert mail(release, kernel=None) == {}
    assert mail(release, edit=lambda text: text.replace(
        "process_limit = 1024", "process_limit = 200")) == {"imap-processes": "warning"}


def test_an_lmtp_that_runs_as_a_user_of_its_own_delivers_to_no_chat_user(release):
    def as_user(name, service="lmtp"):
        return replaced(rf"(^service {service} \{{.*?^  user =)[^\n]*", rf"\1 {name}", 1)

    assert mail(release, edit=as_user("vmail")) == {"lmtp-process-user": "failure"}
    for name in ("root", "_chatmaild"):
        assert mail(release, edit=as_user(name)) == {}
    assert mail(release, edit=as_user("vmail", "imap")) == {}, "which begins as root all the same"


@pytest.mark.parametrize("key", ["client_limit", "(?:service_count|restart_request_count)"])
@pytest.mark.parametrize("value", ["5", "0", "unlimited"])
def test_a_process_that_serves_several_clients_ends_with_all_of_them(release, key, value):
    """Once one of them is a chat user and another is not."""
    edit = replaced(rf"(^service imap \{{\n(?:(?!^\}}).)*?^  {key} =) 1$", rf"\1 {value}", 1)
    assert mail(release, edit=edit) == {"imap-reuse": "failure"}


def test_parser_keeps_order_names_and_quotes(release):
    tree = doveconf.parse('passdb {\n driver = a\n}\npassdb b {\n}\n'
                          'namespace inbox {\n mailbox "Sent Messages" {\n  x = "\\\\Sent"\n }\n}\n'
                          '}\nk = "v w"\nnonsense\n')
    assert [p.name for p in tree.all("passdb")] == ["", "b"]
    assert tree.block("namespace", "inbox").block("mailbox", "Sent Messages").get("x") == "\\Sent"
    assert tree.get("k") == "v w"
    with pytest.raises(doveconf.DovecotError):
        doveconf.interpret("Fatal: no")


def test_lmtp_socket_that_every_user_may_write_to(release):
    """Debian's own, whose mode only Dovecot's defaults tell on 13."""
    for text in ("    mode = 0666", "    mode = 0662", ""):
        edit = replaced(r"    group = postfix\n    mode = 0660", text)
        assert mail(release, edit=edit) == {"lmtp-mode": "failure"}


def test_an_lmtp_socket_of_another_name_is_closed_by_default(release):
    edit = replaced(r"(private/dovecot-lmtp \{\n    group = postfix\n)    mode = 0600\n", r"\1")
    assert mail(release, edit=edit) == {}


@pytest.mark.parametrize("lines, expected", [
    ("port = 24", {"lmtp-port": "failure"}),
    ("{address} = *\n    port = 24", {"lmtp-port": "failure"}),
    ("{address} = 192.0.2.1, ::\n    port = 24", {"lmtp-port": "failure"}),
    ("{address} = 127.0.0.1\n    port = 24", {"lmtp-port": "warning"}),
    ("{address} = 127.0.0.1\n    port = 0", {}),
    ("", {}),
])
def test_a_port_of_lmtp_is_a_way_past_every_filter(release, lines, expected):
    """All of the host may write there, or all of the world, as no unix_listener lets them."""
    lines = lines.format(address="address" if release == "bookworm" else "listen")
    insert = replaced(r"(^service lmtp \{\n)",
                      rf"\1  inet_listener lmtp {{\n    {lines}\n  }}\n")
    assert mail(release, edit=insert) == expected


def test_service_that_ends_sessions_is_missing(release):
    edit = replaced(r"service chatmaild-sessions", "service something-else")
    assert mail(release, edit=edit) == {"sessions": "failure"}


@pytest.mark.parametrize("accounts, expected", [
    (1000, {}), (1025, {"imap-processes": "warning"})])
def test_as_many_clients_as_there_are_accounts(release, accounts, expected):
    assert mail(release, accounts=accounts) == expected
