"""Voters and fusion: one value out of many, of which up to T may be wrong or lie.

Pure functions over numpy arrays. The last axis is the channels (for vectors the last but one); any axes before it
are ticks, which are all decided at once. A function answers `Refused` where its bound is not met whatever the
values are, and NaN in a tick whose values do not allow a decision. Values keep their unit; indices count from 0.
"""
