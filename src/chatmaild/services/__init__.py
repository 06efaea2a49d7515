"""The daemons and jobs. Each is thin, and none imports another."""
