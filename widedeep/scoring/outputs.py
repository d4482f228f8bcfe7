"""Where scores go: CSV, NDJSON or Parquet, to a file that appears whole or to a stream."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal

import polars as pl

from widedeep.errors import UsageError
from widedeep.files import check_output, for_polars, replacing_file, temporary_directory, writing

_LEAST_PLAIN, _MOST_PLAIN = 1e-3, 1e6
"""NumPy and Polars write numbers of float32 from here to there alike: in the fewest digits, without an exponent."""
OutputFormat = Literal["csv", "ndjson", "parquet"]
_FORMAT_OF_ENDING: dict[str, OutputFormat] = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def format_of(output: Path | BinaryIO) -> OutputFormat:
    """The format that a file's ending means; csv for a stream. Raises UsageError for an ending that means none."""
    if not isinstance(output, Path):
        return "csv"
    chosen = _FORMAT_OF_ENDING.get(output.suffix.lower())
    if chosen is None:
        endings = ", ".join(_FORMAT_OF_ENDING)
        raise UsageError(f"{output}: the ending says no format ({endings}): add --output-format csv|ndjson|parquet")
    return chosen


def write_frames(
    frames: Iterator[pl.DataFrame],
    output: Path | BinaryIO,
    output_format: OutputFormat,
    final_types: Callable[[], Mapping[str, pl.DataType]] = dict,
) -> int:
    """Write every frame, in order, and return the number of rows. Raises WriteError.

    `final_types`, asked after the last frame, gives the types of columns whose type differs between frames; only
    Parquet needs it.
    """
    if not isinstance(output, Path):
        return _write(frames, output, output_format, final_types)
    target = check_output(output, force=True, may_be_stream=True)
    if target.exists() and not target.is_file():
        # A device or a named pipe takes the rows as they come; it must not be replaced by a file.
        with writing(output), output.open("wb") as stream:
            return _write(frames, stream, output_format, final_types)
    with replacing_file(target) as temporary:
        return _write(frames, temporary, output_format, final_types)


def _write(
    frames: Iterator[pl.DataFrame],
    sink: Path | BinaryIO,
    output_format: OutputFormat,
    final_types: Callable[[], Mapping[str, pl.DataType]],
) -> int:
    if output_format == "parquet":
        return _write_parquet(frames, sink, final_types)
    with ExitStack() as stack:
        file = stack.enter_context(sink.open("wb")) if isinstance(sink, Path) else sink
        num_rows, first = 0, True
        for frame in frames:
            text = None if first else _text_of_number(frame, output_format)
            if text is None:
                text = frame.write_csv(include_header=first) if output_format == "csv" else frame.write_ndjson()
            _write_whole(file, text.encode())
            file.flush()
            num_rows, first = num_rows + len(frame), False
        return num_rows


def _text_of_number(frame: pl.DataFrame, output_format: OutputFormat) -> str | None:
    """The line of a frame that is one score; None for any other, and for numbers that Polars writes in another way.

    Polars starts a query, on other threads, for each text that it writes: half of the time that a score takes.
    """
    if frame.shape != (1, 1) or frame.dtypes != [pl.Float32]:
        return None
    column = frame.to_series()
    value = column.to_numpy()[0]
    if not _LEAST_PLAIN <= value < _MOST_PLAIN:
        return None
    text = str(value)  # a format would widen it first
    return f"{text}\n" if output_format == "csv" else f"{{{json.dumps(column.name)}:{text}}}\n"


def _write_whole(file: BinaryIO, content: bytes) -> None:
    # An unbuffered stdout (PYTHONUNBUFFERED) may take a part only, and says so in what it returns.
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _write_parquet(
    frames: Iterator[pl.DataFrame], sink: Path | BinaryIO, final_types: Callable[[], Mapping[str, pl.DataType]]
) -> int:
    # Nothing can be appended to a Parquet file: blocks wait in Arrow files and are streamed into one at the end.
    place = sink.parent if isinstance(sink, Path) else None
    with (
        writing(place or Path(tempfile.gettempdir())),
        temporary_directory(place) as folder,
    ):
        parts: list[Path] = []
        num_rows = 0
        for frame in frames:
            parts.append(folder / f"{len(parts):06d}.arrow")
            with parts[-1].open("wb") as part:
                frame.write_ipc(part)
            num_rows += len(frame)
        whole = sink if isinstance(sink, Path) else folder / "whole.parquet"
        types = dict(final_types())
        stored = [for_polars(part) for part in parts]
        rows = pl.scan_ipc(stored, glob=False)  # type: ignore[arg-type]
        if types:
            rows = pl.concat([pl.scan_ipc(part, glob=False).cast(types) for part in stored])  # type: ignore[arg-type]
        with whole.open("wb") as file:
            rows.sink_parquet(file)
        if not isinstance(sink, Path):
            with whole.open("rb") as file:
                while piece := file.read(1 << 20):
                    _write_whole(sink, piece)
            sink.flush()
        return num_rows
