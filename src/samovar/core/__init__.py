"""Decisions, pure: events in, commands out. No I/O, no clock, no randomness."""
