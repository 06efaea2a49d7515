"""What a private host is called and where it is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """A mail host: its name, the ordinary domain and the chat domain that it serves."""

    name: str
    domain: str
    chat_domain: str
    address: str
    """Where others reach it; mail that comes there is from outside of mynetworks."""

    @property
    def names(self) -> list[str]:
        """The names that lead to it, and that its certificate has."""
        return [self.name, self.chat_domain, f"_{self.chat_domain}", self.domain]


EXAMPLE = Site("mail.example.org", "example.org", "chat.example.org", "192.0.2.1")
"""The private host of most tests, alone in its world."""
