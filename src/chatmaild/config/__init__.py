"""Reads chatmaild.ini: complete and valid, or every mistake at once.

    chatmaild.ini -> config (sections, keys, defaults) -> values (one value: its form and limits)
                  -> Config, frozen, one DomainConfig a chat domain

May import `address` and `errors`.
"""
