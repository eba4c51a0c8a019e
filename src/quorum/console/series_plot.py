"""The picture of a decided series: channels and output over time, and below which channels were trusted when."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from quorum.console.analyse_plot import pyplot_for, save
from quorum.console.series_files import Series
from quorum.voting.arrays import Floats
from quorum.voting.streams import Track

COLUMNS: Final = 1_200
"""A picture has so many columns; each shows the least and the greatest of its ticks."""
TRUSTED, NOT_TRUSTED, NO_VALUE = "#2a7f46", "#c9452b", "#e6e6e6"


def draw(series: Series, track: Track, algorithm: str, time: str | None, to: Path) -> None:
    """Write the picture. Raises ConfigurationError without matplotlib, or for a kind of file that is none."""
    pyplot = pyplot_for(to)
    channels, ticks = series.channels, len(track.output)
    height = 3.4 + 0.24 * len(channels)
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(9, height), sharex=True, height_ratios=(3.0, 0.4 + 0.24 * len(channels))
    )
    edges = np.unique(np.linspace(0, ticks, min(ticks, COLUMNS) + 1).astype(np.int64))
    for place in range(len(channels)):
        _band(upper, edges, series.values[:, place], "#7d93ab", 0.25, None)
    if not np.isnan(track.low).all():
        middle = (edges[:-1] + edges[1:]) / 2
        upper.fill_between(
            middle,
            _each(np.fmin, edges, track.low),
            _each(np.fmax, edges, track.high),
            color="#7fb2e5",
            alpha=0.5,
            linewidth=0,
            label="interval",
        )
    _band(upper, edges, track.output, "#0f3d24", 1.0, "output")
    _shade(upper, edges, np.isnan(track.output))
    _zoom(upper, series.values, track)
    upper.set(title=f"{algorithm}: {len(channels)} channels, {ticks:,} ticks", ylabel="value")
    upper.legend(frameon=False, loc="upper right", ncols=3)
    _raster(lower, edges, series, track)
    lower.set(xlabel="tick" if time is None else f"tick (in the order of {time})")
    save(figure, to)


def _band(axes: Any, edges: Any, values: Floats, colour: str, alpha: float, label: str | None) -> None:
    """A line as wide as what its ticks span."""
    middle = (edges[:-1] + edges[1:]) / 2
    low, high = _each(np.fmin, edges, values), _each(np.fmax, edges, values)
    axes.fill_between(middle, low, high, color=colour, alpha=alpha, linewidth=0.6, label=label)


def _each(reduce: Any, edges: Any, values: Floats) -> Floats:
    """The least or greatest value of each column, NaN where it has none."""
    return np.asarray(reduce.reduceat(values, edges[:-1]))


def _shade(axes: Any, edges: Any, refused: Any) -> None:
    """Red where ticks were refused."""
    some = np.add.reduceat(refused.astype(np.int64), edges[:-1]) > 0
    if some.any():
        middle = (edges[:-1] + edges[1:]) / 2
        axes.fill_between(
            middle, 0, 1, where=some, color=NOT_TRUSTED, alpha=0.25, linewidth=0, step="mid",
            transform=axes.get_xaxis_transform(), label="refused",
        )  # fmt: skip


def _zoom(axes: Any, values: Floats, track: Track) -> None:
    """What is decided fills the picture: a channel that is far away is cut off, and below it shows red."""
    is_known = ~np.isnan(track.output)
    known = track.output[is_known]
    if not len(known):
        return
    low, high = np.quantile(known, (0.001, 0.999))
    spread = np.nanquantile(np.abs(values[is_known] - known[:, None]), 0.7)
    margin = max(high - low, 4 * spread) * 0.6 or 1.0
    axes.set_ylim(low - margin, high + margin)


def _raster(axes: Any, edges: Any, series: Series, track: Track) -> None:
    """A row for each channel: the share of its ticks in which it was trusted."""
    from matplotlib.colors import LinearSegmentedColormap

    present = np.add.reduceat((~np.isnan(series.values)).astype(np.int64), edges[:-1], axis=0)
    trusted = np.add.reduceat(track.trusted.astype(np.int64), edges[:-1], axis=0)
    with np.errstate(invalid="ignore"):
        share = np.where(present > 0, trusted / np.maximum(present, 1), np.nan)
    colours = LinearSegmentedColormap.from_list("trust", [NOT_TRUSTED, "#f0e6c8", TRUSTED])
    count = len(series.channels)
    axes.imshow(
        share.T, aspect="auto", interpolation="nearest", cmap=colours.with_extremes(bad=NO_VALUE), vmin=0, vmax=1,
        extent=(0, int(edges[-1]), count - 0.5, -0.5),
    )  # fmt: skip
    axes.set_yticks(range(count), [name[:24] for name in series.channels])
    axes.set_title("trusted (green), not (red), no value (grey)", fontsize=9)
