"""PBFT, sans-I/O: up to T members may lie. Complete so far: the votes for one place."""
