"""Takes the facts on the pages of a chat domain from the configuration."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from chatmaild.config.config import Config, DomainConfig
from chatmaild.push.tokens import LIFETIME as TOKEN_LIFETIME
from chatmaild.retention.rules import LARGE

DAY = 86400
IMAPS, SUBMISSIONS = 993, 465


@dataclass(frozen=True)
class Facts:
    """Values for the templates. Times are in whole days, sizes are text with their unit."""

    domain: str
    signup: str
    """``open``, ``invite`` or ``closed``."""
    message_days: int
    large_days: int
    """0 if large messages are kept as long as others."""
    large_size: str
    account_days: int
    mailbox_size: str
    message_size: str
    push_host: str
    """The push gateway; "" if no phone is rung."""
    token_days: int
    calls_host: str
    realtime_host: str
    logs_addresses: bool
    has_exceptions: bool
    """Whether somebody may send unencrypted mail."""
    admin_uri: str
    admin_name: str
    """What the link to `admin_uri` says."""
    comment: str
    imap_port: int = IMAPS
    smtp_port: int = SUBMISSIONS


def of(domain: DomainConfig, config: Config) -> Facts:
    """Return the facts for the pages of `domain`."""
    uri = domain.metadata_admin or ""
    return Facts(
        domain=domain.name,
        signup=domain.signup,
        message_days=domain.delete_mails_after,
        large_days=domain.delete_large_after
        if domain.delete_large_after < domain.delete_mails_after else 0,
        large_size=size(LARGE),
        account_days=domain.delete_inactive_users_after,
        mailbox_size=size(domain.max_mailbox_size),
        message_size=size(domain.max_message_size),
        push_host=(urlsplit(config.push_gateway).hostname or "") if domain.push else "",
        token_days=TOKEN_LIFETIME // DAY,
        calls_host=(domain.turn_server or "").partition(":")[0],
        realtime_host=urlsplit(domain.iroh_relay or "").hostname or "",
        logs_addresses=config.log_addresses,
        has_exceptions=bool(domain.passthrough_senders or domain.passthrough_recipients),
        admin_uri=uri,
        admin_name=uri.removeprefix("mailto:").partition("?")[0],
        comment=domain.metadata_comment or "",
    )


def size(octets: int) -> str:
    """Return a size with its unit: a power of 1024 if it is a whole multiple, else of 1000.

    A no-break space is between them, so that no line ends there.
    """
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if octets >= length and octets % length == 0:
            return f"{octets // length}\N{NO-BREAK SPACE}{unit}"
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if octets >= length:
            return f"{octets / length:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{octets}\N{NO-BREAK SPACE}B"
