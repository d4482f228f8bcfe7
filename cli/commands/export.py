"""`widedeep export`: a run as an ONNX model with what encodes rows for it."""

from pathlib import Path
from typing import Annotated

import typer

from widedeep.api.runs import run_path
from widedeep.runs import RunDirectory

from .. import without_collecting
from ..options import ForceOption, JsonOption, QuietOption, RunArgument, WorkOption
from ..results import print_facts, print_json


def export(
    run: RunArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")],
    torch_program: Annotated[
        bool, typer.Option("--torch", help="Write torch's own program too, model.pt2, for torch.export.load.")
    ] = False,
    force: ForceOption = False,
    work: WorkOption = Path(),
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a run as a folder that scores without widedeep, torch and Polars.

    It holds the model as ONNX, the plan that encodes raw rows, score.py and encode.py, which need NumPy, onnxruntime
    and xxhash only, golden rows with their scores, and a configuration and a request of the Open Inference Protocol
    (KServe v2). Nothing is written (exit code 4) unless 1,000 test rows, in batches of three sizes, score within 1e-6
    of the run's scores. Needs pip install 'widedeep[export]'.
    """
    from widedeep.export.folder import export_run

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    directory = RunDirectory(run_path(run, work))
    with without_collecting():
        exported = export_run(
            directory, output, force=force, program=torch_program, work_dir=work, reporter=ConsoleReporter(quiet=quiet)
        )
    facts, check = exported.facts, exported.check
    if as_json:
        print_json({"path": output, **{name: facts[name] for name in facts if name not in ("format", "key")}})
        return
    of = "golden rows" if check.of == "golden" else f"{check.of} rows"
    print_facts(
        {
            "model": f"{facts['kind']}, ONNX opset {facts['opset']}, IR version {facts['ir_version']}",
            "checked": f"{check.rows:,} {of}: scores differ by at most {check.largest_difference:.1g}",
            "files": sorted([*facts["files"], "export.json"]),
            "path": str(output),
        }
    )
