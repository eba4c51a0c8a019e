"""One process of the campaign of ballots, as tests.simulation.shard is one of the other."""

from __future__ import annotations

from .ballot_plans import run_planned
from .shard import main

if __name__ == "__main__":
    main(run_planned)
