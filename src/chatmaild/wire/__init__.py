"""Bytes to values and back. Nothing here opens a socket or a file, asks the time or logs."""
