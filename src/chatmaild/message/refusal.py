"""What every parser of a message raises when the message leaves its grammar."""


class Refusal(Exception):
    """The bytes are not what the grammar allows here.

    `reason` is a code of a few words joined by hyphens; it goes into logs and into the answer of
    ``filter-test``, so it never quotes the message. `offset` is where in the octets that the
    parser was given the trouble begins; None where only the whole can be blamed.
    """

    def __init__(self, reason: str, offset: int | None = None):
        self.reason = reason
        self.offset = offset
        super().__init__(reason)
