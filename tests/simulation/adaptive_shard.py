"""One process of the campaign of adaptive committees with liars."""

from __future__ import annotations

from .adaptive_plans import run_planned
from .shard import main

if __name__ == "__main__":
    main(run_planned)
