"""The messages of check --live against the real recogniser; the rest runs in tests/integration."""
