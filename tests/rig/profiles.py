"""Mail hosts as people have them: each a few lines over the ordinary host of rig.stock.

A profile is prepared after `stock.write` and before any server starts. Its `people` are the
ordinary users of that host: whatever they notice of chatmaild is a fault.
"""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rig import stock, yunohost as yunohost_settings
from rig.site import EXAMPLE, WITHOUT_IPV4, Site
from rig.stock import postconf, run

IS_23 = subprocess.run(["dovecot", "--version"], capture_output=True,
                       text=True, check=False).stdout.startswith("2.3.")

LMTP = "lmtp:unix:private/dovecot-lmtp"
DOVECOT = Path("/etc/dovecot")


@dataclass(frozen=True)
class Person:
    """An ordinary user of the host."""

    login: str
    password: str
    address: str


@dataclass(frozen=True)
class Profile:
    """One kind of host."""

    name: str
    prepare: Callable[[], None]
    people: tuple[Person, ...]
    umask: int = 0o022
    """With which its admin wires chatmaild in."""
    ports: tuple[int, ...] = (587, 465)
    """Of the submission services."""
    closed_ports: tuple[int, ...] = ()
    """Of further submission services, which chat users may not use."""
    site: Site = EXAMPLE
    recipe: str = ""
    """The document whose sh blocks are for this host: what its admin runs in place of the README's,
    and, last, what takes that away."""


PAM = tuple(Person(name, password, f"{name}@example.org")
            for name, password in stock.ORDINARY_USERS.items())
VIRTUAL = (Person("ann@one.example", "ann's secret", "ann@one.example"),
           Person("ben@two.example", "ben's secret", "ben@two.example"))

PROFILES: dict[str, Profile] = {}


def profile(people: tuple[Person, ...] = PAM, **options) -> Callable:
    def register(prepare: Callable[[], None]) -> Callable[[], None]:
        name = prepare.__name__.replace("_", "-")
        PROFILES[name] = Profile(name, prepare, people, **options)
        return prepare
    return register


def local_conf(of_23: str, of_24: str) -> None:
    """More lines for Dovecot, where Debian's admins put them."""
    path = DOVECOT / "local.conf"
    path.write_text(path.read_text() + (of_23 if IS_23 else of_24))


# ---- users ------------------------------------------------------------------------------------

@profile()
def pam() -> None:
    """System users with a spool in /var/mail, as Debian sets it up."""


_USERS = "CREATE TABLE users (address TEXT PRIMARY KEY, password TEXT)"


@dataclass(frozen=True)
class Database:
    """Where virtual users are, as Dovecot 2.3, Dovecot 2.4 and Postfix name it."""

    driver: str
    connect: str
    settings: str
    lookups: str


def sqlite_database() -> Database:
    path = DOVECOT / "users.sqlite"
    with sqlite3.connect(path) as database:
        database.execute(_USERS)
        database.executemany("INSERT INTO users VALUES (?, ?)",
                             [(person.login, person.password) for person in VIRTUAL])
    path.chmod(0o644)
    return Database("sqlite", str(path), f"sqlite_path = {path}\n", f"dbpath = {path}\n")


def pgsql_database() -> Database:
    """A server of its own, asked by TCP."""
    version = next(Path("/usr/lib/postgresql").iterdir()).name
    if not Path(f"/etc/postgresql/{version}/main").exists():
        run("pg_createcluster", version, "main")
    run("pg_conftool", version, "main", "set", "dynamic_shared_memory_type", "sysv")
    run("pg_ctlcluster", version, "main", "start")
    rows = ", ".join("('{}', '{}')".format(person.login, person.password.replace("'", "''"))
                     for person in VIRTUAL)
    for database, statement in (
            ("postgres", "CREATE USER mail PASSWORD 'of mail'"),
            ("postgres", "CREATE DATABASE mail OWNER mail"), ("mail", _USERS),
            ("mail", f"INSERT INTO users VALUES {rows}"),
            ("mail", "GRANT SELECT ON users TO mail")):
        run("runuser", "-u", "postgres", "--", "psql", "-v", "ON_ERROR_STOP=1", "-d", database,
            "-c", statement)
    return Database(
        "pgsql", "host=127.0.0.1 dbname=mail user=mail password='of mail'",
        "pgsql 127.0.0.1 {\n  parameters {\n    dbname = mail\n    user = mail\n"
        "    password = of mail\n  }\n}\n",
        "hosts = 127.0.0.1\ndbname = mail\nuser = mail\npassword = of mail\n")


def virtual_users(database: Database,
                  postfix_lists_domains: str = "one.example, two.example") -> None:
    """Two domains whose users are in a database, delivered by LMTP under their full addresses."""
    run("groupadd", "--gid", "5000", "vmail")
    run("useradd", "--uid", "5000", "--gid", "5000", "--home-dir", "/var/vmail", "--create-home",
        "vmail")
    auth = DOVECOT / "conf.d/10-auth.conf"
    auth.write_text(auth.read_text().replace("!include auth-system.conf.ext", ""))
    (_sql_of_23 if IS_23 else _sql_of_24)(database)
    Path("/etc/postfix/users.cf").write_text(
        f"{database.lookups}query = SELECT address FROM users WHERE address = '%s'\n")
    postconf("-e", {"virtual_mailbox_domains": postfix_lists_domains, "virtual_transport": LMTP,
                    "virtual_mailbox_maps": f"proxy:{database.driver}:/etc/postfix/users.cf",
                    "mydestination": "$myhostname, localhost"})


def _sql_of_23(database: Database) -> None:
    (DOVECOT / "sql.conf").write_text(
        f"driver = {database.driver}\nconnect = {database.connect}\n"
        "default_pass_scheme = PLAIN\n"
        "password_query = SELECT address AS user, password FROM users WHERE address = '%u'\n"
        "user_query = SELECT '/var/vmail/' || address AS home, 5000 AS uid, 5000 AS gid "
        "FROM users WHERE address = '%u'\n"
        "iterate_query = SELECT address AS user FROM users\n")
    local_conf("""\
mail_location = maildir:~/Maildir
passdb {
  driver = sql
  args = /etc/dovecot/sql.conf
}
userdb {
  driver = sql
  args = /etc/dovecot/sql.conf
}
""", "")


def _sql_of_24(database: Database) -> None:
    lmtp = DOVECOT / "conf.d/20-lmtp.conf"     # Debian's cuts the domain off
    lmtp.write_text(re.sub(r"auth_username_format = .*", "auth_username_format = %{user | lower}",
                           lmtp.read_text()))
    local_conf("", f"""\
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path =
sql_driver = {database.driver}
{database.settings}\
passdb sql {{
  default_password_scheme = PLAIN
  query = SELECT address AS user, password FROM users WHERE address = '%{{user}}'
}}
userdb sql {{
  query = SELECT '/var/vmail/' || address AS home, 5000 AS uid, 5000 AS gid \
FROM users WHERE address = '%{{user}}'
  iterate_query = SELECT address AS user FROM users
}}
""")


@profile(VIRTUAL)
def sqlite() -> None:
    virtual_users(sqlite_database())


@profile(VIRTUAL)
def pgsql() -> None:
    virtual_users(pgsql_database())


@profile(VIRTUAL)
def many_domains() -> None:
    """500 domains, which Postfix reads from a table and not from main.cf."""
    table = Path("/etc/postfix/domains")
    table.write_text("".join(f"{name} ok\n" for name in (
        "one.example", "two.example", *(f"d{number}.example" for number in range(500)))))
    virtual_users(sqlite_database(), "hash:/etc/postfix/domains")
    run("postmap", str(table))


@profile(VIRTUAL)
def tables() -> None:
    """Tables of every kind, that rewrite, own and relay all below example.org."""
    etc = Path("/etc/postfix")
    for kind, name, text in (
            ("lmdb", "domains", "one.example ok\ntwo.example ok\n"),
            ("cdb", "virtual", "info@one.example ann@one.example\n"),
            ("lmdb", "generic", "@chat.example.org ann@one.example\n"),
            ("regexp", "canonical", "/^(.*)@.*\\.example\\.org$/ ${1}@example.org\n"),
            ("regexp", "owners", "/^(.*@(one|two)\\.example)$/ ${1}\n")):
        (etc / name).write_text(text)
        if kind != "regexp":
            run("postmap", f"{kind}:{etc / name}")
    virtual_users(sqlite_database(), f"lmdb:{etc}/domains")
    postconf("-e", {"virtual_alias_maps": f"cdb:{etc}/virtual", "relay_domains": "example.org",
                    "smtp_generic_maps": f"lmdb:{etc}/generic",
                    "lmtp_generic_maps": f"lmdb:{etc}/generic",
                    "canonical_maps": f"regexp:{etc}/canonical",
                    "smtpd_sender_login_maps": f"regexp:{etc}/owners",
                    "smtpd_sender_restrictions": "reject_authenticated_sender_login_mismatch"})


@profile()
def master_users() -> None:
    """As Debian's own auth-master.conf.ext has them."""
    stock.MASTER_USERS.write_text("admin:{PLAIN}master secret\n")
    stock.MASTER_USERS.chmod(0o644)
    local_conf(stock.MASTERS_23, stock.MASTERS_24)


# ---- Dovecot ----------------------------------------------------------------------------------

@profile()
def sieve() -> None:
    """LMTP with a global Sieve script, ManageSieve, a quota, and shared namespaces with ACLs."""
    scripts = Path("/var/lib/dovecot-sieve")
    scripts.mkdir()
    (scripts / "before.sieve").write_text(
        'require "fileinto";\nif header :contains "X-Spam-Flag" "YES" { fileinto "Junk"; }\n')
    run("sievec", str(scripts / "before.sieve"))
    postconf("-e", {"mailbox_transport": LMTP})
    if IS_23:   # or the name that LMTP looks for is the whole address
        local_conf("protocol lmtp {\n  auth_username_format = %Ln\n}\n", "")
    local_conf("""\
mail_location = maildir:~/Maildir
mail_plugins = quota acl
namespace inbox {
  separator = /
  mailbox Junk {
    auto = create
  }
}
namespace {
  type = shared
  separator = /
  prefix = Shared/%%u/
  location = maildir:%%h/Maildir:INDEXPVT=~/Maildir/Shared/%%u
  subscriptions = no
  list = children
}
protocol lmtp {
  mail_plugins = quota acl sieve
}
protocol imap {
  mail_plugins = quota acl imap_quota imap_acl
}
plugin {
  acl = vfile
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=1G
  sieve = file:~/sieve;active=~/.dovecot.sieve
  sieve_before = /var/lib/dovecot-sieve/before.sieve
}
""", """\
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path =
mail_plugins {
  quota = yes
  acl = yes
}
acl_driver = vfile
namespace inbox {
  separator = /
  mailbox Junk {
    auto = create
  }
}
namespace shared {
  type = shared
  separator = /
  prefix = Shared/$user/
  mail_driver = maildir
  mail_path = %{owner_home}/Maildir
  mail_index_private_path = ~/Maildir/Shared/%{owner_user}
  subscriptions = no
  list = children
}
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
protocol imap {
  mail_plugins {
    imap_quota = yes
    imap_acl = yes
  }
}
quota "User quota" {
  quota_driver = count
  quota_storage_size = 1G
}
sieve_script personal {
  driver = file
  path = ~/sieve
  active_path = ~/.dovecot.sieve
}
sieve_script before {
  type = before
  driver = file
  path = /var/lib/dovecot-sieve/before.sieve
}
""")


@profile((Person("carol@example.org", "carol's secret", "carol@example.org"),
          Person("dan@example.org", "dan's secret", "dan@example.org")))
def single_file() -> None:
    """One dovecot.conf that includes nothing, as iRedMail writes it."""
    version = "" if IS_23 else ("dovecot_config_version = 2.4.0\n"
                                "dovecot_storage_version = 2.4.0\n")
    people = PROFILES["single-file"].people
    (DOVECOT / "users").write_text("".join(f"{p.login}:{{PLAIN}}{p.password}\n" for p in people))
    (DOVECOT / "users").chmod(0o644)
    run("groupadd", "--gid", "5000", "vmail")
    run("useradd", "--uid", "5000", "--gid", "5000", "--home-dir", "/var/vmail", "--create-home",
        "vmail")
    shutil.rmtree(DOVECOT / "conf.d")
    listeners = (DOVECOT / "local.conf").read_text()
    (DOVECOT / "local.conf").unlink()
    (DOVECOT / "dovecot.conf").write_text(version + "protocols = imap lmtp\n" + (
        "mail_location = maildir:~/Maildir\nssl_cert = </etc/dovecot/private/dovecot.pem\n"
        "ssl_key = </etc/dovecot/private/dovecot.key\n"
        "passdb {\n  driver = passwd-file\n  args = username_format=%u /etc/dovecot/users\n}\n"
        "userdb {\n  driver = static\n  args = uid=5000 gid=5000 home=/var/vmail/%u\n}\n"
        if IS_23 else
        "mail_driver = maildir\nmail_path = ~/Maildir\n"
        "ssl_server_cert_file = /etc/dovecot/private/dovecot.pem\n"
        "ssl_server_key_file = /etc/dovecot/private/dovecot.key\n"
        "passdb passwd-file {\n  passwd_file_path = /etc/dovecot/users\n}\n"
        "userdb static {\n  fields {\n    uid = 5000\n    gid = 5000\n"
        "    home = /var/vmail/%{user}\n  }\n}\n") + listeners)
    postconf("-e", {"virtual_mailbox_domains": "example.org", "virtual_transport": LMTP,
                    "mydestination": "$myhostname, localhost"})


@profile(recipe="doc/yunohost.md")
def yunohost() -> None:
    """Written by YunoHost, and again after each change: LDA, senders rewritten, mail delayed."""
    yunohost_settings.write(IS_23)


# ---- Postfix ----------------------------------------------------------------------------------

@profile()
def own_cleanup() -> None:
    """Submissions lose the client's address and program, by a cleanup service of their own."""
    Path("/etc/postfix/submission_header_checks").write_text(
        "/^Received: from / IGNORE\n/^(User-Agent|X-Originating-IP):/ IGNORE\n")
    postconf("-M", {"authclean/unix": "authclean unix n - y - 0 cleanup"})
    postconf("-P", {"authclean/unix/header_checks":
                    "regexp:/etc/postfix/submission_header_checks"})
    for service in ("submission", "submissions"):
        postconf("-P", {f"{service}/inet/cleanup_service_name": "authclean"})


@profile()
def content_filter() -> None:
    """Postscreen at the door, and all mail from outside through a filter that injects it again."""
    program = Path("/usr/local/lib/filter")
    program.write_text('#!/bin/sh\n{ echo "X-Filtered: yes"; cat; } | '
                       '/usr/sbin/sendmail -G -i "$@"\n')
    program.chmod(0o755)
    run("useradd", "--system", "--no-create-home", "filter")
    postconf("-M", {"filter/unix": "filter unix - n n - 10 pipe flags=Rq user=filter null_sender= "
                    "argv=/usr/local/lib/filter -f ${sender} -- ${recipient}",
                    "smtp/inet": "smtp inet n - y - 1 postscreen",
                    "smtpd/pass": "smtpd pass - - y - - smtpd -o content_filter=filter:dummy",
                    "dnsblog/unix": "dnsblog unix - - y - 0 dnsblog",
                    "tlsproxy/unix": "tlsproxy unix - - y - 0 tlsproxy"})
    postconf("-e", {"postscreen_greet_action": "enforce", "postscreen_greet_wait": "1s"})


@profile()
def unchrooted() -> None:
    """Nothing is chrooted, and a table is asked by a socket outside of the queue directory."""
    lines = subprocess.run(["postconf", "-M"], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    for name, kind, _, _, chroot, *_ in (line.split() for line in lines):
        if chroot == "y":
            postconf("-F", {f"{name}/{kind}/chroot": "n"})
    subprocess.Popen(["/usr/bin/python3", Path(__file__).parent / "socketmap.py"],
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    postconf("-e", {"virtual_alias_maps": "socketmap:unix:/run/aliases.sock:aliases"})


@profile()
def smtps() -> None:
    """Port 465 by its older name."""
    run("postconf", "-MX", "submissions/inet")
    postconf("-M", {"smtps/inet": "smtps inet n - y - - smtpd"})
    postconf("-P", {"smtps/inet/smtpd_tls_wrappermode": "yes",
                    "smtps/inet/smtpd_sasl_auth_enable": "yes"})


@profile()
def no_line_end() -> None:
    """Somebody's editor left the last line of main.cf without its end."""
    run("postconf", "-X", "inet_protocols")
    with open("/etc/postfix/main.cf", "a") as file:
        file.write("inet_protocols = all")


@profile(umask=0o077)
def careful_root() -> None:
    """root's umask is 077, and mail is delivered by Dovecot's LDA, which reads its own files."""
    postconf("-e", {"mailbox_command": '/usr/lib/dovecot/dovecot-lda -f "$SENDER" -a "$RECIPIENT"'})
    stock.DOVECOT_LOG.touch()
    os.chmod(stock.DOVECOT_LOG, 0o666)
    local_conf("mail_location = maildir:~/Maildir\n"
               "service stats {\n  unix_listener stats-writer {\n    mode = 0666\n  }\n}\n",
               "mail_driver = maildir\nmail_path = ~/Maildir\nmail_inbox_path =\n"
               "mail_home = /home/%{user | username}\n"
               "service stats {\n  unix_listener stats-writer {\n    mode = 0666\n  }\n}\n")


@profile(closed_ports=(2587,))
def instances() -> None:
    """A second Postfix instance, with a submission service of its own on another port."""
    run("postmulti", "-e", "init")
    run("postmulti", "-I", "postfix-second", "-G", "mta", "-e", "create")
    there = ["-c", "/etc/postfix-second"]
    run("postconf", *there, "-e", "myhostname=second.example.org", "authorized_submit_users=root",
        "master_service_disable=", "mydestination=", "relayhost=[127.0.0.1]",
        "smtpd_sasl_type=dovecot", "smtpd_sasl_path=/var/spool/postfix/private/auth",
        f"maillog_file={stock.MAIL_LOG}", "disable_dns_lookups=yes", "smtp_host_lookup=native",
        f"smtpd_tls_cert_file={stock.CERTIFICATE}",
        f"smtpd_tls_key_file={stock.KEY}", "mynetworks=127.0.0.0/8", "compatibility_level=3.6")
    run("postconf", *there, "-M", "smtp/inet=127.0.0.1:10025 inet n - n - - smtpd",
        "2587/inet=2587 inet n - n - - smtpd", "postlog/unix-dgram=postlog unix-dgram n - n - 1 "
        "postlogd")
    run("postconf", *there, "-P", "2587/inet/smtpd_tls_security_level=encrypt",
        "2587/inet/smtpd_sasl_auth_enable=yes", "2587/inet/smtpd_tls_auth_only=yes",
        "2587/inet/smtpd_relay_restrictions=permit_sasl_authenticated,reject")
    run("postmulti", "-i", "postfix-second", "-e", "enable")


@profile(site=WITHOUT_IPV4)
def ipv6_only() -> None:
    """Neither server speaks IPv4, though the names of the host still lead to it."""
    site = WITHOUT_IPV4
    for address in (site.address, site.stranger, f"{site.clients}20", f"{site.clients}21"):
        run("ip", "-6", "address", "add", f"{address}/128", "dev", "lo")
    postconf("-e", {"inet_protocols": "ipv6", "mynetworks": "[::1]/128"})
    local_conf("listen = ::\n", "listen = ::\n")
