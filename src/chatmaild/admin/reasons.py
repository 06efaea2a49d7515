"""Explains each reason code in the log: its meaning, what the sender sees, what the admin can do.

`filter-test` prints the meaning. doc/reasons.md is this table; a test verifies that the two agree
and that no code of the rules is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from chatmaild.filter import replies
from chatmaild.filter.replies import Reply

NOTHING = "Nothing."
_A_PROGRAM = ("Nothing, unless a genuine program wrote it: "
              "`chatmaild filter-test MESSAGE` shows the place.")
_DELIVERED = "The message is delivered."


@dataclass(frozen=True)
class Reason:
    """`meaning` is one sentence; `sees` what the sender is told."""

    meaning: str
    sees: str
    advice: str


def _told(reply: Reply) -> str:
    return f"`{reply.code} {reply.status} {reply.text}`"


def _group(sees: str, advice: str, meanings: Mapping[str, str]) -> dict[str, Reason]:
    return {code: Reason(meaning, sees, advice) for code, meaning in meanings.items()}


_ACCEPTED = _group(_DELIVERED, NOTHING, {
    "encrypted": "The message is end-to-end encrypted.",
    "securejoin": "It is the first message of securejoin, which passes unencrypted.",
    "autocrypt-setup": "It is an Autocrypt Setup Message to its own sender.",
    "report": "It is a delivery report (RFC 3464).",
    "cleartext-allowed": "No recipient asks for encryption, so what it is was not looked at.",
    "passthrough": "Its sender or all of its recipients are listed in `passthrough_senders` or "
                   "`passthrough_recipients`.",
    "not-ours": "Neither sender nor recipients are chat users, so it passed unread.",
})

_SENDERS = {
    "sender-is-not-login": Reason(
        "The envelope sender is not the address of the login.", _told(replies.NOT_YOUR_SENDER),
        "The person has to send as the address that they log in with."),
    "sender-without-login": Reason(
        "The envelope sender is a chat address, but nobody logged in as it.",
        _told(replies.NOT_YOUR_ADDRESS),
        "A program of the host that writes in a chat address needs another sender."),
    "sender-unknown": Reason(
        "The sender is logged in, but has no account any more.", _told(replies.NO_ACCOUNT),
        "Nothing: their next login makes the account anew, where sign-up allows it."),
    "sender-blocked": Reason(
        "The sender is logged in, but the account is blocked.", _told(replies.NO_ACCOUNT),
        "`chatmaild accounts unblock ADDRESS`."),
    "sender-ended": Reason(
        "The account that this session logged in to was removed, and the address may be somebody "
        "else's now; or it got another password.", _told(replies.LOG_IN_AGAIN), NOTHING),
    "session-too-old": Reason(
        "The session is older than a day.", _told(replies.TOO_OLD),
        "Nothing: clients connect again by themselves."),
    "from-is-a-chat-user": Reason(
        "From or Sender shows a chat address whose owner did not log in.",
        _told(replies.NOT_YOUR_ADDRESS),
        "Mailing lists must rewrite From; a program of the host needs another address."),
    "from-invalid": Reason(
        "From of a message from outside is not exactly one address in ASCII.",
        _told(replies.INVALID_FROM), NOTHING),
    "too-large": Reason(
        "The message is larger than `max_message_size`.", _told(replies.TOO_LARGE),
        "Raise it together with Postfix's `message_size_limit`."),
    "too-fast": Reason(
        "The sender exceeds `max_user_send_per_minute` after `max_user_send_burst_size` messages.",
        _told(replies.TOO_FAST), "Raise the limits if people meet them in ordinary use."),
    **_group(_told(replies.WRONG_FROM), "Nothing: the person's program is set up wrongly.", {
        "from-missing": "An outgoing message has no From.",
        "from-twice": "An outgoing message has more than one From, and they differ.",
        "from-syntax": "From of an outgoing message is not exactly one address.",
        "from-is-not-sender": "From of an outgoing message is not the envelope sender.",
        "from-shows-another-address": "The display name in From shows another address.",
        "sender-header": "The Sender header names somebody else.",
    }),
}

_RECIPIENTS = {
    "recipient-unknown": Reason(
        "The recipient has no account.", _told(replies.UNKNOWN_RECIPIENT),
        "For aliases of a chat domain set `recipient_aliases`."),
    "recipient-blocked": Reason(
        "The recipient's account is blocked.", _told(replies.UNKNOWN_RECIPIENT),
        "`chatmaild accounts unblock ADDRESS`."),
    "recipient-needs-tls": Reason(
        "A stranger's server sends without TLS, and `incoming_tls = require` is set.",
        _told(replies.NEEDS_TLS), "Nothing, or `incoming_tls = may`."),
    "recipient-of-other-class": Reason(
        "Chat users and ordinary recipients stand in one transaction, and this one comes in the "
        "next.", _told(replies.SEPARATELY),
        "Nothing; an MX name of its own for the chat domain avoids it (incoming.md)."),
}

_PACKETS = {
    "reserved": "tag 0", "signature": "a signature", "one-pass-signature": "a signature",
    "secret-key": "a secret key", "public-key": "a public key", "secret-subkey": "a secret subkey",
    "compressed": "compressed data", "sed": "ciphertext without integrity protection",
    "marker": "a marker", "literal": "literal data", "trust": "trust", "user-id": "a user id",
    "public-subkey": "a public subkey", "user-attribute": "a user attribute",
    "mdc": "a modification detection code", "aead": "ciphertext of a withdrawn draft",
    "padding": "padding", "unknown": "one of an unknown tag",
}

_CONTENT = _group(_told(replies.UNENCRYPTED), _A_PROGRAM, {
    "cleartext": "The message is not encrypted.",
    "not-encrypted": "The message is not encrypted.",
    "protocol": "multipart/encrypted names another protocol than OpenPGP's.",
    "boundary": "The boundary is missing, longer than 70 characters, or has characters that it "
                "may not have.",
    "content-type": "Content-Type has a parameter or a charset that is not known.",
    "content-type-twice": "There is more than one Content-Type.",
    "content-type-syntax": "Content-Type does not follow the grammar.",
    "content-type-too-long": "Content-Type is too long.",
    "content-type-blanks": "Content-Type has more than 70 octets of white space.",
    "content-type-parameter-twice": "Content-Type has a parameter more than once.",
    "content-transfer-encoding-twice": "There is more than one Content-Transfer-Encoding.",
    "transfer-encoding": "Content-Transfer-Encoding names one that is not allowed here.",
    "text-before-first-part": "Text that no known program writes stands before the first part.",
    "text-in-version-part": "The first part says something other than `Version: 1`.",
    "text-before-armor": "Text stands before the armor.",
    "text-in-armor": "Text stands in the armor.",
    "text-after-armor": "Text stands after the armor.",
    "text-after-last-part": "Text stands after the last part.",
    "line-without-cr": "A line does not end with CRLF, or has a CR, LF or NUL in it.",
    "line-too-long": "A line is longer than 998 octets.",
    "too-many-lines": "There are thousands of lines with next to nothing in them.",
    "last-line-without-end": "The last line is cut short.",
    "closing-delimiter-missing": "The message ends before its last part does.",
    "part-head-too-long": "The headers of a part are longer than 1,000 octets.",
    "part-header": "A part has a header or a parameter that it may not have.",
    "part-header-syntax": "The headers of a part do not follow the grammar.",
    "part-header-text": "The headers of a part have more than 100 octets of text and white space.",
    "part-header-twice": "A part has a header more than once.",
    "part-content-type": "A part is not of the type that it must have.",
    "part-transfer-encoding": "A part has an encoding that it may not have.",
    "base64": "A line of a part in base64 is not strict base64.",
    "quoted-printable": "A line of a part in quoted-printable is not strict quoted-printable.",
    "armor-header": "The armor has headers that it may not have.",
    "armor-line-length": "The lines of the armor are not of one width of 40 to 76 characters.",
    "armor-checksum": "The checksum of the armor is malformed.",
    "not-a-packet": "The armor holds something other than OpenPGP packets.",
    "no-packets": "The armor is empty.",
    "packet-truncated": "The last OpenPGP packet is cut short.",
    "partial-length": "A session-key packet has partial lengths.",
    "first-partial-length": "The first partial length is below 512 octets.",
    "too-many-partial-lengths": "The ciphertext is cut into thousands of small pieces.",
    "indeterminate-length": "A packet does not say how long it is.",
    "ciphertext-without-session-key": "Ciphertext comes without a session-key packet.",
    "session-keys-without-ciphertext": "Session-key packets come without ciphertext.",
    "data-after-ciphertext": "Something follows the ciphertext.",
    "ciphertext-too-short": "The ciphertext is shorter than any can be.",
    "ciphertext-version": "The ciphertext is of a version that is not known.",
    "ciphertext-parameters": "The parameters of the ciphertext are not known.",
    "ciphertext-is-text": "What should be ciphertext is text.",
    "too-many-session-keys": "There are more session-key packets than `max_session_keys`.",
    "session-key-truncated": "A session-key packet is cut short.",
    "session-key-too-long": "A session-key packet is longer than any can be.",
    "session-key-version": "A session-key packet is of a version that is not known.",
    "session-key-number-length": "A number in a session-key packet has a wrong length.",
    "session-key-has-more-octets": "A session-key packet is longer than its fields.",
    "session-key-recipient": "The recipient in a session-key packet is malformed.",
    "session-key-wrapped-length": "The wrapped key in a session-key packet has a wrong length.",
    "session-key-cipher": "A session-key packet names a cipher that is not known.",
    "session-key-aead": "A session-key packet names a mode that is not known.",
    "session-key-s2k": "A session-key packet turns a passphrase into a key in an unknown way.",
    "session-key-unknown-length": "A session-key packet of an unknown algorithm is too short or "
                                  "too long.",
    "session-key-is-text": "What should be key material is text.",
    "securejoin-header": "A Secure-Join header is too long, has characters that it may not "
                         "have, or stands beside a header that may not be there.",
    "securejoin-twice": "There is more than one Secure-Join header of a kind.",
    "securejoin-step": "Secure-Join names a step that must be encrypted.",
    "securejoin-parts": "A securejoin request is not one part of text.",
    "securejoin-not-text": "A securejoin request is not plain text.",
    "securejoin-text": "A securejoin request says something other than its header.",
    "securejoin-too-long": "A securejoin request is too long.",
    "setup-too-long": "An Autocrypt Setup Message is too long.",
    "setup-parts": "An Autocrypt Setup Message has other parts than it must have.",
    "setup-words": "The text of an Autocrypt Setup Message is too long.",
    "setup-page": "The page of an Autocrypt Setup Message has other content than it may have.",
    "setup-not-by-code": "An Autocrypt Setup Message is not encrypted by one setup code.",
    "mime-version": "MIME-Version is not 1.0.",
    "header-name": "The name of a header has a blank in it.",
    "header-twice": "There is more than one of a header that RFC 5322 allows once.",
    "autocrypt-key": "The key in an Autocrypt header is not one.",
    "autocrypt-key-is-text": "An Autocrypt key has text where its numbers belong.",
})
_CONTENT |= _group(_told(replies.UNENCRYPTED), _A_PROGRAM, {
    f"packet-{name}": f"The armor holds a packet that may not be there: {what}."
    for name, what in _PACKETS.items()})
_CONTENT |= {
    "header-text": Reason(
        "The headers have more text than `max_header_text` and 64 octets for each recipient that "
        "they name; in a securejoin request 1,024.", _told(replies.UNENCRYPTED),
        "Raise `max_header_text` if people's programs write more."),
    "headers-too-large": Reason(
        "The headers have more than 512 KiB or 1,000 lines.", _told(replies.UNENCRYPTED), NOTHING),
    **_group(_told(replies.UNENCRYPTED), "The reporting server is set up unusually; its admin can "
             "mend it.", {
        "report-with-sender": "A multipart/report has an envelope sender, so it is not a "
                              "delivery report.",
        "report-not-from-mailer-daemon": "A multipart/report is not from mailer-daemon.",
        "report-not-auto-submitted": "A multipart/report does not say Auto-Submitted.",
        "report-of-other-type": "A multipart/report is not a delivery report.",
    }),
}

_OTHERS_FAULT = "The sender's admin has to sign with the domain of From."
_AUTHENTICITY = {
    **_group(_told(replies.NOT_AUTHENTIC), _OTHERS_FAULT, {
        "no-signature": "There is no DKIM signature.",
        "not-aligned": "No DKIM signature is of the domain of From.",
        "signature-unusable": "The DKIM signature's tags are broken or not allowed.",
        "signature-expired": "The DKIM signature has expired (`x=`).",
        "no-key": "The DNS has no key of that name.",
        "key-unusable": "The key in the DNS is revoked, too short, or of another type.",
    }),
    **_group(_told(replies.NOT_AUTHENTIC), "See that no milter before ours changes the message.", {
        "body-hash": "The body is not the one that was signed.",
        "signature-wrong": "The headers are not the ones that were signed.",
    }),
    "client-not-literal": Reason(
        "From is an address at a network address, and the client has another one.",
        _told(replies.NOT_AUTHENTIC), NOTHING),
    "valid": Reason("A DKIM signature of the domain of From is valid.", _DELIVERED, NOTHING),
    "signature-in-future": Reason(
        "The signature is dated in the future (`t=`).", _told(replies.NOT_CHECKABLE),
        "See that the clock of this host is right."),
    "dns-trouble": Reason(
        "The DNS did not answer for the key, or said SERVFAIL.", _told(replies.NOT_CHECKABLE),
        "See that the resolver works: `chatmaild check`."),
    "verifier-temperror": Reason(
        "The verifier of the host could not tell.", _told(replies.NOT_CHECKABLE),
        "See its log."),
    "verifier-no-pass": Reason(
        "The verifier of the host found no valid signature of the domain of From.",
        _told(replies.NOT_AUTHENTIC), _OTHERS_FAULT),
    "verifier-silent": Reason(
        "The verifier of the host wrote no result.",
        _told(replies.NOT_CHECKABLE) + " if there is a signature, else "
        + _told(replies.NOT_AUTHENTIC),
        "See that it runs, before our filter, by the name in `authserv_id`."),
}

_LOGIN = "The login fails."
_LATER = "The login fails for the moment."
_SIGNUPS = {
    "name": Reason("The name is too short, too long, or has characters that it may not have.",
                   _LOGIN, "Set `username_min_length` and `username_max_length`."),
    "reserved-name": Reason("The name is in `reserved_names`.", _LOGIN, NOTHING),
    "password": Reason("The password is too short or not usable.", _LOGIN,
                       "Set `password_min_length`."),
    "nocreate": Reason("/etc/chatmaild/nocreate exists.", _LOGIN, "Remove it to go on."),
    "closed": Reason("`signup = closed`.", _LOGIN, "`chatmaild accounts create` makes one."),
    "automatic-account": Reason(
        "A password of 23 characters marks an account that a client makes by itself, and "
        "`automatic_accounts = no`.", _LOGIN, NOTHING),
    "no-invite": Reason("`signup = invite`, and there was no invitation.", _LOGIN,
                        "`chatmaild invite create`."),
    "client-limit": Reason("Too many accounts came from that network in an hour.", _LOGIN,
                           "Raise `max_client_signups_per_hour`."),
    "host-limit": Reason("Too many accounts came to this host in an hour.", _LOGIN,
                         "Raise `max_signups_per_hour`."),
    "load": Reason("The load is above `max_load_1m`.", _LATER, "Find out what the host does."),
    "memory": Reason("Less memory is left than `min_available_memory`.", _LATER,
                     "Find out who uses it."),
    "disk": Reason("Less disk is left than `min_free_disk_space`.", _LATER, "Make room."),
    "inodes": Reason("Fewer inodes are left than `min_free_inodes`.", _LATER, "Make room."),
    "blocked": Reason("The account is blocked.", _LOGIN, "`chatmaild accounts unblock ADDRESS`."),
    "ending": Reason("The account was just removed, and the sessions of its owner are being ended.",
                     _LATER, NOTHING),
}

SECTIONS: dict[str, dict[str, Reason]] = {
    "Accepted": _ACCEPTED,
    "Senders": _SENDERS,
    "Recipients": _RECIPIENTS,
    "Content": _CONTENT,
    "Authenticity": _AUTHENTICITY,
    "Accounts that were not made": _SIGNUPS,
}
"""Every reason code, by what it is about."""


def explain(code: str) -> str:
    """Return the meaning of the code after ``reason=`` in the log; "" for an unknown one."""
    codes = code.replace("would-refuse=", "").split()
    found = [reason for part in codes for section in SECTIONS.values()
             if (reason := section.get(part))]
    return " ".join(reason.meaning for reason in found)
