"""Ballots as values: their terms, opinions of several kinds, how they stand, and what a round leaves to the
next."""
