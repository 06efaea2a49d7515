"""What every service shares: its process, its sockets, and Dovecot's dict protocol.

    sockets      where it listens       systemd     what it tells systemd
    logs         what it says           privileges  who it is        owners  who owns what
    process      heap, CPU, descriptors, terminal
    eventloop    an asyncio service from READY to the end
    sighup       chatmaild.ini at the start of a service, and again at SIGHUP
    dictserver   asyncio: connections, order of answers, limits -> dictproto: the lines
    memcached    asyncio: answers to Postfix's tables
    takeover     a new process takes over from the one that runs, with its sessions
    workers      work shared among forked processes

May import `config`, `metrics` and `errors`.
"""
