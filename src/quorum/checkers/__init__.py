"""Judges of what a run did: histories, linearizability, agreement, progress."""
