"""One scenario per published server; see tests/interop/steps.py."""
