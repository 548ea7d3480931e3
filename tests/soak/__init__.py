"""Hours of a bad day in ten minutes: random clients, faults and signals against a real daemon.

`make soak`; see `__main__.py`.
"""
