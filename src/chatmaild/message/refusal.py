"""The exception that every parser of a message raises when the message breaks its grammar."""


class Refusal(Exception):
    """The message breaks the grammar.

    `reason` is a code of a few words joined by hyphens. It goes into logs and into the answer of
    ``filter-test``, so it never quotes the message. `offset` is where the fault begins, counted
    from the first octet that the parser got; None if no place is to blame.
    """

    def __init__(self, reason: str, offset: int | None = None):
        self.reason = reason
        self.offset = offset
        super().__init__(reason)
