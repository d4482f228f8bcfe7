"""The first stage: files → typed table (ingest)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widedeep.files import write_json
from widedeep.pipeline.keys import file_identity, key_of
from widedeep.pipeline.workspace import BY_PARTS, Workspace, read_report
from widedeep.profile.ingest import columns_read
from widedeep.profile.ingest import ingest as ingest_files
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter
from widedeep.source.paths import Source, expand_paths, partition_texts
from widedeep.source.table_logs import log_of_version
from widedeep.table.missing_values import missing_values
from widedeep.table.side_tables import side_table_files
from widedeep.table.typed_columns import typed_columns
from widedeep.workers import Workers

INGEST_FORMAT = 9
"""Raised when the typed table or its report changes for equal inputs, so that no older cache is read."""


@dataclass(frozen=True)
class IngestResult:
    """A finished typed table."""

    path: Path
    key: str
    cached: bool
    rows: dict[str, int]
    columns: list[dict[str, Any]]


def ingest(
    loaded: LoadedRecipe, work_dir: Path, reporter: Reporter, *, wait: bool = False, workers: str | None = None
) -> IngestResult:
    """Read the recipe's input files, type, check and split their rows, and store them, unless that is done already.

    `workers` says which processes share the work, see `open_workers`.
    """
    workspace = Workspace(work_dir)
    with workspace.shared(reporter, wait=wait), workspace.workers(workers) as opened:
        return ingest_stage(loaded, workspace, reporter, opened)


def ingest_key(loaded: LoadedRecipe) -> str:
    """Key of the typed table: the data section, the columns that it needs, the state of the files. Raises DataError."""
    data = loaded.recipe.data
    files = {
        split: _identity(expand_paths(patterns, loaded.base_dir), data.format.version)
        for split in ("train", "valid", "test")
        if (patterns := getattr(data, split)) is not None
    }
    side_tables = side_table_files(data, loaded.base_dir, columns_read(loaded.recipe, "train"))
    files |= {
        f"tables.{table}": _identity(sources, data.tables[table].format.version)
        for table, sources in side_tables.items()
    }
    columns = [column.reading() for column in typed_columns(loaded.recipe)]
    settings = data.model_dump(mode="json", exclude={"train", "valid", "test"})
    rule = {"missing": "by value"} if missing_values(data) else {}  # a text that is no value is missing as it ever was
    return key_of({"format": INGEST_FORMAT, "data": settings, "columns": sorted(columns), "files": files, **rule})


def _identity(sources: Sequence[Source], version: int | None) -> list[list[str | int]]:
    # The state of what a URL names is not asked for: a change behind it goes unseen until its name changes.
    return [[source] if isinstance(source, str) else _path_identity(source, version) for source in sources]


def _path_identity(path: Path, version: int | None) -> list[str | int]:
    if path.is_dir():
        log = log_of_version(path, version)
        return [str(path.resolve()), *(file_identity([log])[0] if log is not None else ())]
    return [*file_identity([path])[0], *map(str, partition_texts(path).items())]


def ingest_stage(
    loaded: LoadedRecipe, workspace: Workspace, reporter: Reporter, workers: Workers | None = None
) -> IngestResult:
    """`ingest`, for a caller within `Workspace.shared`. What is done already serves, by workers or not."""
    key = ingest_key(loaded)
    path = workspace.finished_path("ingest", key)
    cached = path is not None
    if path is None:
        # The rows are the same, and so is their key; only their parts are others, whatever the number of workers.
        name = key if workers is None else f"{key}{BY_PARTS}"
        path = workspace.stage_path("ingest", name)
        with workspace.missing("ingest", name) as temporary:
            cached = temporary is None
            if temporary is not None:
                report = ingest_files(loaded.recipe, loaded.base_dir, temporary, reporter, workers)
                write_json(temporary / "report.json", report.to_json())
    facts: dict[str, Any] = read_report(path)
    return IngestResult(path, key, cached, facts["rows"], facts["columns"])
