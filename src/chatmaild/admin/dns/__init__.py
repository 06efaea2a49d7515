"""The DNS rows that a chat domain needs, and those that are published.

    observation -> signers, addresses         what this host is (`Host`)
    wanted (Host -> rows)                     what should be published; `command` prints it
    questions (Host, answers -> questions)    what to ask, until nothing new comes up -> `Answers`
    spf                                       what a published SPF record says about an address

`admin.check` compares the answers with the rows. Everything here except `observation` is a function
of values. May import `admin.servers`, `dkim`, `config`, `console` and `errors`.
"""
