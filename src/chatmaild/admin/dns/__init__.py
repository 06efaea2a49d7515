"""What the DNS has to say of a chat domain: the rows to paste, and what is there.

    observation -> signers, addresses         what this host is (`Host`)
    wanted (Host -> rows)                     what should be published; `command` prints it
    questions (Host, answers -> questions)    what to ask, until nothing new comes up -> `Answers`
    spf                                       what a published SPF record says of an address

`admin.check` judges the answers by the rows. Everything here but `observation` is a function of
values. May import `admin.servers`, `dkim`, `config`, `console` and `errors`.
"""
