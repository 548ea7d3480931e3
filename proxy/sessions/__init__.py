"""Lifetimes: structured concurrency lives here."""
