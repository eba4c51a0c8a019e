"""Series as files: the channels of a CSV or Parquet file, and the decisions that become another one."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from quorum.console.columns import ROWS_ASCENDING_MIN, TIME_NAMES, are_values, is_number, is_time, separator_of
from quorum.console.command import plain
from quorum.console.documents import write_whole
from quorum.errors import ConfigurationError
from quorum.voting.arrays import Floats
from quorum.voting.streams import Track

PARQUET: Final = (".parquet", ".pq")
EMPTY: Final = ["", "NA", "N/A", "NaN", "nan", "null", "None"]
"""What stands in a CSV file where a channel has no value."""
SHOWN_MAX: Final = 12
BLOCK_BYTES_MAX: Final = 2**31 - 1


class Series(NamedTuple):
    """`values` by tick and channel, NaN where a channel has none; `widths` alike, where columns have them; `time`
    is the column that was named for it, as the file has it."""

    channels: tuple[str, ...]
    values: Floats
    widths: Floats | None
    time: Any


def read_series(
    path: Path, channels: Sequence[str] = (), time: str | None = None, width_suffix: str | None = None
) -> Series:
    """Read a file with a column for each channel: those named, else all but the time's and, with a suffix, those
    of half-widths. Raises ConfigurationError for a file that cannot be read, a column that is none, a value that
    is no number, and a column that can hardly be a channel's, unless `channels` names it."""
    table = _read(path, bool(channels))
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _wrong(path, f"it has two columns named {plain(twice[0], 60)!r}", "Name each column once")
    if width_suffix == "":
        raise _wrong(path, "half-widths were said to be in columns with an empty suffix", "Give a suffix")
    is_width = {name for name in names if width_suffix is not None and name.endswith(width_suffix)}
    chosen = tuple(channels) or tuple(name for name in names if name != time and name not in is_width)
    wanted = [*chosen, *([] if time is None else [time])]
    wanted += [] if width_suffix is None else [name + width_suffix for name in chosen]
    missing = [name for name in wanted if name not in names]
    if missing or not chosen or len(set(chosen)) < len(chosen):
        why = f"it has no column {plain(missing[0], 60)!r}" if missing else "no channels are left, or one is twice"
        shown = ", ".join(plain(name, 40) for name in names[:SHOWN_MAX])
        raise _wrong(path, why, f"Its columns are {shown}")
    if table.num_rows == 0:
        raise _wrong(path, "it has no rows", "Give one row for each tick")
    widths = None
    if width_suffix is not None:
        widths = _floats(path, table, [name + width_suffix for name in chosen])
    values = _floats(path, table, chosen)
    if not channels:
        _check_channels(path, chosen, values)
    return Series(chosen, values, widths, None if time is None else table.column(time))


def write_decisions(path: Path, series: Series, track: Track, time: str | None) -> None:
    """One row for each tick: its time or number, the output, its interval where the rule gives one, the channels
    trusted, and why it was refused where it was. Raises ConfigurationError where the file cannot be written."""
    import pyarrow as pa

    name = time or "tick"
    first = series.time if series.time is not None else pa.array(np.arange(len(track.output)))
    columns = {name: first, "output": _numbers(track.output)}
    if not np.isnan(track.low).all():
        columns |= {"low": _numbers(track.low), "high": _numbers(track.high)}
    columns["trusted"] = trusted_names(series.channels, track)
    columns["refused"] = _texts(("", *track.refusals), track.refusal + 1)
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    if path.suffix.lower() in PARQUET:
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, sink)
    else:
        import pyarrow.csv

        plain_table = pa.table({key: _decoded(table.column(key)) for key in table.column_names})
        pyarrow.csv.write_csv(plain_table, sink, pyarrow.csv.WriteOptions(quoting_style="needed"))
    write_whole(path, sink.getvalue(), "the decisions")


def trusted_names(channels: Sequence[str], track: Track) -> Any:
    """For each tick the names of the channels that it went by, with spaces between them."""
    bits = np.zeros(len(track.output), dtype=np.int64)
    for channel in range(len(channels)):
        bits |= track.trusted[:, channel].astype(np.int64) << channel
    patterns, which = np.unique(bits, return_inverse=True)
    names = [
        " ".join(name for channel, name in enumerate(channels) if int(pattern) >> channel & 1)
        for pattern in patterns
    ]
    return _texts(names, which)


def _texts(texts: Sequence[str], which: Any) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(which.astype(np.int32)), pa.array(list(texts), pa.string()))


def _decoded(column: Any) -> Any:
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _numbers(values: Floats) -> Any:
    import pyarrow as pa

    return pa.array(values, from_pandas=True)  # NaN is no value


def _read(path: Path, are_named: bool) -> Any:
    """The table of a file. `are_named`: so that its columns may have numbers for names."""
    pa = _pyarrow()
    is_csv = path.suffix.lower() not in PARQUET
    if is_csv:
        _check_names(path, are_named)
    try:
        if not is_csv:
            import pyarrow.parquet

            return pyarrow.parquet.read_table(path)
        return _read_csv(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        odd = _odd_row(path) if is_csv and not isinstance(error, OSError) else ""
        if odd:
            raise _wrong(path, odd, "Give each row as many; a cell may be empty") from None
        said = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"a series was to be read from {plain(str(path), 200)}, but that failed: {plain(said, 200)}. Give a "
            "CSV file with a line of names, or a Parquet file."
        ) from None


def _read_csv(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.csv

    convert = pyarrow.csv.ConvertOptions(null_values=EMPTY, strings_can_be_null=True)
    try:
        return pyarrow.csv.read_csv(path, convert_options=convert)
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise
    # A column is of another kind than its beginning: look at all of it, to tell which cell does not fit.
    whole = pyarrow.csv.ReadOptions(block_size=min(path.stat().st_size + 1, BLOCK_BYTES_MAX))
    return pyarrow.csv.read_csv(path, read_options=whole, convert_options=convert)


def _floats(path: Path, table: Any, names: Sequence[str]) -> Floats:
    """These columns as numbers, NaN where one is empty."""
    import pyarrow as pa

    found = np.empty((table.num_rows, len(names)))
    for place, name in enumerate(names):
        column = table.column(name)
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if not is_number and not pa.types.is_null(column.type) and not pa.types.is_boolean(column.type):
            raise _no_numbers(path, name, column)
        found[:, place] = (
            column.cast(pa.float64()).to_numpy()
            if not pa.types.is_boolean(column.type)
            else (column.cast(pa.int8()).cast(pa.float64()).to_numpy())
        )
    return found


def _no_numbers(path: Path, name: str, column: Any) -> ConfigurationError:
    """What to do about a column of other things: it is none of a channel, unless it has numbers, too."""
    import pyarrow as pa

    shown = plain(name, 60)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
    if any(is_kind(column.type) for is_kind in kinds):
        cells = [(row, _text(cell)) for row, cell in enumerate(column.to_pylist()) if cell is not None]
        wrong = next(((row, cell) for row, cell in cells if not is_number(cell)), None)
        if wrong is not None and any(is_number(cell) for _, cell in cells):
            row, cell = wrong
            where = f"row {row + 1:,}" if path.suffix.lower() in PARQUET else _line_of(path, row)
            return _wrong(
                path,
                f"{where}, column {shown!r} holds {plain(cell, 40)!r}, which is no number",
                "Leave the cell empty where the channel has no value, or write a number as 20.5"
                + (", or name the column with --time" if is_time(cell) else ""),
            )
    remedy = "Name it with --time if it says when, or name the others with --channels"
    return _wrong(path, f"column {shown!r} holds no numbers", remedy)


def _text(cell: str | bytes) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell


def _check_names(path: Path, are_named: bool) -> None:
    """Raise ConfigurationError where the first line of a CSV file names no columns, though it is read so."""
    _, names = next(_lines_of(path), (0, []))
    separator = separator_of(names)
    if separator:
        why = f"its first line has no commas: {plain(names[0], 60)!r}"
        raise _wrong(path, why, f"Is it separated by {separator}? Save it with commas, and numbers as 20.5")
    if are_values(names) and any(names) and not are_named:
        why = f"its first line, which names the columns, holds numbers or times: {plain(','.join(names), 60)!r}"
        raise _wrong(path, why, "Put a line of names before the rows; if these are names, say so with --channels")


def _check_channels(path: Path, names: Sequence[str], values: Floats) -> None:
    """Raise ConfigurationError where a column says when a row was: as a channel it would be one that is wrong."""
    even = [name for place, name in enumerate(names) if _ticks_evenly(values[:, place])]
    for name in names:
        if not name.strip() or name.lower() in TIME_NAMES:
            why = "is named as one that says when or which a row was"
        elif even == [name] and len(names) > 1:
            why = "counts upwards in even steps, and no other one does"
        else:
            continue
        remedy = "If it says when, name it with --time; else name all channels with --channels"
        raise _wrong(path, f"the column {plain(name, 60)!r} {why}, so it seems to be no channel", remedy)


def _ticks_evenly(values: Floats) -> bool:
    steps = np.diff(values)
    if len(values) < ROWS_ASCENDING_MIN or not steps[0] > 0:
        return False
    return bool(np.allclose(steps, steps[0], rtol=1e-6, atol=0))


def _odd_row(path: Path) -> str:
    """The first row of a CSV file that has more or fewer fields than its first; "" for none."""
    lines = _lines_of(path)
    _, names = next(lines, (0, []))
    for line, fields in lines:
        if len(fields) != len(names):
            return f"line {line} has {len(fields)} fields for {len(names)} columns"
    return ""


def _line_of(path: Path, row: int) -> str:
    """The line in which a row (from 0, below the names) begins."""
    for number, (line, _) in enumerate(_lines_of(path)):
        if number == row + 1:
            return f"line {line}"
    return f"row {row + 1:,}"


def _lines_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not empty, with the lines in which they begin, as far as it can be read."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as source:
            rows = csv.reader(source)
            begins = 1
            for fields in rows:
                if fields:
                    yield begins, fields
                begins = rows.line_num + 1
    except (OSError, csv.Error):
        return


def _wrong(path: Path, why: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"a series was to be read from {plain(str(path), 200)}, but {why}. {remedy}.")


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise ConfigurationError(
            "a series was to be read from a file, but pyarrow, which reads it, is not installed. Install it: "
            "pip install 'quorum-engine[data]'."
        ) from None
    return pa
