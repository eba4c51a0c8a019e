"""`python -m quorum` is the command `quorum`."""

from __future__ import annotations

from quorum.console.cli import main

if __name__ == "__main__":
    main()
