"""What the users of a host notice, as values: ordinary ones before and after chatmaild, chat users.

Two batteries of an ordinary host are equal, or an ordinary user noticed something.
"""

import contextlib
import email
import imaplib
import itertools
import re
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import chatmessages
from rig.host import PASSWORD, Host, tls_context
from rig.profiles import Person, Profile
from rig.until import until

_NUMBERS = itertools.count(1)

_VARIES = (
    (re.compile(r"\b(with|id) [0-9A-Za-z+/<>.]{8,}"), r"\1 ID"),
    (re.compile(r"\bid [0-9A-Z]{6,}\b"), "id ID"),
    (re.compile(r"[A-Z][a-z]{2}, [ 0-9]\d [A-Z][a-z]{2} \d{4} [0-9:]{8} [+-]\d{4}( \([A-Z]+\))?"),
     "DATE"),
    (re.compile(r"<\d{14}\.[0-9A-Za-z]+@"), "<ID@"),
    (re.compile(r"\b(subject|token)-\d+\b"), r"\1"),
)
"""What differs from one message to the next on any host."""


def of_ordinary_users(host: Host, profile: Profile) -> dict[str, object]:
    """Everything that the ordinary users of the host can see of it."""
    found: dict[str, object] = {}
    first, second = profile.people[:2]
    with ThreadPoolExecutor() as pool:      # servers take their time to refuse a password
        refusals = [pool.submit(_refused, host, person, f"{profile.site.clients}{number}")
                    for number, person in enumerate(profile.people, 20)]
        for person in profile.people:
            found[f"{person.login}: login"] = _login(host, person)
            found[f"{person.login}: mail from outside"] = _from_outside(host, person)
            found[f"{person.login}: spam from outside"] = _from_outside(
                host, person, "X-Spam-Flag: YES\r\n")
        for port in profile.ports:
            found[f"submission at {port}"] = _submitted(host, port, first, second)
        found["sendmail"] = _sendmail(host, first, second)
        for person, refusal in zip(profile.people, refusals):
            found[f"{person.login}: wrong password"] = refusal.result()
    return found


def answers_to_chat_users(host: Host, profile: Profile) -> dict[int, tuple[int, int]]:
    """By submission port, the answers to a chat user's cleartext and to their encrypted message.

    The encrypted ones that were taken arrive, or AssertionError.
    """
    sender, recipient = host.new_person(), host.new_person()
    encrypted = chatmessages.encrypted(sender, recipient, "hi")
    answers = {}
    for port in (*profile.ports, *profile.closed_ports):
        with _client(host, port) as client:
            client.login(sender, PASSWORD)
            cleartext, passing = (_answer(client, sender, recipient, message) for message in (
                _message(sender, recipient, "subject-0"), encrypted))
            answers[port] = cleartext, passing
    imap = host.imap(recipient, PASSWORD)
    host.wait_for_mail(imap, len(profile.ports))
    imap.logout()
    return answers


def _answer(client: smtplib.SMTP, sender: str, recipient: str, message: bytes) -> int:
    try:
        client.sendmail(sender, [recipient], message)
    except smtplib.SMTPDataError as error:
        client.rset()   # which smtplib leaves out where DATA itself was refused
        return error.smtp_code
    return 250


def _login(host: Host, person: Person) -> list[str]:
    with _imap(host, person) as client:
        answers = [client.capability(), client.namespace(), sorted(client.list()[1])]
        if "QUOTA" in client.capabilities or b"QUOTA" in b" ".join(answers[0][1]).split():
            answers.append(client.getquotaroot("INBOX"))
        return [re.sub(r"STORAGE \d+", "STORAGE N", re.sub(r"\\+(Un)?Marked ", "", repr(answer)))
                for answer in answers]


def _refused(host: Host, person: Person, source: str) -> str:
    try:
        host.imap(person.login, "a wrong one", source=source).logout()
    except imaplib.IMAP4.error as error:
        return str(error)
    return "accepted"


def _from_outside(host: Host, person: Person, header: str = "") -> object:
    token = f"subject-{next(_NUMBERS)}"
    message = _message("someone@sender.example", person.address, token, header)
    code, text = host.answer(message, person.address, "someone@sender.example")
    assert code == 250, f"ordinary mail to {person.address}: {code} {text}"
    return _delivered(host, person, token)


def _submitted(host: Host, port: int, sender: Person, recipient: Person) -> object:
    token = f"subject-{next(_NUMBERS)}"
    with _client(host, port) as client:
        client.login(sender.login, sender.password)
        client.sendmail(sender.address, [recipient.address],
                        _message(sender.address, recipient.address, token))
    return _delivered(host, recipient, token)


def _sendmail(host: Host, sender: Person, recipient: Person) -> object:
    token = f"subject-{next(_NUMBERS)}"
    message = _message(sender.address, recipient.address, token).decode().replace("\r\n", "\n")
    host.run("sendmail", "-f", sender.address, recipient.address, text=message)
    return _delivered(host, recipient, token)


def _message(sender: str, recipient: str, token: str, header: str = "") -> bytes:
    return (f"{header}From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {token}\r\n"
            f"Message-ID: <{token}@client.example.net>\r\n"
            "User-Agent: Client 1\r\nX-Originating-IP: 203.0.113.9\r\n\r\n"
            "An ordinary message.\r\n").encode()


def _delivered(host: Host, person: Person, token: str) -> object:
    """The folder in which the message with that subject arrived, and its headers."""
    with _imap(host, person) as client:
        return until(lambda: _look_for(client, token), f"{token} to reach {person.address}",
                     pause=0.05)


def _look_for(client: imaplib.IMAP4, token: str) -> object:
    for line in client.list()[1]:
        folder = line.decode().rpartition(" ")[2]
        if client.select(folder, readonly=True)[0] != "OK":
            continue
        numbers = client.search(None, "SUBJECT", f'"{token}"')[1][0].split()
        if numbers:
            data = client.fetch(numbers[0].decode(), "(BODY.PEEK[])")[1]
            return folder, _headers(data[0][1])
    return None


def _headers(message: bytes) -> list[str]:
    parsed = email.message_from_bytes(message)
    return [_normal(f"{name}: {' '.join(value.split())}") for name, value in parsed.items()]


def _normal(text: str) -> str:
    for pattern, by in _VARIES:
        text = pattern.sub(by, text)
    return text


@contextlib.contextmanager
def _imap(host: Host, person: Person) -> Iterator[imaplib.IMAP4]:
    client = host.imap(person.login, person.password)
    try:
        yield client
    finally:
        client.logout()


@contextlib.contextmanager
def _client(host: Host, port: int) -> Iterator[smtplib.SMTP]:
    options = {"timeout": 60, "local_hostname": "client.example.net"}
    address = host.site.loopback
    if port == 465:
        client = smtplib.SMTP_SSL(address, port, context=tls_context(), **options)
    else:
        client = smtplib.SMTP(address, port, **options)
        client.starttls(context=tls_context())
    with client:
        yield client
