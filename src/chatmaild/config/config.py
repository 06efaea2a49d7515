"""The configuration: every key with its kind and its default, and which keys must agree.

The fields of `DomainConfig` and `Config` are the table of keys: their names are the keys, their
metadata the parser and the default. A test compares them with the manual page and the annotated
default file.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatmaild.config.values import (
    Network, absolute_path, address_patterns, boolean, choice, decimal, domain_names, host_name,
    integer, metrics_socket, networks, one_line, optional, servers, size, web_address, word, words,
)

MAX_RETENTION = 40
"""Days; only `allow_long_retention` lets messages stay longer."""


def setting(parse: Callable[[str], Any], default: str) -> Any:
    """A field of the table of keys; `default` is written as it would be in the file."""
    return dataclasses.field(metadata={"parse": parse, "default": default})


@dataclass(frozen=True, kw_only=True)
class DomainConfig:
    """The settings of one chat domain: each may stand in ``[domain NAME]``."""

    name: str

    max_message_size: int = setting(size, "31457280")
    max_user_send_per_minute: int = setting(integer(1, 100_000), "60")
    max_user_send_burst_size: int = setting(integer(1, 100_000), "10")
    max_header_text: int = setting(integer(0, 1_000_000), "4096")
    max_session_keys: int = setting(integer(1, 100_000), "2000")
    allow_autocrypt_setup: bool = setting(boolean, "no")
    passthrough_senders: frozenset[str] = setting(address_patterns, "")
    passthrough_recipients: frozenset[str] = setting(address_patterns, "")

    recipient_aliases: frozenset[str] = setting(address_patterns, "")
    incoming_tls: str = setting(choice("may", "require"), "may")

    signup: str = setting(choice("open", "invite", "closed"), "open")
    automatic_accounts: bool = setting(boolean, "yes")
    username_min_length: int = setting(integer(1, 64), "9")
    username_max_length: int = setting(integer(1, 64), "9")
    password_min_length: int = setting(integer(1, 511), "9")
    reserved_names: frozenset[str] = setting(
        words,
        "postmaster abuse hostmaster webmaster admin administrator root mailer-daemon noreply",
    )

    max_mailbox_size: int = setting(size, "500M")
    max_mailbox_messages: int = setting(integer(1, 10_000_000), "50000")
    max_mailbox_folders: int = setting(integer(1, 100_000), "100")
    max_user_sessions: int = setting(integer(1, 100_000), "50")
    delete_mails_after: int = setting(integer(1, 36_500), "20")
    delete_large_after: int = setting(integer(1, 36_500), "7")
    delete_inactive_users_after: int = setting(integer(1, 36_500), "90")
    allow_long_retention: bool = setting(boolean, "no")

    push: bool = setting(boolean, "yes")
    max_smtp_recipients: int | None = setting(optional(integer(1, 1_000_000)), "1000")
    iroh_relay: str | None = setting(optional(web_address), "")
    turn_server: str | None = setting(
        optional(word(r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}", "HOST:PORT, the host without colons")), ""
    )
    turn_secret_file: Path | None = setting(optional(absolute_path), "")
    turn_socket: Path | None = setting(optional(absolute_path), "")
    app_versions_file: Path | None = setting(optional(absolute_path), "")
    metadata_comment: str | None = setting(optional(one_line), "")
    metadata_admin: str | None = setting(
        optional(word(r"[A-Za-z][A-Za-z0-9+.-]*:[!-$&-~]{1,1000}",
                      "a URI, such as mailto:postmaster@example.org, without %")), ""
    )

    def problems(self) -> list[str]:
        """Keys of one domain that contradict each other, one sentence each."""
        found = []
        ways = [way for way in (self.turn_secret_file, self.turn_socket) if way]
        if len(ways) != (1 if self.turn_server else 0):
            found.append(
                "turn_server needs either turn_secret_file or turn_socket, and these need it: set "
                "turn_server and one of the two, or none of the three"
            )
        if self.username_min_length > self.username_max_length:
            found.append(
                f"username_min_length ({self.username_min_length}) is larger than "
                f"username_max_length ({self.username_max_length})"
            )
        for key in ("delete_mails_after", "delete_large_after"):
            days = getattr(self, key)
            if days > MAX_RETENTION and not self.allow_long_retention:
                found.append(
                    f"{key} = {days}: users are promised deletion within {MAX_RETENTION} days; "
                    "set allow_long_retention = yes if yours know that it takes longer"
                )
        return found


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole configuration: the keys of the host, and `domains` by name."""

    path: Path
    domains: Mapping[str, DomainConfig]

    mail_domains: tuple[str, ...] = setting(domain_names, "")
    mailboxes_dir: Path = setting(absolute_path, "/var/lib/chatmaild/mail")
    mail_user: str = setting(word(r"[a-z_][a-z0-9_-]{0,31}", "the name of a user"), "_chatmaild")
    recipient_delimiter: str = setting(
        word(r"[-+=._!#$%&*]{0,4}", "up to four punctuation characters, as in main.cf"), "+"
    )
    max_signups_per_hour: int = setting(integer(1, 1_000_000), "1000")
    max_client_signups_per_hour: int = setting(integer(1, 1_000_000), "30")
    max_load_1m: float = setting(decimal(0.1, 10_000), "5")
    min_available_memory: int = setting(size, "200M")
    min_free_disk_space: int = setting(size, "1G")
    min_free_inodes: int = setting(integer(0, 1 << 40), "100000")
    log_addresses: bool = setting(boolean, "no")

    directory: Path | None = setting(optional(absolute_path), "")
    node: str = setting(host_name, "")
    metrics_listen: str | tuple[str, int] | None = setting(optional(metrics_socket), "")

    push_gateway: str = setting(web_address, "https://notifications.delta.chat/notify")
    push_max_requests: int = setting(integer(1, 1000), "32")
    push_tokens_dir: Path = setting(absolute_path, "/var/lib/chatmaild/push-tokens")
    push_queue_dir: Path = setting(absolute_path, "/var/lib/chatmaild/push-queue")
    push_metrics_file: Path = setting(absolute_path, "/run/chatmaild-notifier/push.prom")

    incoming_authenticity: str = setting(
        choice("dkim", "dkim-log", "authentication-results", "authentication-results-log", "off"),
        "dkim",
    )
    authserv_id: str = setting(
        word(r"[A-Za-z0-9._-]{0,253}", "the name that the verifier writes first in its header"), ""
    )
    dkim_min_rsa_bits: int = setting(integer(1024, 4096), "1024")
    dns_servers: tuple[tuple[str, int], ...] = setting(servers, "")
    trusted_networks: tuple[Network, ...] = setting(networks, "127.0.0.0/8 [::1]/128")

    def domain_of(self, mail_address: str) -> DomainConfig | None:
        """The chat domain that `mail_address` belongs to; None for everybody else's."""
        return self.domains.get(mail_address.rpartition("@")[2].lower())

    def problems(self) -> list[str]:
        """Keys of the host that contradict each other, one sentence each."""
        if bool(self.directory) != bool(self.node):
            return ["directory and node belong together: set node to the name of this host, or "
                    "neither"]
        if self.incoming_authenticity.startswith("authentication-results") and not self.authserv_id:
            return [
                f"incoming_authenticity = {self.incoming_authenticity}: authserv_id must say whose "
                "results count; see AuthservID in opendkim.conf, or your verifier's manual"
            ]
        return []


def _keys(*classes: type) -> dict[str, dataclasses.Field[Any]]:
    return {
        f.name: f for cls in classes for f in dataclasses.fields(cls) if "parse" in f.metadata
    }


HOST_KEYS = _keys(Config)
DOMAIN_KEYS = _keys(DomainConfig)
