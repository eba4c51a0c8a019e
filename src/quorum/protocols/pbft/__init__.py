"""PBFT, sans-I/O: up to T members may lie."""
