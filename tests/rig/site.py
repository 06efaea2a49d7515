"""What a private host is called and where it is."""

from dataclasses import KW_ONLY, dataclass, replace


@dataclass(frozen=True)
class Site:
    """A mail host: its name, the ordinary domain and the chat domain that it serves."""

    name: str
    domain: str
    chat_domain: str
    address: str
    """Where others reach it; mail that comes there is from outside of mynetworks."""
    _: KW_ONLY
    stranger: str = "192.0.2.99"
    """An address to connect from for a test that plays a foreign client or server."""
    loopback: str = "127.0.0.1"
    clients: str = "127.0.0."
    """A number behind it makes an address to connect from, as one client of many."""

    @property
    def names(self) -> list[str]:
        """The names that lead to it, and that its certificate has."""
        return [self.name, self.chat_domain, f"_{self.chat_domain}", self.domain]


EXAMPLE = Site("mail.example.org", "example.org", "chat.example.org", "192.0.2.1")
"""The private host of most tests, alone in its world."""

WITHOUT_IPV4 = replace(EXAMPLE, address="2001:db8::1", stranger="2001:db8::99", loopback="::1",
                       clients="2001:db8::")
"""The same where nobody speaks IPv4; its addresses have to be added."""
