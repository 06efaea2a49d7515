"""Writes the static pages of a chat domain, for the web server that the host has.

    command -> facts (configuration -> what the pages say) -> pages (templates, languages -> octets)
            -> mailconfig (autoconfig, MTA-STS)             -> directory (atomic, or is it current?)
    invitation -> pages -> directory                        a page for one invitation

The only room that uses Jinja and gettext. May import `admin.links`, `config`, `daemon`,
`disk`, `push`, `retention`, `console` and `errors`.
"""
