"""Many files into a folder: one file of scores for each, whatever kills the command in between, and `_SUCCESS` last."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from widedeep.artefacts import read_json_artefact, require_shape
from widedeep.errors import DataError, OutputExistsError, UsageError
from widedeep.files import sweep, write_json, write_text, writing
from widedeep.locks import locked
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.guard import Breach, Guard
from widedeep.scoring.predict import PredictResult, ScoringOptions, check_kept, score_to, shared_scoring
from widedeep.scoring.scorer import Scorer
from widedeep.source.paths import Source, expand_paths

SUCCESS, MANIFEST = "_SUCCESS", "_widedeep.json"
"""The file that says that all inputs are scored, and the one that says which files were scored by what."""
_ENDINGS = {"parquet": ".parquet", "csv": ".csv", "ndjson": ".ndjson"}
_STEM = re.compile(
    r"(?<=.)(\.(csv|tsv|txt|ndjson|jsonl|json|parquet|pq|arrow|feather|ipc))?(\.(gz|zst|bz2|xz|lz4|zip))?$",
    re.IGNORECASE,
)
"""What a name ends in, that says how the file is written."""
_SHAPE = {"made_with": {str: Any}, "inputs": {str: {"input": str, "bytes": int, "modified": int}}}


def predict_folder(
    run: Path,
    inputs: Sequence[Source | BinaryIO],
    folder: Path,
    options: ScoringOptions,
    reporter: Reporter,
    *,
    trust: bool = False,
) -> PredictResult:
    """Score each file of `inputs` into a file of its name in `folder`; what an earlier start has done stays.

    Every file is judged by itself. Raises what `predict_files` raises; UsageError for inputs that are no files, or two
    of one name; DataError for an input that changed (its size or its time) since its scores were begun.
    """
    check_kept(options.keep)
    if options.guard.report is not None or options.guard.against is not None:
        raise UsageError(f"--report, --against: each file in {folder} is judged by itself: name one output")
    with writing(folder):
        folder.mkdir(exist_ok=True)
    chosen = options.output_format or "parquet"
    files = _files(inputs, folder, _ENDINGS[chosen])
    lock = folder / ".widedeep.lock"
    with locked(folder, lock, "name another folder", wait=options.wait, note=reporter.note, keep=False):
        manifest = RunDirectory(run).require_done()
        scored_by = manifest.get("pins", {}).get("manifest") or manifest["keys"]["run"]
        made_with = {
            "run": scored_by,
            "format": chosen,
            "keep": list(options.keep),
            "input_format": options.input_format,
            "tables": dict(options.tables),
            **({"formats": list(options.formats)} if options.formats else {}),
        }
        sweep(folder)
        begun = _begin(folder, files, made_with, force=options.force)
        missing = [name for name in files if not (folder / name).exists()]
        rows, breaches = 0, list[Breach]()
        lacking: dict[str, int] = {}
        unseen: dict[str, int] = {}
        if missing:
            with writing(folder):
                (folder / SUCCESS).unlink(missing_ok=True)
            write_json(folder / MANIFEST, begun)
            scorer = Scorer.load(run, trust=trust, device="auto" if options.workers is None else "cpu")
            guard = Guard(scorer, run, options.guard)
            with shared_scoring(run, options, reporter, [files[name] for name in missing]) as shared:
                for name in missing:
                    source = files[name]
                    # Its own lock and its own check are the folder's.
                    result = score_to(
                        folder / name, scorer, guard, [source], chosen, options, reporter, file=source, shared=shared
                    )
                    if _identity(source) != begun["inputs"][name]:
                        (folder / name).unlink(missing_ok=True)
                        raise DataError(f"{source}: was changed while it was scored: run again when it is whole")
                    rows += result.rows
                    breaches += result.breaches
                    for total, counts in ((lacking, result.missing), (unseen, result.unseen)):
                        for field, number in counts.items():
                            total[field] = total.get(field, 0) + number
        if not missing:
            reporter.note(f"{folder}: all {len(files)} files are scored already")
        if not (folder / SUCCESS).exists():
            write_text(folder / SUCCESS, "")
    return PredictResult(rows, folder, lacking, unseen, breaches)


def _files(inputs: Sequence[Source | BinaryIO], folder: Path, ending: str) -> dict[str, Path]:
    """Name of the output → input. Raises UsageError for inputs that are no files, and for two outputs of one name."""
    files: dict[str, Path] = {}
    for given in inputs:
        for source in expand_paths([str(given)], Path()) if isinstance(given, str | Path) else [given]:
            if not isinstance(source, Path) or not source.is_file():
                raise UsageError(f"-o {folder}: a folder takes scores of files, not of a pipe or a URL: name a file")
            name = _STEM.sub("", source.name) + ending
            if name in files:
                raise UsageError(f"{source} and {files[name]}: the scores of both would be {folder / name}")
            if (folder / name).exists() and (folder / name).samefile(source):
                raise UsageError(f"{folder / name}: is what is read: name another folder")
            files[name] = source
    return files


def _identity(file: Path) -> dict[str, Any]:
    try:
        stat = file.stat()
    except OSError as error:
        raise DataError(f"{file}: cannot be read any more: {error.strerror}") from error
    return {"input": str(file.resolve()), "bytes": stat.st_size, "modified": stat.st_mtime_ns}


def _begin(folder: Path, files: dict[str, Path], made_with: dict[str, Any], *, force: bool) -> dict[str, Any]:
    """What the folder's manifest has to say; with `force` nothing that lies there is kept.

    Raises OutputExistsError for scores of another command, DataError for an input that changed since.
    """
    identities = {name: _identity(file) for name, file in files.items()}
    path = folder / MANIFEST
    if force:
        with writing(folder):
            for name in (SUCCESS, MANIFEST, *files):
                (folder / name).unlink(missing_ok=True)
    if not path.exists():
        if there := [name for name in files if (folder / name).exists()]:
            raise OutputExistsError(f"{folder / there[0]}: exists already; --force replaces it")
        return {"made_with": made_with, "inputs": identities}
    earlier = read_json_artefact(path, "the folder's manifest is damaged: --force scores all files again")
    require_shape(earlier, _SHAPE, path)
    if earlier["made_with"] != json.loads(json.dumps(made_with)):
        raise OutputExistsError(
            f"{folder}: holds scores of another run, or with other options: name another folder, or --force to score "
            "all files again"
        )
    for name, identity in identities.items():
        if earlier["inputs"].get(name, identity) != identity:
            raise DataError(
                f"{files[name]}: changed since its scores were begun in {folder / name}: restore it, or --force to "
                "score all files again"
            )
        if name not in earlier["inputs"] and (folder / name).exists():
            raise OutputExistsError(f"{folder / name}: exists already; --force replaces it")
    return {"made_with": made_with, "inputs": {**earlier["inputs"], **identities}}
