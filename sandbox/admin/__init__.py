"""The admin API `/_sandbox/` for lessons and tests: clock, faults, request log, limits."""
