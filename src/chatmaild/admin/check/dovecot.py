"""Does Dovecot ask our Lua file about chat addresses, first and alone, and about nobody else?"""

import re
from collections.abc import Callable, Iterator

from chatmaild.admin.check import hostfiles
from chatmaild.admin.check.findings import Finding, failure, ok, unseen
from chatmaild.admin.check.hostfiles import Identity
from chatmaild.admin.servers.doveconf import Block, Dovecot
from chatmaild.admin.servers.usernames import keeps_domain
from chatmaild.config.config import Config

CONFIG_FILE = "/etc/dovecot/conf.d/05-chatmaild.conf"

MAIN_LUA = "/usr/share/chatmaild/chatmaild.lua"
"""The main part, which the Lua file named in Dovecot's configuration loads."""

AUTH_MODULE = "/usr/lib/dovecot/modules/auth/libauthdb_lua.so"
LUA_SOCKET = "/usr/lib/*/lua/5.4/socket/unix.so"


PASSDB_ARGS = "args = file=... blocking=yes cache_key=%u%{session}%{pid}%{userdb:once}"
"""Of our passdb on 2.3. The last part is empty when Dovecot looks for a remembered login, and never
the same when it remembers one."""

NAMES = "abcdefghijklmnopqrstuvwxyz0123456789.-_@"
"""What chat addresses consist of."""

HIDDEN = "#hidden_use-P_to_show#"
"""What doveconf prints instead of a value that it takes for a secret."""


def lua_file(database: Block) -> str:
    """Return the file of a Lua passdb or userdb; "" for other databases."""
    if database.get("driver", database.name) != "lua":
        return ""
    match = re.search(r"(?:^|\s)file=(\S+)", database.get("args"))
    return match[1] if match else database.get("lua_file")


MASTER = "chatmaild-master"
"""The second passdb on Dovecot 2.4; only logins of the host's master users reach it."""


def is_ours(database: Block) -> bool:
    """Whether it is our passdb or userdb; the one for master users does not count."""
    return "chatmaild" in lua_file(database) and database.name != MASTER


def check(
    dovecot: Dovecot,
    config: Config,
    identify: Callable[..., Identity | None] = hostfiles.identity,
    installed: Callable[[str], bool] = hostfiles.installed,
    main_lua: str = MAIN_LUA,
) -> Iterator[Finding]:
    """Yield findings about authentication: passdb, userdb, Lua, and what interferes."""
    yield from _passdb(dovecot, config)
    yield from _userdb(dovecot)
    yield from _lua(dovecot, main_lua, identify, installed)
    yield from _auth_settings(dovecot)
    yield from _user_names(dovecot)
    yield from _protocols(dovecot)


def _ours_among(dovecot: Dovecot, kind: str) -> tuple[Block | None, list[Block], list[Block]]:
    """Return our passdb or userdb, and those that Dovecot asks before and after it."""
    blocks = list(dovecot.tree.all(kind))
    at = next((number for number, block in enumerate(blocks) if is_ours(block)), None)
    return (None, blocks, []) if at is None else (blocks[at], blocks[:at], blocks[at + 1:])


def _missing(dovecot: Dovecot, kind: str, consequence: str) -> Finding:
    return failure(f"{kind}-missing", f"{dovecot.path}: {kind}", consequence,
                   f"install {CONFIG_FILE} as the README says, then: doveadm reload")


def _order(kind: str, place: str, before: list[Block], consequence: str) -> Finding:
    if not before:
        return ok(f"{kind}-order", place, "asked first")
    names = ", ".join(block.get("driver", block.name) for block in before)
    return failure(f"{kind}-order", place, f"{names} {consequence}",
                   f"our file must sort before 10-auth.conf: mv FILE {CONFIG_FILE}")


def _passdb(dovecot: Dovecot, config: Config) -> Iterator[Finding]:
    ours, before, _ = _ours_among(dovecot, "passdb")
    if ours is None:
        yield _missing(dovecot, "passdb", "Dovecot does not ask chatmaild about anybody")
        return
    place = f"{dovecot.path}: passdb {lua_file(ours)}"
    yield _order("passdb", place,
                 [block for block in before
                  if not block.get("username_filter") and block.get("master") != "yes"],
                 "is asked first: each chat login waits for its refusal, which may be final")
    yield from _filter(ours, place, config)
    for key in ("result_failure", "result_internalfail"):
        if ours.get(key) != "return-fail":
            yield failure("passdb-result", place,
                          f"{key} is {ours.get(key) or 'continue'}: another database is then asked "
                          "about chat addresses", f"{key} = return-fail")
    cache = dovecot.get("auth_cache_size", "0").split()[0]
    if dovecot.is_23:
        if "blocking=yes" not in ours.get("args").split():
            yield failure("passdb-blocking", place,
                          "without blocking=yes one slow creation of an account holds up everybody",
                          PASSDB_ARGS)
        if cache != "0" and not _forgets(ours.get("args")):
            yield failure("passdb-cache", place,
                          "auth_cache_size is set: what was true of an address before its first "
                          "login is remembered, and old passwords go on working after block and "
                          "delete",
                          PASSDB_ARGS)
    elif cache != "0" and ours.get("use_cache") != "no":
        yield failure("passdb-cache", place,
                      "auth_cache_size is set: what was true of an address before its first login "
                      "is remembered", "use_cache = no")


def _forgets(args: str) -> bool:
    """Whether the cache of Dovecot 2.3 answers no login, as far as doveconf shows."""
    return "%{userdb:once}" in args or f"cache_key={HIDDEN}" in args


def _filter(ours: Block, place: str, config: Config) -> Iterator[Finding]:
    found = set(ours.get("username_filter").split())
    wanted = {f"*@{domain}" for domain in config.mail_domains}
    cure = "username_filter = " + " ".join(sorted(wanted))
    if not found:
        yield failure("passdb-filter", place,
                      "has no username_filter: logins of all other domains end here", cure)
    elif wanted - found:
        yield failure("passdb-filter", place,
                      "username_filter lacks " + ", ".join(sorted(wanted - found)), cure)
    elif found - wanted:
        yield failure("passdb-filter", place,
                      f"username_filter has {', '.join(sorted(found - wanted))}, which "
                      "chatmaild.ini does not list: nobody there can log in", cure)
    else:
        yield ok("passdb-filter", place, "answers for " + ", ".join(config.mail_domains))


def _userdb(dovecot: Dovecot) -> Iterator[Finding]:
    ours, before, after = _ours_among(dovecot, "userdb")
    if ours is None:
        yield _missing(dovecot, "userdb",
                       "Dovecot does not learn from chatmaild where mailboxes are")
        return
    place = f"{dovecot.path}: userdb {lua_file(ours)}"
    yield _order("userdb", place, before, "is asked first and may answer for chat addresses")
    if ours.get("result_internalfail") != "return-fail":
        yield failure("userdb-result", place,
                      "result_internalfail is not return-fail: while a disk is away, another "
                      "database is asked about chat addresses", "result_internalfail = return-fail")
    for other in after:
        everybody = ("allow_all_users=yes" in other.get("args").split()
                     or other.get("static_allow_all_users", other.get("allow_all_users")) == "yes")
        if other.get("driver", other.name) == "static" and everybody:
            yield failure("userdb-static", f"{dovecot.path}: userdb static",
                          "with allow_all_users it answers for chat addresses that nobody has: "
                          "their mail is taken, and lost to its sender",
                          "take allow_all_users out")


def _lua(
    dovecot: Dovecot,
    main_lua: str,
    identify: Callable[..., Identity | None],
    installed: Callable[[str], bool],
) -> Iterator[Finding]:
    worker = dovecot.service("auth-worker").get("user") or "root"
    if worker not in ("root", "0"):
        yield failure("auth-worker", f"{dovecot.path}: service auth-worker",
                      f"runs as {worker}, who cannot read the password hashes; it must stay root",
                      "take the line user = ... out of service auth-worker")
    default_user = dovecot.get("default_internal_user", "dovecot")
    databases = [*dovecot.tree.all("passdb"), *dovecot.tree.all("userdb")]
    files = dict.fromkeys(lua_file(d) for d in databases if is_ours(d))
    for path in [*files, main_lua] if files else ():
        yield from _readable(path, default_user, identify)
    if not installed(AUTH_MODULE):
        yield failure("package", AUTH_MODULE, "is missing: Dovecot cannot run Lua",
                      "apt install dovecot-auth-lua")
    if not installed(LUA_SOCKET):
        yield failure("package", LUA_SOCKET,
                      "is missing: no new account can be made", "apt install lua-socket")


def _readable(
    path: str, user: str, identify: Callable[..., Identity | None]
) -> Iterator[Finding]:
    who = identify(user)
    if who is None:
        yield failure("user", user, "there is no such user", "apt install dovecot-core")
        return
    try:
        problem = hostfiles.obstacle(who, path, hostfiles.READ)
    except PermissionError:
        yield unseen("lua-file", path, "cannot be looked at", "run as root")
        return
    if problem:
        yield failure("lua-file", path, f"user {user} cannot read it: {problem}",
                      f"chmod a+r {path}   (and a+x for its directories)")
    else:
        yield ok("lua-file", path, f"user {user} can read it")


def _auth_settings(dovecot: Dovecot) -> Iterator[Finding]:
    mechanisms = [name.lower() for name in dovecot.tree.words("auth_mechanisms")]
    if mechanisms and "plain" not in mechanisms:
        yield failure("auth-mechanisms", f"{dovecot.path}: auth_mechanisms",
                      "lacks plain, with which chat clients log in",
                      "auth_mechanisms = plain " + " ".join(mechanisms))
    username = dovecot.get("auth_username_format")
    if username and not keeps_domain(username, ""):
        yield failure("username-format", f"{dovecot.path}: auth_username_format",
                      f"{username} cuts the domain off, so a chat address is a system user's name",
                      "auth_username_format = "
                      + ("%Lu" if dovecot.is_23 else "%{user | lower}"))


def _user_names(dovecot: Dovecot) -> Iterator[Finding]:
    """Check that Dovecot takes chat addresses as they are for user names."""
    key = "auth_username_chars"
    allowed = dovecot.get(key)
    missing = "".join(letter for letter in NAMES if letter not in allowed) if allowed else ""
    if missing:
        yield failure("username-chars", f"{dovecot.path}: {key}",
                      f"lacks {missing}: chat users whose addresses have these cannot log in",
                      f"{key} = {allowed}{missing}")
    key = "auth_username_translation"
    changed = "".join(letter for letter in dovecot.get(key)[::2] if letter in NAMES)
    if changed:
        yield failure("username-chars", f"{dovecot.path}: {key}",
                      f"makes others of {changed}, so chat users log in under a wrong name",
                      f"take {changed} out of it")


def _protocols(dovecot: Dovecot) -> Iterator[Finding]:
    enabled = dovecot.tree.words("protocols")
    for protocol in ("imap", "lmtp"):
        if protocol not in enabled:
            yield failure("protocols", f"{dovecot.path}: protocols", f"{protocol} is not served",
                          f"apt install dovecot-{protocol}d")
    if dovecot.get("ssl", "yes") == "no":
        yield failure("imap-tls", f"{dovecot.path}: ssl", "no TLS: no client logs in without it",
                      "ssl = required")
