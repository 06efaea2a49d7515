"""Has Dovecot load our databases before all others, and some settings after all others."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from chatmaild.admin.servers.usernames import keeps_domain, may_take_domains
from chatmaild.admin.wiring import listeners
from chatmaild.admin.wiring.observation import Host, included
from chatmaild.admin.wiring.steps import Kind, Obstacle, Step, same_settings
from chatmaild.config.config import Config

EXAMPLE = "chat.example.org"
"""The chat domain in the files that we ship."""

FIRST, LAST = "05-chatmaild.conf", "99-chatmaild-lmtp.conf"

_CODES_FIRST = ("passdb-missing", "userdb-missing", "passdb-filter", "passdb-order", "userdb-order",
                "passdb-result", "userdb-result", "passdb-blocking", "passdb-cache",
                "transport-socket", "sasl-socket", "imap-login", "imap-processes",
                "sessions")
_CODES_LAST = ("lmtp-username", "username-format", "lmtp-mode")
_FORMAT = re.compile(r"^ *auth_username_format = .*\n", re.MULTILINE)
_LATE = re.compile(r"^[ \t]*(auth_username_format[ \t]*=|unix_listener[ \t]+(\S*/)?lmtp[ \t]*\{)",
                   re.MULTILINE)
_OWN_FORMAT = re.compile(r"^# the host's own (global|lmtp): (.*)$", re.MULTILINE)


def plan(host: Host, config: Config, own: bool = False) -> Iterator[Step | Obstacle]:
    """Plan the files for Dovecot, and the lines that load them.

    `own`: chat gets submission services of its own.
    """
    first, last = _places(host)
    yield from _file(host, first, _databases(host, config, own),
                     "chat accounts, asked before all other databases", _CODES_FIRST)
    formats: list[str] = []
    for found in _formats(host, config, last):
        if isinstance(found, Obstacle):
            yield found
        else:
            formats.append(found)
    text = _late(host, config, formats)
    yield from _file(host, last, text, "settings that must come after those of the host",
                     _CODES_LAST)
    for place, path, codes in (("first", first, _CODES_FIRST), ("last", last, _CODES_LAST)):
        yield from loads(host, place, path, bool(text) or place == "first", codes)


def loads(host: Host, place: str, path: str, wanted: bool,
          codes: tuple[str, ...]) -> Iterator[Step]:
    """Plan the line that includes our file `path`, unless conf.d or such a line does already."""
    line = f"!include {path}"
    is_there = line in host.files.get(host.dovecot.path, "").splitlines()
    if wanted and not is_there and not path.startswith(f"{host.conf_d}/"):
        yield Step(Kind.LINE, host.dovecot.path, place, None, line,
                   "loads the file of chatmaild", codes)


def _places(host: Host) -> tuple[str, str]:
    """Return the paths of the two files.

    Each is in conf.d if that is read early, or late, enough; else it is beside dovecot.conf.
    """
    directory = host.conf_d.rpartition("/")[0]
    first = host.conf_d if _loads_conf_d_first(host) else None
    last = first if first and not _sets_later(host) else None
    return (f"{first}/{FIRST}" if first else f"{directory}/chatmaild.conf",
            f"{last}/{LAST}" if last else f"{directory}/chatmaild-last.conf")


def late_path(host: Host, name: str) -> str:
    """Return the path for a further file that is read late: 99-`name` in conf.d, or `name`."""
    last = _places(host)[1]
    return f"{host.conf_d}/99-{name}" if last.startswith(f"{host.conf_d}/") else (
        f"{last.rpartition('/')[0]}/{name}")


def _sets_later(host: Host) -> bool:
    """Whether dovecot.conf, after conf.d, sets anything that our last file sets."""
    main = host.files.get(host.dovecot.path, "")
    if f"!include {host.conf_d.rpartition('/')[0]}/chatmaild-last.conf" in main.splitlines():
        return True
    behind = main.rpartition("conf.d/*.conf")[2]
    ours = (FIRST, LAST, "/chatmaild.conf", "/chatmaild-last.conf")
    texts = [behind, *(text for path, text in host.files.items()
                       if path != host.dovecot.path and not path.endswith(ours)
                       and not (path.startswith(f"{host.conf_d}/")
                                and path.rpartition("/")[2] < LAST))]
    return any(_LATE.search(text) for text in texts)


def _loads_conf_d_first(host: Host) -> bool:
    """Whether Dovecot reads a file 05- in conf.d before any database is named."""
    main = host.dovecot.path
    for line in host.files.get(main, "").splitlines():
        if re.match(r"\s*!include(_try)?\s+(\S*/)?conf\.d/\*\.conf\s*(#.*)?$", line):
            return not any(_names_database(host, path, text) for path, text in host.files.items()
                           if path.startswith(f"{host.conf_d}/")
                           and path.rpartition("/")[2] < FIRST)
        if _names_database(host, main, line):
            return False
    return False


def _names_database(host: Host, path: str, text: str) -> bool:
    """Whether `text`, which is in the file `path`, or what it includes, has a passdb or userdb."""
    if re.search(r"^[ \t]*(passdb|userdb)\b", text, re.MULTILINE):
        return True
    return any(_names_database(host, other, host.files[other])
               for pattern in included(path, text) for other in host.files
               if other != path and fnmatchcase(other, pattern))


def _file(host: Host, path: str, text: str, why: str, codes: tuple[str, ...]) -> Iterator[Step]:
    was = host.files.get(path)
    if text and (was is None or not same_settings(was, text)):
        yield Step(Kind.FILE, path, "", was, text, why, codes)
    elif not text and was is not None:
        yield Step(Kind.FILE, path, "", was, None, "no longer needed", codes)


def _databases(host: Host, config: Config, own: bool) -> str:
    """Return our first file, with all chat domains and with the listeners that the host lacks."""
    text = _written_by_us(_for_domains(host.templates[FIRST], config))
    return text + "".join(_missing_listeners(host, own))


def _for_domains(text: str, config: Config) -> str:
    text = text.replace(f"*@{EXAMPLE}", " ".join(f"*@{name}" for name in config.mail_domains))
    return text.replace(EXAMPLE, config.mail_domains[0])


def _written_by_us(text: str) -> str:
    """Return a shipped file without its comment on how to copy it."""
    head, blank, rest = text.partition("\n\n")
    return "# Written by chatmaild wire; chatmaild unwire takes it away.\n\n" + (
        rest if head.startswith("#") and blank else text)


def _missing_listeners(host: Host, own: bool) -> Iterator[str]:
    """Yield sockets in Postfix's queue directory; those that our file has already stay."""
    queue = host.postfix.get("queue_directory")
    path = f"{queue}/private/dovecot-lmtp"
    ours = _ours(host)
    others = set(listeners.lmtp_listeners(host.dovecot))
    if path in ours or not any(one.startswith(f"{queue}/") for one in others):
        if path in ours or not listeners.delivers(host.postfix, host.dovecot,
                                                  host.postfix.get("virtual_transport")):
            yield _listener("lmtp", path, "0600")
    auth = {where for where, _ in listeners.listeners(host.dovecot, "auth")}
    asking = [service for service in host.postfix.submission_servers()
              if host.postfix.get("smtpd_sasl_type", service) == "dovecot"]
    paths = [host.postfix.resolve(where.removeprefix("unix:"), service) for service in asking
             if not (where := host.postfix.get("smtpd_sasl_path", service)).startswith("inet:")]
    if own and not asking:
        paths = [f"{queue}/private/auth"]
    for where in paths:
        if where in ours or where not in auth:
            yield _listener("auth", where, "0660")
            return


def _ours(host: Host) -> str:
    return "".join(text for path, text in host.files.items()
                   if path.endswith((FIRST, "/chatmaild.conf")))


def _listener(service: str, path: str, mode: str) -> str:
    return (f"\nservice {service} {{\n  unix_listener {path} {{\n    mode = {mode}\n"
            "    user = postfix\n    group = postfix\n  }\n}\n")


# ---- what must come last -------------------------------------------------------------------------

def _late(host: Host, config: Config, formats: list[str]) -> str:
    template = host.templates.get(LAST, "")
    body = "".join(formats) + _socket_mode(host)
    kept = _FORMAT.sub("", _for_domains(template, config)).partition("\n\n")[2]
    kept = re.sub(r"(?:^#.*\n)*^protocol lmtp \{\s*\}\n?", "", kept, flags=re.MULTILINE).strip()
    body += f"\n{kept}\n" if kept else ""
    return f"# Written by chatmaild wire; chatmaild unwire takes it away.\n\n{body}" if body else ""


def _formats(host: Host, config: Config, path: str) -> Iterator[str | Obstacle]:
    """Yield an ``auth_username_format`` that keeps chat addresses whole and changes no others."""
    dovecot = host.dovecot
    ours = host.files.get(path, "")
    before = dict(_OWN_FORMAT.findall(ours))
    for scope in ("global", "lmtp"):
        holds = (dovecot.get("auth_username_format") if scope == "global"
                 else dovecot.tree.block("protocol", "lmtp").get("auth_username_format"))
        value = before.get(scope) or holds
        # Our file may say it for fewer domains; the new one says it for all.
        is_overridden = scope in before and f"auth_username_format = {holds}\n" not in ours
        if is_overridden and not all(keeps_domain(holds, name) for name in config.mail_domains):
            yield Obstacle(f"{dovecot.path}: {scope}: auth_username_format",
                           f"{holds} is set after {path}, and cuts chat domains off",
                           "take the later line out, or extend it: doc/wiring-by-hand.md")
        if not value or all(keeps_domain(value, domain) for domain in config.mail_domains):
            if f"auth_username_format = {value}\n" in ours:     # written by hand
                yield _format(scope, value)
            continue
        extended = extend(value, config.mail_domains, dovecot.is_23)
        if not dovecot.is_23 and not may_take_domains(value):
            yield Obstacle(f"{dovecot.path}: {scope}: auth_username_format",
                           f"{value} does not say what becomes of chat addresses",
                           f"if it makes alice of alice@{config.mail_domains[0]} today, then:\n"
                           f"auth_username_format = {extended}")
            continue
        yield f"# the host's own {scope}: {value}\n" + _format(scope, extended)


def _format(scope: str, value: str) -> str:
    line = f"auth_username_format = {value}\n"
    return line if scope == "global" else f"protocol lmtp {{\n  {line}}}\n"


def extend(value: str, domains: tuple[str, ...], is_23: bool) -> str:
    """Return a format that is `value`, except that addresses of the chat domains stay whole."""
    if not is_23:
        return value + "".join(
            f"%{{user | domain | lower | if('eq', '{domain}', '@{domain}', '')}}"
            for domain in domains)
    for domain in domains:
        value = f"%{{if;%Ld;eq;{domain};%Lu;{value}}}"
    return value


def _socket_mode(host: Host) -> str:
    """Close Debian's LMTP socket: every user of the host could write into any mailbox by it."""
    found = ""
    for _, block in listeners.listeners(host.dovecot, "lmtp"):
        ours = f"unix_listener {block.name} {{" in "".join(
            text for name, text in host.files.items() if name.endswith((LAST, "-last.conf")))
        if not ours and not listeners.is_open(block):
            continue
        group = block.get("group") or "postfix"
        found += (f"# any user of the host could write into any mailbox\nservice lmtp {{\n"
                  f"  unix_listener {block.name} {{\n    mode = 0660\n    group = {group}\n"
                  "  }\n}\n")
    return found
