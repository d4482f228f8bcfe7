"""Scores into a store of objects (s3://, gs://, az://, …): made here, judged, then sent whole by Polars."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import polars as pl

from widedeep.errors import OutputExistsError, UsageError, WriteError
from widedeep.files import for_polars, temporary_directory, writing
from widedeep.reporting import Reporter
from widedeep.scoring.outputs import format_of
from widedeep.scoring.predict import PredictResult, ScoringOptions, predict_files
from widedeep.source.paths import Source

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl")
"""Where Polars writes; from http(s) and hf it only reads."""
_PIECE_BYTES = 1 << 20


def check_url(url: str, inputs: Sequence[Source | BinaryIO]) -> None:
    """Raise UsageError for a URL that no file of scores can be written to, or that is read."""
    scheme = url.partition("://")[0].lower()
    if scheme == "file":
        raise UsageError(f"-o {url}: name a file of this machine by its path")
    if scheme not in SCHEMES:
        raise UsageError(
            f"-o {url}: nothing can be written to {scheme}://, only to {', '.join(SCHEMES)}: write a file, and send it"
        )
    if url.endswith("/"):
        raise UsageError(f"-o {url}: a folder of scores lies on this machine: name a file there, or a folder here")
    if url in inputs:
        raise UsageError(f"-o {url}: is what is read: name another output")


def predict_to_store(
    run: Path,
    inputs: Sequence[Source | BinaryIO],
    url: str,
    options: ScoringOptions,
    reporter: Reporter,
    *,
    trust: bool = False,
) -> PredictResult:
    """Score every row of `inputs` into a file of the system's folder for temporary ones, and send it to `url` once all
    are scored and judged: there it appears whole or not at all.

    Raises what `predict_files` raises; UsageError for a URL that cannot be written to, or is there already (without
    `force`); WriteError if the store does not take it.
    """
    check_url(url, inputs)
    chosen = options.output_format or format_of(Path(url))
    if not options.force:
        _refuse_existing(url)
    with temporary_directory(None) as folder:
        here = folder / f"scores.{chosen}"
        settings = {**vars(options), "output_format": chosen}
        result = predict_files(run, inputs, here, trust=trust, reporter=reporter, **settings)
        with _sending(url):
            if chosen == "parquet":
                pl.scan_parquet(for_polars(here), glob=False).sink_parquet(url)
            else:
                _send_text(here, url, folder)
    return replace(result, path=None)


def _refuse_existing(url: str) -> None:
    try:
        pl.scan_lines(url, glob=False).head(1).collect()
    except FileNotFoundError:
        return
    except pl.exceptions.ComputeError:
        pass  # no text, but something
    except OSError as error:
        raise WriteError(
            f"{url}: cannot be looked at: {_first_line(error)}: --force writes without a look at what is there"
        ) from error
    raise OutputExistsError(f"{url}: exists already; --force replaces it")


def _send_text(file: Path, url: str, folder: Path) -> None:
    """Send a text to a store byte by byte. Polars takes tables only: each row of this one is a piece of the text."""
    parts: list[Path] = []
    with writing(folder):
        for piece in _pieces(file):
            parts.append(folder / f"{len(parts):06d}.arrow")
            with parts[-1].open("wb") as part:
                pl.DataFrame({"piece": [piece]}).write_ipc(part)
    table = pl.scan_ipc([for_polars(part) for part in parts], glob=False)  # type: ignore[arg-type]
    table.sink_csv(url, include_header=False, quote_style="never", check_extension=False)


def _pieces(file: Path) -> Iterator[str]:
    """The text in pieces that end before a line break."""
    with file.open("rb") as stream:
        while lines := stream.readlines(_PIECE_BYTES):
            yield b"".join(lines).removesuffix(b"\n").decode()


@contextmanager
def _sending(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise WriteError(f"{url}: cannot write: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:300]
