"""`quorum fuse --input`: a file of ticks and channels becomes one of decisions, with a picture of who was
trusted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from quorum.console import fuse_input as read
from quorum.console.command import plain
from quorum.console.series_files import Series, read_series, write_decisions
from quorum.errors import ConfigurationError
from quorum.voting.streams import Track, fuse_stream, rule_of

READERS: Final[Mapping[str, read.Reader]] = {
    "t": read.count,
    "f": read.count,
    "k": read.count,
    "own": read.count,
    "select_every": read.count,
    "epsilon": read.number,
    "delta": read.number,
    "a": read.number,
    "cut": read.number,
    "weights": read.numbers,
}


class ChannelReport(msgspec.Struct, frozen=True):
    """`name` had a value in so many ticks, and was trusted in so many of them. `longest` are the first and the
    last tick of the longest time in which it had values and was not; None: it always was. `times` are these two
    in the column of time, where one was named."""

    name: str
    values: int
    trusted: int
    longest: tuple[int, int] | None
    times: tuple[str, str] | None = None


class SeriesReport(msgspec.Struct, frozen=True):
    """What became of a series: how many `ticks`, how many of them `decided`, and why the others were not."""

    algorithm: str
    ticks: int
    decided: int
    refused: dict[str, int]
    channels: tuple[ChannelReport, ...]
    output: str = ""
    drawn: str = ""


def parameters_of(algorithm: str, given: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts as the rule's parameters. Raises ConfigurationError for what it does not know."""
    found: dict[str, Any] = {}
    for text in given:
        key, _, value = text.partition("=")
        if key not in READERS or not value or key in found:
            raise ConfigurationError(
                f"--set {plain(text, 60)!r} was given, but parameters are KEY=VALUE, each once. Keys are "
                f"{', '.join(READERS)}; weights are numbers with commas between them, as in weights=1,1,2."
            )
        found[key] = READERS[key](key, _value(key, value))
    rule_of(algorithm, found)
    return found


def _value(key: str, text: str) -> Any:
    is_list = key == "weights" and not text.lstrip().startswith("[")
    try:
        return msgspec.json.decode(f"[{text}]" if is_list else text)
    except msgspec.DecodeError:
        return text


def fuse_file(
    algorithm: str,
    source: Path,
    given: Sequence[str],
    half_width: float | None,
    width_suffix: str | None,
    channels: str | None,
    time: str | None,
    output: Path | None,
    plot: Path | None,
    quiet: bool,
) -> SeriesReport:
    """Decide every tick of a file, and write what was asked for. Raises ConfigurationError."""
    parameters = parameters_of(algorithm, given)
    if half_width is not None and width_suffix is not None:
        raise ConfigurationError(
            "--half-width and --width-suffix were given, but a value has one half-width. Give one of the two."
        )
    if plot is not None:
        from quorum.console.analyse_plot import pyplot_for

        pyplot_for(plot)
    chosen = () if channels is None else tuple(name.strip() for name in channels.split(","))
    series = read_series(source, chosen, time, width_suffix)
    widths = series.widths if series.widths is not None else half_width
    with ticks_bar(f"deciding {len(series.values):,} ticks", quiet) as progress:
        track = fuse_stream(algorithm, series.values, parameters, widths, progress)
    if output is not None:
        write_decisions(output, series, track, time)
    if plot is not None:
        from quorum.console.series_plot import draw

        draw(series, track, algorithm, time, plot)
    return report_of(algorithm, series, track, output, plot)


def report_of(
    algorithm: str, series: Series, track: Track, output: Path | None = None, plot: Path | None = None
) -> SeriesReport:
    """The counts, and who was not trusted for how long."""
    counts = np.bincount(track.refusal + 1, minlength=len(track.refusals) + 1)
    refused = {reason: int(counts[place + 1]) for place, reason in enumerate(track.refusals)}
    has_value, is_decided = ~np.isnan(series.values), ~np.isnan(track.output)
    channels = []
    for place, name in enumerate(series.channels):
        longest = _longest(np.flatnonzero(has_value[:, place] & is_decided), track.trusted[:, place])
        counted = int(has_value[:, place].sum()), int(track.trusted[:, place].sum())
        channels.append(ChannelReport(name, *counted, longest, _times(series.time, longest)))
    paths = ("" if output is None else str(output), "" if plot is None else str(plot))
    return SeriesReport(algorithm, len(track.output), int(is_decided.sum()), refused, tuple(channels), *paths)


def _times(column: Any, span: tuple[int, int] | None) -> tuple[str, str] | None:
    """What the column of time holds in these two ticks."""
    if column is None or span is None:
        return None
    first, last = (column[tick].as_py() for tick in span)
    return ("" if first is None else str(first)), ("" if last is None else str(last))


def _longest(ticks: Any, trusted: Any) -> tuple[int, int] | None:
    """The first and the last of the longest run of these ticks without trust; ticks between them that do not count
    end no run."""
    flags = ~trusted[ticks]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if not len(edges):
        return None
    begins, ends = edges[::2], edges[1::2]
    place = int(np.argmax(ends - begins))
    return int(ticks[begins[place]]), int(ticks[ends[place] - 1])


def lines_of(report: SeriesReport) -> list[str]:
    """For people."""
    lines = [f"{report.algorithm}: {report.decided:,} of {report.ticks:,} ticks decided"]
    lines += [f"refused {count:,}: {reason}" for reason, count in report.refused.items()]
    for each in report.channels:
        share = each.trusted / each.values if each.values else 0.0
        line = f"{plain(each.name, 60)}: trusted in {share:.1%} of its {each.values:,} values"
        if each.longest is not None:
            first, last = each.longest
            ticks = f"tick {first:,} to {last:,}"
            if each.times is None:
                line += f"; longest not from {ticks}"
            else:
                begin, end = (plain(time, 40) or "(no time)" for time in each.times)
                line += f"; longest not from {begin} to {end} ({ticks})"
        lines.append(line)
    lines += [f"written: {report.output}"] if report.output else []
    return lines + ([f"drawn: {report.drawn}"] if report.drawn else [])


@contextmanager
def ticks_bar(text: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr over ticks done and in all; nothing where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
