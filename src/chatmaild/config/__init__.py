"""Reads chatmaild.ini: complete and valid, or every mistake at once.

    chatmaild.ini -> inifile (lines, sections) -> config (the keys) -> values (one value: its form)
                  -> Config, frozen, one DomainConfig a chat domain
    lastgood      a copy of the file for services that start while it is broken

May import `address`, `disk` and `errors`.
"""
