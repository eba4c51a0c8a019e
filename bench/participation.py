"""Draws the pictures of docs/participation.md from the exact figures: `python bench/participation.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from quorum.console.analyse_plot import RATIOS, pyplot_for, save
from quorum.systems.participation import Participation, Policy, break_even, unavailability

DOCS = Path(__file__).parent.parent / "docs"
NODES = (5, 7, 9)
COLOURS = ("#1f5fa8", "#2a7f4f", "#b0453a")
REPAIR, DELAY = 20, 100
DELAYS = tuple(10 ** (step / 8) for step in range(-16, 33))


def share(nodes: int, ratio: float, policy: Policy, delay: float = DELAY) -> float:
    return unavailability(Participation(nodes, ratio, policy, delay)).unavailability


def by_repair(axes: Any) -> None:
    """Fixed and adaptive, against how fast nodes are repaired."""
    for nodes, colour in zip(NODES, COLOURS, strict=True):
        axes.plot(
            RATIOS,
            [share(nodes, ratio, "majority") for ratio in RATIOS],
            "--",
            color=colour,
            label=f"{nodes} fixed",
        )
        axes.plot(
            RATIOS, [share(nodes, ratio, "adaptive") for ratio in RATIOS], color=colour, label=f"{nodes} adaptive"
        )
    axes.set(xlabel="repair ratio (rate of repair / rate of failure)", ylim=(1e-16, 1))
    axes.set(title=f"changes {DELAY} times as fast as repairs")
    axes.legend(frameon=False, ncol=1, title="nodes")


def by_delay(axes: Any) -> None:
    """Adaptive, against how fast the committee is changed, and where it begins to pay."""
    for nodes, colour in zip(NODES, COLOURS, strict=True):
        fixed = share(nodes, REPAIR, "majority")
        axes.axhline(fixed, linestyle="--", color=colour, linewidth=1)
        axes.plot(DELAYS, [share(nodes, REPAIR, "adaptive", delay) for delay in DELAYS], color=colour)
        even = break_even(Participation(nodes, REPAIR))
        assert even is not None, "these gain"
        axes.plot([even], [fixed], "o", color=colour, markersize=5)
        axes.annotate(
            f"{nodes} nodes",
            (DELAYS[-1], share(nodes, REPAIR, "adaptive", DELAYS[-1])),
            (4, -3),
            textcoords="offset points",
            color=colour,
        )
    axes.set(xlabel="reconfiguration ratio (rate of change / rate of repair)", xlim=(DELAYS[0], DELAYS[-1] * 12))
    axes.set(title=f"repairs {REPAIR} times as fast as failures; dashed: fixed")


def main(folder: Path) -> None:
    for name, fill in (("participation-repair", by_repair), ("participation-delay", by_delay)):
        path = folder / f"{name}.svg"
        figure, axes = pyplot_for(path).subplots(figsize=(6.4, 4.4))
        fill(axes)
        axes.set(xscale="log", yscale="log", ylabel="share of time without a quorum")
        axes.grid(visible=True, which="major", color="#e6e6e6", linewidth=0.6)
        save(figure, path)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
