"""Pictures of `quorum analyse --markov`: the share of time without a quorum, by how fast nodes are repaired."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from quorum.errors import ConfigurationError
from quorum.systems.participation import Participation, Policy, unavailability

KINDS: Final = (".svg", ".png", ".pdf")
RATIOS: Final = tuple(10 ** (step / 8) for step in range(0, 25))
"""Repair ratios from 1 to 1,000, evenly on a logarithmic axis."""
INK: Final[dict[Policy, tuple[str, str, float]]] = {
    "majority": ("#555555", "-", 1.5),
    "dynamic": ("#d08a00", ":", 1.5),
    "dynamic-linear": ("#0f3d24", "--", 1.2),
    "adaptive": ("#7fb2e5", "-", 3.5),
}
"""Colour, dashes and width; the widest are drawn below, for they may hide each other."""


def draw(asked: Participation, policies: tuple[Policy, ...], to: Path) -> None:
    """Write a picture of `policies` at the N, T and reconfiguration ratio of `asked`, whose own repair ratio is
    marked. Raises ConfigurationError without matplotlib, or for a kind of file that is none."""
    pyplot = pyplot_for(to)
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
    for policy in policies:
        colour, dashes, width = INK[policy]
        style = {"color": colour, "linewidth": width, "zorder": 5 - width, "label": policy}
        shares = [unavailability(replace(asked, policy=policy, repair_ratio=ratio)) for ratio in RATIOS]
        axes.plot(RATIOS, [each.unavailability for each in shares], dashes, **style)
    if RATIOS[0] <= asked.repair_ratio <= RATIOS[-1]:
        axes.axvline(asked.repair_ratio, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="repair ratio (rate of repair / rate of failure)")
    axes.set(ylabel="share of time without a quorum", title=_title(asked))
    axes.grid(visible=True, which="major", color="#e6e6e6", linewidth=0.6)
    axes.legend(frameon=False)
    save(figure, to)


def _title(asked: Participation) -> str:
    ratio = asked.reconfiguration_ratio
    changed = "changes at once" if math.isinf(ratio) else f"changes {ratio:g} times as fast as repairs"
    liars = f", T={asked.faults} may lie" if asked.model == "byzantine" else ""
    return f"N={asked.nodes}{liars}, {changed}"


def pyplot_for(to: Path) -> Any:
    """matplotlib.pyplot, without a screen. Raises ConfigurationError where `to` could not be drawn."""
    if to.suffix.lower() not in KINDS:
        raise ConfigurationError(
            f"{str(to)[:200]!r} was to be drawn, but its name tells no kind of picture. End it in "
            f"{', '.join(KINDS)}."
        )
    try:
        import matplotlib
    except ImportError:
        raise ConfigurationError(
            "a picture was asked for, but matplotlib, which draws it, is not installed. Install it: "
            "pip install 'quorum-engine[plot]'."
        ) from None
    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "quorum"  # the same picture, byte for byte, each time
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, to: Path) -> None:
    """Write the picture, without the date, and forget it."""
    from matplotlib import pyplot

    figure.tight_layout()
    dated = {".svg": "Date", ".pdf": "CreationDate"}.get(to.suffix.lower())
    figure.savefig(to, metadata=None if dated is None else {dated: None}, dpi=120)
    pyplot.close(figure)
