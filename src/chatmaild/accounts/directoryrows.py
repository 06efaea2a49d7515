"""What the directory says of an address and of a host."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """An address, and the host that it lives on."""

    address: str
    node: str
    """The name of that host, as in certificates."""
    ip: str
    is_own: bool
    """Whether it is this host."""
    hash: str | None
    """Of the password; None if the address is only kept from use."""
    blocked: bool
    cleartext: bool
    """Whether it takes mail that is not encrypted."""
    moving: str | None
    """The host that it is moving to."""
    leaving: bool
    """Whether its host was about to delete it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A host of the chat domains."""

    name: str
    ip: str
    accepts: bool
    """Whether new accounts are made there."""
    accounts: int
    """How many addresses live there."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of a claim: who has the address now."""

    entry: Entry
    made: bool
    """Whether nobody had it before."""
