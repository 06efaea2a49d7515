"""What every service shares: its process, its sockets, and Dovecot's dict protocol.

    runtime      logging, listening sockets, systemd's notifications, signals, users
    dictserver   asyncio: connections, order of answers, limits -> dictproto: the lines
    takeover     a new process takes over from the one that runs, with its sessions
    workers      work shared among forked processes

May import `config` and `errors`.
"""
