"""The wire, and nothing else: no I/O, no event loop, no clock, no logging."""
