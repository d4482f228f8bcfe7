"""A finished run as a folder that a service scores with: the model as ONNX, its plan, golden requests and score.py."""

import json
import os
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import widedeep
from widedeep.artefacts import digest_of_file
from widedeep.errors import OutputExistsError, UsageError, WriteError
from widedeep.export.kserve import config, inputs_of_plan
from widedeep.files import replacing_directory, write_json
from widedeep.reporting import Meter, Reporter
from widedeep.runs import RunDirectory

if TYPE_CHECKING:
    import polars as pl

    from widedeep.export.check import Check
    from widedeep.scoring.scorer import Scorer

MODEL, PROGRAM, PLAN, GOLDEN, FACTS = "model.onnx", "model.pt2", "plan.json", "golden.ndjson", "export.json"
_SCRIPTS = ("encode.py", "scripts/score.py", "scripts/mlflow_model.py")
"""What is copied into the folder; of these only encode.py is imported here."""
_NEEDED = ("onnx", "onnxruntime", "onnxscript")
_SERVED_WITH = ("numpy", "onnxruntime", "xxhash")


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    facts: dict[str, Any]
    """The content of `export.json`."""
    check: "Check"


def require_exporters() -> None:
    """Raise UsageError if a library that exports is not installed."""
    if lacking := [name for name in _NEEDED if find_spec(name) is None]:
        are = "are" if len(lacking) > 1 else "is"
        raise UsageError(
            f"`export` needs {', '.join(lacking)}, which {are} not installed: pip install 'widedeep[export]'"
        )


def check_folder(path: Path, *, force: bool) -> Path:
    """The folder that `path` means, links followed, once it is known that it may be written.

    Raises OutputExistsError for one that holds something, without `force`; UsageError for a folder that is no exported
    one, whatever `force` says, and for a place within a run; WriteError for a file.
    """
    target = Path(os.path.realpath(path))
    for folder in (target, *target.parents):
        if all((folder / name).is_file() for name in ("recipe.yaml", "manifest.json")):
            raise UsageError(f"{path}: lies in the run {folder.name}: name a folder outside of runs")
    if target.exists() and not target.is_dir():
        raise WriteError(f"{path}: is a file; name a folder to write")
    if target.is_dir() and any(target.iterdir()):
        if not (target / FACTS).is_file():
            raise OutputExistsError(f"{path}: holds other files than an exported run: name a new folder")
        if not force:
            raise OutputExistsError(f"{path}: exists already; --force replaces it")
    return target


def export_run(
    run: RunDirectory, output: Path, *, force: bool, program: bool, work_dir: Path, reporter: Reporter
) -> Exported:
    """Export a finished run into a folder, which takes its place only once all of it was held against the run.

    With `program`, torch's own program is written beside the ONNX model. Raises UsageError, before work begins, for
    what is not installed, for an output that may not be written and for a run with something that cannot be exported;
    ArtefactError for a run that cannot be loaded, and if the exported model scores otherwise than the run.
    """
    require_exporters()
    target = check_folder(output, force=force)
    from widedeep.recipe.load import load_run_recipe  # not at the top: a bad command line need not wait for these

    recipe = load_run_recipe(run, run.require_done()).recipe
    if not run.golden_path.exists():
        raise UsageError(f"{run.path}: the run keeps no golden rows to check with: train with evaluation.golden_rows")
    from widedeep.export.plan import refuse_times_as_texts, refuse_unexported

    refuse_unexported(recipe)
    from widedeep.scoring.scorer import Scorer, forms_of_run

    refuse_times_as_texts(recipe, forms_of_run(run))
    scorer = Scorer.load(run.path)
    with reporter.work("export", 5, "steps") as meter, replacing_directory(target) as folder:
        writer = _Writer(run, scorer, folder, meter)
        writer.write(program=program)
        check = writer.check(work_dir, program=program)
        facts = writer.facts(check)
        write_json(folder / FACTS, facts)
        meter.update(5)
    return Exported(target, facts, check)


class _Writer:
    """Writes the files of one folder, and holds them against the run."""

    def __init__(self, run: RunDirectory, scorer: "Scorer", folder: Path, meter: Meter) -> None:
        from widedeep.export.plan import exported_plan

        self._run, self._scorer, self._folder, self._meter = run, scorer, folder, meter
        assert scorer.forms is not None, "refused before"
        self._plan = exported_plan(scorer.recipe, scorer.plan, scorer.layout, scorer.forms, scorer.source_kinds)
        self._golden_typed, self._golden = self._golden_rows()

    def write(self, *, program: bool) -> None:
        from widedeep.export.graph import ServedNetwork
        from widedeep.export.onnx_model import traced, write_onnx, write_program

        scorer, folder = self._scorer, self._folder
        weighted = [column.weights is not None for column in scorer.layout.list_columns]
        network = traced(ServedNetwork(scorer.network, scorer.recipe.data.label.kind, weighted), scorer.layout)
        self._meter.update(1)
        write_onnx(network, folder / MODEL, widedeep.__version__)
        self._meter.update(2)
        if program:
            write_program(network, folder / PROGRAM)
        self._write_text(PLAN, json.dumps(self._plan, ensure_ascii=False, allow_nan=False) + "\n")
        for script in _SCRIPTS:
            path = Path(__file__).parent / script
            self._write_text(path.name, path.read_text(encoding="utf-8"))
        needed = "".join(f"{name}=={metadata.version(name)}\n" for name in _SERVED_WITH)
        self._write_text("requirements.txt", needed)
        lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in self._golden]
        self._write_text(GOLDEN, "".join(lines))
        self._write_text("config.pbtxt", config(scorer.recipe.name, self._plan))

    def check(self, work_dir: Path, *, program: bool) -> "Check":
        """Hold what was written against the run; write the request of the golden rows, which stands for any."""
        from widedeep.export.check import (
            BATCHES,
            Check,
            check_encoding,
            check_scores,
            inputs_of,
            largest_difference,
        )
        from widedeep.export.encode import Encoder
        from widedeep.export.onnx_model import read_onnx, read_program

        encoder = Encoder(json.loads((self._folder / PLAN).read_text(encoding="utf-8")))
        run_onnx = read_onnx(self._folder / MODEL)
        typed, held = self._rows_to_check(work_dir)
        check_encoding(self._scorer, encoder, typed)
        self._meter.update(3)
        largest = check_scores(self._scorer, typed, run_onnx, MODEL)
        self._meter.update(4)
        if program:
            run_program = read_program(self._folder / PROGRAM)
            given = check_scores(self._scorer, typed, lambda arrays: run_program(inputs_of(arrays)).numpy(), PROGRAM)
            largest = max(largest, given)
        rows = [golden["row"] for golden in self._golden]
        scores = run_onnx(encoder(rows))
        largest = max(largest, largest_difference(scores, np.array([of["score"] for of in self._golden]), GOLDEN))
        self._write_text("request.json", json.dumps(encoder.request(rows)) + "\n")
        return Check(len(typed), held, BATCHES, largest)

    def facts(self, check: "Check") -> dict[str, Any]:
        """The content of `export.json`."""
        from widedeep.export.onnx_model import IR_VERSION, OPSET

        manifest, recipe = self._run.manifest(), self._scorer.recipe
        names = sorted(path.name for path in self._folder.iterdir())
        return {
            "format": self._plan["format"],
            "run": self._run.path.resolve().name,
            "recipe": recipe.name,
            "kind": recipe.model.kind,
            "label": recipe.data.label.kind,
            "key": manifest["keys"]["run"],
            "opset": OPSET,
            "ir_version": IR_VERSION,
            "inputs": [
                {"name": name, "datatype": datatype, "shape": shape}
                for name, datatype, shape in inputs_of_plan(self._plan)
            ],
            "outputs": [{"name": "score", "datatype": "FP32", "shape": [-1]}],
            "golden_rows": len(self._golden),
            "check": asdict(check),
            "libraries": {name: metadata.version(name) for name in ("widedeep", "torch", *_NEEDED)},
            "files": {name: digest_of_file(self._folder / name) for name in names},
        }

    def _golden_rows(self) -> "tuple[pl.DataFrame, list[dict[str, Any]]]":
        """The golden rows typed, and as requests with their scores."""
        from widedeep.export.requests import request_rows
        from widedeep.scoring.scorer import golden_raw_rows
        from widedeep.source.blocks import RawBlock

        raw = golden_raw_rows(self._run)
        if raw is None:
            raise UsageError(f"{self._run.path}: an older widedeep made the run, without raw golden rows: train anew")
        typing = self._scorer.typing(labelled=False)
        raw = raw.select(typing.needed)
        typed = typing.apply(RawBlock(raw, str(self._run.golden_path), 0, 0))
        scores, _ = self._scorer.score_by_query(typed)
        golden = zip(request_rows(raw), scores.tolist(), strict=True)
        return typed, [{"row": row, "score": score} for row, score in golden]

    def _rows_to_check(self, work_dir: Path) -> "tuple[pl.DataFrame, str]":
        """Typed rows of the run's test split, else of the valid split, else its golden rows."""
        from widedeep.export.check import ROWS
        from widedeep.pipeline.past_runs import finished_stage, rows_to_score

        stage = finished_stage(self._run, "ingest", work_dir)
        for split in ("test", "valid") if stage is not None else ():
            if stage is not None and (stage / split).is_dir():
                block = next(rows_to_score(self._scorer, stage, split), None)
                if block is not None and len(block):
                    return block.head(ROWS), split
        return self._golden_typed, "golden"

    def _write_text(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")
