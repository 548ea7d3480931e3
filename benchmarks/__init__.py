"""How fast is the bridge, next to what limits it? `python -m benchmarks --help`."""
