"""Values to decisions. Nothing here does I/O, and the time is always an argument."""
