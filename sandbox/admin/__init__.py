"""The `/_sandbox/` surface for lessons and tests: clock, faults, request log, limits."""
