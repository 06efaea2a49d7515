"""An ordinary mail host as Debian sets it up: the state before chatmaild comes.

Postfix's and Dovecot's configuration is written anew from what the packages ship, whatever the
machine below had. The host serves the ordinary domain example.org for users of /etc/passwd
(alice and bob), authenticates submission with Dovecot, and knows nothing of chat.
"""

import shutil
import subprocess
from pathlib import Path

from rig.debian import own_suite
from rig.site import EXAMPLE, Site

ORDINARY_USERS = {"alice": "alice's ordinary secret", "bob": "bob's ordinary secret"}

MAIL_LOG = Path("/var/log/mail.log")
DOVECOT_LOG = Path("/var/log/dovecot.log")
CERTIFICATE = Path("/etc/ssl/certs/ssl-cert-snakeoil.pem")
KEY = Path("/etc/ssl/private/ssl-cert-snakeoil.key")

MASTER_USERS = Path("/etc/dovecot/master-users")
MASTERS_23 = f"""\
auth_master_user_separator = *
passdb {{
  driver = passwd-file
  master = yes
  args = {MASTER_USERS}
  pass = yes
}}
"""
MASTERS_24 = f"""\
auth_master_user_separator = *
passdb masters {{
  driver = passwd-file
  master = yes
  passwd_file_path = {MASTER_USERS}
  result_success = continue
}}
"""
"""The lines of Debian's auth-master.conf.ext for Dovecot 2.3 and 2.4, which ask the other databases
whether the user exists."""

_MAIN_CF = {
    # what the Debian package asks for an "Internet Site"
    "smtpd_relay_restrictions":
        "permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
    "alias_maps": "hash:/etc/aliases",
    "alias_database": "hash:/etc/aliases",
    "myorigin": "/etc/mailname",
    "relayhost": "",
    "mynetworks": "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128",
    "mailbox_size_limit": "0",
    "recipient_delimiter": "+",
    "inet_interfaces": "all",
    "inet_protocols": "all",
    # what its admin added for users who send mail
    "smtpd_sasl_type": "dovecot",
    "smtpd_sasl_path": "private/auth",
    # The address of `Host.stranger` is one of this machine's, which Postfix takes for its own
    # clients, and mends their headers (permit_inet_interfaces).
    "local_header_rewrite_clients": "permit_mynetworks",
    "maillog_file": str(MAIL_LOG),
}
_NO_WORLD = {
    # no DNS, and nothing leaves but to discard.example.net
    "smtpd_peername_lookup": "no",
    "smtp_dns_support_level": "disabled", "lmtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
    "default_transport": "error:no outside world",
    "transport_maps": "inline:{ discard.example.net=discard: }",
}
_SUBMISSION = {
    "submission/inet": "submission inet n - y - - smtpd",
    "submissions/inet": "submissions inet n - y - - smtpd",
}
_SUBMISSION_OPTIONS = {
    "submission/inet/smtpd_tls_security_level": "encrypt",
    "submissions/inet/smtpd_tls_wrappermode": "yes",
}
_BOTH_OPTIONS = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_tls_auth_only": "yes",
    "smtpd_relay_restrictions": "permit_sasl_authenticated,reject",
}
_LOCAL_CONF = f"""\
log_path = {DOVECOT_LOG}
service auth {{
  unix_listener /var/spool/postfix/private/auth {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
service lmtp {{
  unix_listener /var/spool/postfix/private/dovecot-lmtp {{
    mode = 0600
    user = postfix
    group = postfix
  }}
}}
"""


def write(site: Site = EXAMPLE, alone: bool = True) -> None:
    """Make the private machine that ordinary host; nothing is started.

    With `alone` Postfix asks no DNS and sends nothing away.
    """
    _certificate(site)
    _users()
    _postfix(site, alone)
    _dovecot()


def _certificate(site: Site) -> None:
    names = ",".join([*(f"DNS:{name}" for name in site.names),
                      "DNS:localhost", "IP:127.0.0.1", "IP:::1", f"IP:{site.address}"])
    run("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-days", "30",
        "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={site.domain}",
        "-addext", f"subjectAltName={names}", "-keyout", str(KEY), "-out", str(CERTIFICATE))


def _users() -> None:
    for name, password in ORDINARY_USERS.items():
        run("useradd", "--create-home", "--shell", "/usr/sbin/nologin", name)
        run("chpasswd", text=f"{name}:{password}\n")


def _postfix(site: Site, alone: bool) -> None:
    shutil.rmtree("/var/spool/postfix")
    Path("/var/spool/postfix").mkdir()
    for path in Path("/var/lib/postfix").iterdir():
        path.unlink()
    etc, share = Path("/etc/postfix"), Path("/usr/share/postfix")
    (etc / "main.cf").write_text((share / "main.cf.debian").read_text()
                                 + (share / "main.cf.tls").read_text())
    shutil.copy(share / "master.cf.dist", etc / "master.cf")
    postconf("-e", _MAIN_CF | (_NO_WORLD if alone else {}) | {
        "myhostname": site.name,
        "mydestination": f"$myhostname, {site.domain}, localhost"})
    postconf("-Me", _SUBMISSION)
    postconf("-P", _SUBMISSION_OPTIONS)
    for name in _SUBMISSION:
        postconf("-P", {f"{name}/{key}": value for key, value in _BOTH_OPTIONS.items()})
    run("newaliases")
    run("postfix", "check")
    if own_suite() == "bookworm":   # its unit fills the chroot; later `postfix start` does
        run("/usr/lib/postfix/configure-instance.sh", "-")


def _dovecot() -> None:
    etc, share = Path("/etc/dovecot"), Path("/usr/share/dovecot")
    shutil.rmtree(etc)
    etc.mkdir()
    shutil.copy(share / "dovecot.conf", etc)
    shutil.copytree(share / "conf.d", etc / "conf.d")
    private = etc / "private"
    private.mkdir(mode=0o700)
    (private / "dovecot.pem").symlink_to(CERTIFICATE)
    (private / "dovecot.key").symlink_to(KEY)
    (etc / "local.conf").write_text(_LOCAL_CONF)


def empty_mailbox(user: str) -> None:
    """Expunge an ordinary user's mail by Dovecot, if there is any."""
    inbox, folders = Path("/var/mail", user), Path("/home", user, "mail")
    if any(path.is_file() and path.stat().st_size for path in (inbox, *folders.glob("[!.]*"))):
        run("doveadm", "expunge", "-u", user, "mailbox", "*", "all")


def postconf(option: str, settings: dict[str, str]) -> None:
    run("postconf", option, *(f"{key}={value}" for key, value in settings.items()))


def run(*command: str, text: str | None = None) -> None:
    """Run it; CalledProcessError with its output when it fails."""
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
