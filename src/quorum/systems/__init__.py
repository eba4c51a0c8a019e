"""Quorum systems: which sets of nodes suffice to elect, to replicate, to read and to write."""
