"""The configuration of Dovecot 2.3 or 2.4: the output of doveconf(1) as a tree."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from chatmaild.admin.servers import hosttool
from chatmaild.errors import ChatmaildError

SERVICES = ("imap-login", "imap", "auth", "auth-worker", "lmtp")
"""The services whose settings the checks ask for."""


class DovecotError(ChatmaildError):
    """doveconf(1) cannot be run, or Dovecot refuses its own configuration."""


@dataclass
class Block:
    """``kind name { key = value ... }``. The whole configuration is one without kind and name."""

    kind: str = ""
    name: str = ""
    values: dict[str, str] = field(default_factory=dict)
    blocks: list["Block"] = field(default_factory=list)

    def get(self, key: str, default: str = "") -> str:
        """Return the setting `key` in this block itself."""
        return self.values.get(key, default)

    def words(self, key: str) -> list[str]:
        """Return a list of words, which 2.4 may print as a block with ``word = yes``."""
        return [*self.get(key).split(), *(name for block in self.all(key)
                                          for name, value in block.values.items()
                                          if value == "yes")]

    def limit(self, key: str, default: str) -> int:
        """Return the number `key`, or `default` where it says 0 or ``unlimited``."""
        value = self.get(key, "0")
        return int(value if value.isdigit() and value != "0" else default)

    def all(self, kind: str) -> Iterator["Block"]:
        """Yield the blocks of `kind` directly in this one, in the order that Dovecot uses them."""
        return (block for block in self.blocks if block.kind == kind)

    def block(self, kind: str, name: str = "") -> "Block":
        """Return the block of that kind and name; an empty one if there is none."""
        return next((b for b in self.all(kind) if b.name == name), Block(kind, name))


@dataclass(frozen=True)
class Dovecot:
    """One Dovecot instance."""

    version: tuple[int, int]
    tree: Block
    path: str = "/etc/dovecot/dovecot.conf"

    @property
    def is_23(self) -> bool:
        """Whether the configuration is in the language of 2.3, which 2.4 replaced."""
        return self.version < (2, 4)

    def get(self, key: str, default: str = "") -> str:
        """Return the global setting `key`."""
        return self.tree.get(key, default)

    def service(self, name: str) -> Block:
        """Return the block ``service name``; an empty one if there is none."""
        return self.tree.block("service", name)

    def for_protocol(self, protocol: str, key: str, default: str = "") -> str:
        """Return the value of `key` that holds within `protocol`."""
        return self.tree.block("protocol", protocol).get(key, self.get(key, default))


_OPENING = re.compile(r'(\S+?)(?:\s+(?:"((?:[^"\\]|\\.)*)"|([^"\s]\S*)))?\s*\{')


def parse(text: str) -> Block:
    """Parse doveconf's output. Lines that are neither a setting nor a block are skipped."""
    root = Block()
    stack = [root]
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        opening = _OPENING.fullmatch(line)
        if line == "}":
            if len(stack) > 1:
                stack.pop()
        elif opening:
            kind, quoted, plain = opening.groups()
            block = Block(kind, quoted if quoted is not None else plain or "")
            stack[-1].blocks.append(block)
            stack.append(block)
        elif "=" in line:
            key, _, value = line.partition("=")
            stack[-1].values[key.strip()] = _unquote(value.strip())
    return root


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def interpret(
    output: str, services: str = "", path: str = "/etc/dovecot/dovecot.conf"
) -> Dovecot:
    """Make a `Dovecot` from the output of ``doveconf -a``, completed by ``doveconf SECTION...``.

    Raises `DovecotError` for any other text.
    """
    match = re.match(r"# (\d+)\.(\d+)\.", output)
    if not match:
        raise DovecotError("doveconf does not say which version it is")
    tree = parse(output)
    complete = parse(services).blocks
    named = {(service.kind, service.name) for service in complete}
    tree.blocks = [b for b in tree.blocks if (b.kind, b.name) not in named] + complete
    return Dovecot((int(match[1]), int(match[2])), tree, path)


def observe(path: str | None = None) -> Dovecot:
    """Ask for the Dovecot of this host, or the one configured in `path`. Raises `DovecotError`."""
    where = ["-c", path] if path else []
    output = _run(["doveconf", *where, "-a"])
    # 2.4 prints the built-in defaults of services only when asked by name; 2.3 hides the
    # cache_key of a passdb as if it were a secret.
    services = _run(["doveconf", *where, "-P", "passdb"] if output.startswith("# 2.3.") else
                    ["doveconf", *where, *(f"service/{name}" for name in SERVICES)])
    return interpret(output, services, path or "/etc/dovecot/dovecot.conf")


def _run(command: list[str]) -> str:
    done = hosttool.ask(command, "Dovecot", DovecotError)
    if done.returncode:
        raise DovecotError(" ".join(done.stderr.split()) or "doveconf failed")
    return done.stdout
