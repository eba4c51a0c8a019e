"""The pictures of `quorum plot`. Each says in its title what it shows; only drawing one imports matplotlib."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from quorum.console.analyse_plot import pyplot_for, save
from quorum.console.plotted import (
    FRACTIONS,
    Capacity,
    Kind,
    Nines,
    Use,
    Zone,
    best_of,
    capacity_of,
    nines_of,
    use_of,
    zones_of,
)
from quorum.systems.architecture import Architecture

READS, WRITES, INK, GREY, BAD = "#7fb2e5", "#d08a00", "#0f3d24", "#8a8a8a", "#c9452b"
BARS_MAX: Final = 24
"""With more nodes, bars have no names."""
ZONES_MAX, ZONES_IN_A_ROW, DOTS_IN_A_ROW, NAMED_MAX = 12, 4, 3, 12
NAME_CHARACTERS: Final = 14
SAME: Final = 1.02
"""What is nearer than this looks the same."""

Figures = dict[Kind, Any]
"""What each picture shows."""


def figures_of(architecture: Architecture, kinds: tuple[Kind, ...]) -> Figures:
    """The numbers of these pictures."""
    best = best_of(architecture)
    made: dict[Kind, Callable[[], Any]] = {
        "capacity": lambda: capacity_of(architecture, best),
        "utilisation": lambda: (use_of(architecture, best), best.capacity),
        "nines": lambda: nines_of(architecture),
        "zones": lambda: (zones_of(architecture), {use.node: use.whole for use in use_of(architecture, best)}),
    }
    return {kind: made[kind]() for kind in kinds}


def draw(architecture: Architecture, figures: Figures, to: Path) -> None:
    """Write these pictures into one file. Raises ConfigurationError without matplotlib, or for a kind of file that
    is none, and OSError where the file cannot be written."""
    pyplot = pyplot_for(to)
    down, across = (1, len(figures)) if len(figures) < 3 else (2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in signs that the font does not have is drawn as boxes
        figure, grid = pyplot.subplots(down, across, figsize=(6.4 * across, 4.3 * down), squeeze=False)
        places = list(grid.flat)
        for axes, (kind, shown) in zip(places, figures.items(), strict=False):
            _PANELS[kind](axes, architecture, shown)
        for axes in places[len(figures) :]:
            axes.set_axis_off()
        save(figure, to)


def _capacity(axes: Any, architecture: Architecture, shown: Capacity) -> None:
    percent = [100 * fraction for fraction in FRACTIONS]
    if shown.majority is not None:
        axes.plot(percent, shown.majority, ":", color=GREY, label="majority of these nodes")
    axes.plot(percent, shown.kept, "--", color=WRITES, linewidth=1.4, label="strategy that is best for the file")
    axes.plot(percent, shown.best, color=INK, linewidth=2, label="best strategy for each read fraction")
    for place, (fraction, weight) in enumerate(architecture.mixes):
        shade = 0.25 + 0.75 * weight
        label = "read fraction of the file" if not place else None
        axes.axvline(100 * fraction, color=READS, linewidth=5 * shade, alpha=0.7 * shade, zorder=0, label=label)
    axes.set(xlabel="reads among all requests (%)", ylabel="capacity (operations per second)")
    axes.set(xlim=(0, 100), ylim=(0, 1.36 * max((*shown.best, *(shown.majority or ())))))
    _finish(axes, capacity_title(shown))
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def capacity_title(shown: Capacity) -> str:
    """What more reads do."""
    first, last, most = shown.best[0], shown.best[-1], max(shown.best)
    if most <= SAME * min(shown.best):
        return f"Reads and writes cost the same: {_count(most)} operations per second"
    if most > SAME * max(first, last):
        at = FRACTIONS[shown.best.index(most)]
        return f"Most capacity at {_share(at)} reads: {_count(most)} operations per second"
    verb = "grows" if last > first else "falls"
    return f"Capacity {verb} from {_count(first)} to {_count(last)} with the share of reads"


def _utilisation(axes: Any, architecture: Architecture, shown: tuple[list[Use], float]) -> None:
    uses, capacity = shown
    reads, writes = ([100 * part for part in parts] for parts in zip(*(use[1:] for use in uses), strict=True))
    places = range(len(uses))
    if len(uses) <= BARS_MAX:
        axes.barh(places, reads, color=READS, label="reads")
        axes.barh(places, writes, left=reads, color=WRITES, label="writes")
        axes.set_yticks(places, [text_of(use.node) for use in uses], fontsize=9 if len(uses) < 14 else 7)
        axes.set_ylim(len(uses) - 0.4 + 0.1 * len(uses), -0.6)
        axes.set(xlabel=f"time in use at {_count(capacity)} operations per second (%)", xlim=(0, 100))
    else:
        axes.stackplot(places, reads, writes, colors=(READS, WRITES), labels=("reads", "writes"), step="mid")
        axes.set(ylabel=f"time in use at {_count(capacity)} operations per second (%)", ylim=(0, 115))
        axes.set(xlabel=f"{len(uses):,} nodes, busiest first", xlim=(0, len(uses) - 1))
    _finish(axes, use_title(uses, capacity))
    axes.legend(frameon=False, loc="lower right" if len(uses) <= BARS_MAX else "upper right", ncols=2, fontsize=8)


def use_title(uses: list[Use], capacity: float) -> str:
    """Who limits the system."""
    full = [use for use in uses if use.whole > 1 / SAME]
    if len(full) == len(uses):
        which = f"All {len(uses):,} nodes are" if len(uses) > 1 else "The only node is"
        return f"{which} full at {_count(capacity)} operations per second"
    who = ", ".join(text_of(use.node) for use in full[:4]) if len(full) <= 4 else f"{len(full):,} nodes"
    least = uses[-1]
    limit = "limits" if len(full) == 1 else "limit"
    return f"{who} {limit} the system; {text_of(least.node)} is used {_share(least.whole)}"


def _nines(axes: Any, architecture: Architecture, shown: Nines) -> None:
    alone = "" if shown.spread is None else ", if no zone failed"
    drawn = [
        (f"majority{alone}", shown.majority, INK, "-"),
        (f"quorums that stand T liars, N = 3T+1{alone}", shown.byzantine, WRITES, "--"),
    ]
    if shown.spread is not None:
        drawn.append(("majority, spread over the zones of the file", shown.spread, BAD, "-."))
    top = 1.0
    for label, values, colour, dashes in drawn:
        known = [(size, value) for size, value in values if value != math.inf]
        if known:
            axes.plot(*zip(*known, strict=True), dashes, color=colour, marker="o", markersize=3, label=label)
            top = max(top, *(value for _, value in known))
    nodes = len(architecture.system.nodes)
    if shown.own is not None:
        axes.plot(
            [nodes],
            [shown.own],
            "*",
            color="black",
            markersize=13,
            linestyle="none",
            label="this system",
            zorder=9,
        )
        top = max(top, shown.own)
    axes.set(xlabel="nodes (N)", ylabel="nines of a live quorum (3: up 99.9 % of the time)", ylim=(0, 1.36 * top))
    if len(shown.majority) <= 12:
        axes.set_xticks([size for size, _ in shown.majority])
    _finish(axes, nines_title(shown, nodes))
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def nines_title(shown: Nines, nodes: int) -> str:
    """What this system comes to, beside a majority of as many nodes."""
    if shown.own is None:
        return f"This system of {nodes:,} nodes is never without a quorum"
    told = (
        f"{_nines_told(shown.own)} nines with {nodes:,} nodes, each down {_share(float(shown.failed))} of the time"
    )
    usual = dict(shown.majority if shown.spread is None else shown.spread).get(nodes)
    if usual is None or abs(usual - shown.own) < 0.05:
        return told
    return f"{told}; a majority: {_nines_told(usual)}"


def _nines_told(number: float) -> str:
    return f"{number:,.1f}" if number < 100 else f"{number:,.0f}"


def _zones(axes: Any, architecture: Architecture, shown: tuple[list[Zone], dict[str, float]]) -> None:
    from matplotlib.patches import Rectangle

    zones, used = shown
    few = zones[:ZONES_MAX]
    across = min(len(few), ZONES_IN_A_ROW)
    for place, zone in enumerate(few):
        left, top = place % across, -(place // across)
        is_kept = zone.is_readable_without and zone.is_writable_without
        axes.add_patch(
            Rectangle(
                (left + 0.03, top - 0.97), 0.94, 0.94, facecolor="#f4f6f8", edgecolor=INK if is_kept else BAD,
                linewidth=1 if is_kept else 2,
            )
        )  # fmt: skip
        axes.text(left + 0.5, top - 0.09, text_of(zone.name or "no zone"), ha="center", va="center", weight="bold")
        colour = INK if is_kept else BAD
        axes.text(left + 0.5, top - 0.91, _without(zone), ha="center", va="center", fontsize=8, color=colour)
        _dots(axes, zone, used, left, top)
    axes.set(xlim=(0, across), ylim=(-math.ceil(len(few) / across), 0))
    axes.set_axis_off()
    axes.set_title(zones_title(zones) + (f" ({ZONES_MAX} drawn)" if len(zones) > len(few) else ""), fontsize=10)


def _dots(axes: Any, zone: Zone, used: dict[str, float], left: float, top: float) -> None:
    """A dot for each node, darker the more it is used; in small zones with its name."""
    count = len(zone.nodes)
    across = DOTS_IN_A_ROW if count <= NAMED_MAX else math.ceil(math.sqrt(count))
    across = min(across, count)
    down = math.ceil(count / across)
    size = 900 / max(across, down, 2) ** 1.4 if count <= NAMED_MAX else 2000 / across**2
    spots = []
    for place in range(count):
        in_row = min(across, count - place // across * across)
        x = left + 0.5 + (place % across - (in_row - 1) / 2) * 0.84 / across
        spots.append((x, top - 0.17 - (place // across + 0.42) * 0.62 / down))
    shades = [used[node] for node in zone.nodes]
    axes.scatter(
        *zip(*spots, strict=True), s=size, c=shades, cmap="Blues", vmin=0, vmax=1.3, edgecolors=INK, linewidths=0.7
    )
    if count <= NAMED_MAX:
        for node, spot in zip(zone.nodes, spots, strict=True):
            axes.annotate(
                text_of(node), spot, (0, -math.sqrt(size) / 2 - 3),
                textcoords="offset points", ha="center", va="top", fontsize=7,
            )  # fmt: skip


def _lost(*zones: Zone) -> list[str]:
    """What stops without one of them."""
    reads = ["reads"] * any(not zone.is_readable_without for zone in zones)
    return reads + ["writes"] * any(not zone.is_writable_without for zone in zones)


def _without(zone: Zone) -> str:
    lost = _lost(zone)
    effect = f"stops {', '.join(lost)}" if lost else "may be lost"
    return f"down {_share(float(zone.failed))}; {effect}" if zone.failed else effect


def zones_title(zones: list[Zone]) -> str:
    """Whether a zone may be lost."""
    named = [zone for zone in zones if zone.name is not None]
    needed = [zone for zone in named if _lost(zone)]
    if not needed:
        which = f"Any one of {len(named)} zones" if len(named) > 1 else text_of(named[0].name or "")
        return f"{which} may be lost (darker: busier)"
    who = ", ".join(text_of(zone.name or "") for zone in needed[:3]) + (" and others" if len(needed) > 3 else "")
    which = who if len(needed) == 1 else f"one of {who}"
    return f"Losing {which} stops {' and '.join(_lost(*needed))} (darker: busier)"


_PANELS: Final[dict[Kind, Callable[[Any, Architecture, Any], None]]] = {
    "capacity": _capacity,
    "utilisation": _utilisation,
    "nines": _nines,
    "zones": _zones,
}


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def text_of(name: str) -> str:
    """A name as it is drawn: short, and never taken for a formula."""
    short = name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"
    return short.replace("$", r"\$")


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def _share(chance: float) -> str:
    return f"{100 * chance:.3g} %"
