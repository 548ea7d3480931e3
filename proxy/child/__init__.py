"""Processes: the only place that spawns, signals or reaps."""
