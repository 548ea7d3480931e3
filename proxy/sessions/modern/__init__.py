"""Clients and servers of revision 2026-07-28: shared children, and the bridges between the eras."""
