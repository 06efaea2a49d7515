"""The settings of YunoHost 12 for Postfix and Dovecot that matter to mail, for rig.profiles.

Its users are in a file instead of LDAP. What asks the DNS and what needs more packages is left out.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from rig import stock
from rig.stock import postconf, run

MAIN_CF = {
    "mydestination": "localhost",
    "mydomain": "example.org",
    "virtual_mailbox_domains": "/etc/postfix/virtual-mailbox-domains",
    "virtual_mailbox_maps": "hash:/etc/postfix/accounts,hash:/etc/postfix/app_senders_login_maps",
    "virtual_mailbox_base": "",
    "virtual_alias_maps": "hash:/etc/postfix/own_aliases",
    "virtual_transport": "dovecot",
    "dovecot_destination_recipient_limit": "1",
    "smtpd_sender_login_maps":
        "unionmap:{ hash:/etc/postfix/accounts, hash:/etc/postfix/app_senders_login_maps }",
    "smtpd_helo_required": "yes",
    "strict_rfc821_envelopes": "yes",
    "smtpd_client_restrictions": "permit_mynetworks, permit_sasl_authenticated, permit",
    "smtpd_helo_restrictions": "permit_mynetworks, permit_sasl_authenticated, "
                               "reject_non_fqdn_hostname, reject_invalid_hostname, permit",
    "smtpd_sender_restrictions": "reject_sender_login_mismatch, permit_mynetworks, "
                                 "permit_sasl_authenticated, reject_non_fqdn_sender, permit",
    "smtpd_recipient_restrictions": "permit_mynetworks, permit_sasl_authenticated, "
                                    "reject_non_fqdn_recipient, reject_unauth_destination, permit",
    "sender_canonical_maps": "tcp:localhost:10001",
    "sender_canonical_classes": "envelope_sender",
    "recipient_canonical_maps": "tcp:localhost:10002",
    "recipient_canonical_classes": "envelope_recipient,header_recipient",
    "milter_mail_macros": "i {mail_addr} {client_addr} {client_name} {auth_authen} {auth_type}",
    "milter_protocol": "6",
    "smtpd_milters": "inet:localhost:8891",
    "non_smtpd_milters": "inet:localhost:8891",
    "milter_default_action": "accept",
    "smtp_destination_concurrency_limit": "2",
    "default_destination_rate_delay": "1s",     # 5s there
    "message_size_limit": "35914708",
    "disable_vrfy_command": "yes",
}

BOTH = """\
namespace inbox {
  inbox = yes
  mailbox Junk {
    special_use = \\Junk
    auto = subscribe
  }
  mailbox Sent {
    special_use = \\Sent
    auto = subscribe
  }
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    user = postfix
    group = postfix
    mode = 0660
  }
  unix_listener auth-master {
    user = vmail
    group = mail
    mode = 0660
  }
}
service stats {
  unix_listener stats-writer {
    user = vmail
    group = mail
    mode = 0660
  }
}
"""

DOVECOT_23 = """\
!include yunohost.d/pre-ext.conf
protocols = imap
auth_mechanisms = plain login
mail_uid = 500
mail_gid = 8
mail_home = /var/mail/%n
mail_location = maildir:/var/mail/%n
mail_plugins = $mail_plugins quota notify
ssl = required
ssl_cert = </etc/dovecot/private/dovecot.pem
ssl_key = </etc/dovecot/private/dovecot.key
passdb {
  driver = passwd-file
  args = username_format=%n /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = username_format=%n /etc/dovecot/users
}
protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
protocol lda {
  auth_socket_path = /var/run/dovecot/auth-master
  mail_plugins = quota sieve
}
""" + BOTH + """\
plugin {
  sieve = /var/mail/sievescript/%n/.dovecot.sieve
  sieve_before = /etc/dovecot/global_script/
  quota = maildir:User quota
  quota_rule = *:storage=1G
}
"""

DOVECOT_24 = """\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
!include yunohost.d/pre-ext.conf
protocols = imap
auth_mechanisms = plain login
mail_uid = 500
mail_gid = 8
mail_home = /var/mail/%{user | username}
mail_driver = maildir
mail_path = /var/mail/%{user | username}
ssl = required
ssl_server_cert_file = /etc/dovecot/private/dovecot.pem
ssl_server_key_file = /etc/dovecot/private/dovecot.key
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
  auth_username_format = %{user | username}
}
userdb passwd-file {
  passwd_file_path = /etc/dovecot/users
  auth_username_format = %{user | username}
}
mail_plugins {
  quota = yes
  notify = yes
}
protocol imap {
  mail_plugins {
    imap_quota = yes
  }
}
protocol lda {
  auth_socket_path = /var/run/dovecot/auth-master
  mail_plugins {
    sieve = yes
  }
}
""" + BOTH + """\
quota "User quota" {
  quota_driver = count
  quota_storage_size = 1G
}
sieve_script personal {
  path = /var/mail/sievescript/%{user | username}/.dovecot.sieve
}
sieve_script before {
  type = before
  path = /etc/dovecot/global_script/
}
"""

COMMAND = """\
#!/bin/bash
# Stands for `yunohost tools regen-conf NAME... --force`: its own files, then the hooks.
set -eu
[ "$1 $2" = "tools regen-conf" ]
cp -a /usr/share/yunohost/postfix/. /etc/postfix/
cp -a /usr/share/yunohost/dovecot/. /etc/dovecot/
postfix reload
doveadm reload
for hook in /etc/yunohost/hooks.d/conf_regen/*; do
    [ ! -e "$hook" ] || bash "$hook" post
done
"""
SIEVE = 'require "fileinto";\nif header :contains "X-Spam-Flag" "YES" { fileinto "Junk"; }\n'


def write(is_23: bool) -> None:
    """Make the ordinary host such a one, for the users of stock."""
    _dovecot(is_23)
    _postfix()
    for name, files in (("postfix", ("main.cf", "master.cf")), ("dovecot", ("dovecot.conf",))):
        own = Path("/usr/share/yunohost", name)
        own.mkdir(parents=True)
        for file in files:
            shutil.copy(Path("/etc", name, file), own)
    Path("/etc/yunohost/hooks.d/conf_regen").mkdir(parents=True)
    command = Path("/usr/bin/yunohost")
    command.write_text(COMMAND)
    command.chmod(0o755)
    subprocess.Popen([sys.executable, Path(__file__).parent / "tcptables.py"],
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _dovecot(is_23: bool) -> None:
    etc = Path("/etc/dovecot")
    run("useradd", "--uid", "500", "--gid", "mail", "--no-create-home", "vmail")
    run("chmod", "1775", "/var/mail")
    shutil.rmtree(etc / "conf.d")
    (etc / "local.conf").unlink()
    (etc / "dovecot.conf").write_text(
        (DOVECOT_23 if is_23 else DOVECOT_24)
        + f"log_path = {stock.DOVECOT_LOG}\n!include yunohost.d/post-ext.conf\n")
    stock.DOVECOT_LOG.touch()
    stock.DOVECOT_LOG.chmod(0o666)
    for place in ("pre-ext", "post-ext"):
        (etc / f"yunohost.d/{place}.d").mkdir(parents=True)
        (etc / f"yunohost.d/{place}.conf").write_text(f"!include_try {place}.d/*.conf\n")
    (etc / "global_script").mkdir()
    (etc / "global_script/dovecot.sieve").write_text(SIEVE)
    run("sievec", str(etc / "global_script/dovecot.sieve"))
    (etc / "users").write_text("".join(
        f"{name}:{{PLAIN}}{password}:500:8::/var/mail/{name}\n"
        for name, password in stock.ORDINARY_USERS.items()))
    (etc / "users").chmod(0o644)


def _postfix() -> None:
    etc = Path("/etc/postfix")
    (etc / "virtual-mailbox-domains").write_text("# Written again and again.\nexample.org\n")
    for name, text in (("accounts", "".join(f"{user}@example.org {user}\n"
                                            for user in stock.ORDINARY_USERS)),
                       ("app_senders_login_maps", ""), ("own_aliases", "root@example.org "
                                                        "alice@example.org\n")):
        (etc / name).write_text(text)
        run("postmap", f"hash:{etc / name}")
    postconf("-e", MAIN_CF)
    postconf("-M", {"dovecot/unix": "dovecot unix - n n - - pipe flags=DRhu user=vmail:mail "
                    "argv=/usr/lib/dovecot/dovecot-lda -f ${sender} -d ${user}@${nexthop} "
                    "-m ${extension} -a ${recipient}"})
