"""Exports every kind of model on two data sets, scores without widedeep and torch, and writes results/export.md.

    WIDEDEEP_DATA=DIR python tests/benchmarks/export.py [--rows 20000] [--seconds 2] [--times]

Each kind is trained for one epoch on Adult and on the first rows of the sample log, with crosses, exported with both
files of a model, and its golden rows are scored by score.py in a new environment that holds NumPy, onnxruntime and xxhash
only (which needs an index of packages). Then requests of 1, 10 and 200 rows of the sample log are timed there, beside what
`widedeep latency` takes.
"""

import argparse
import csv
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from itertools import islice
from pathlib import Path
from typing import Any

from machine import machine_facts

import widedeep as wd
from widedeep.export.folder import export_run
from widedeep.recipe.kinds import KINDS
from widedeep.reporting import Reporter

SIZES = (1, 10, 200)
COMMAND = "python tests/benchmarks/export.py"
TIMES = "## Times"
RESULT = Path(__file__).parent / "results" / "export.md"
TIMED = """\
import json, sys, time
sys.path.insert(0, sys.argv[1])
import onnxruntime
from score import Model
model, lines = Model(sys.argv[1]), open(sys.argv[2]).read().splitlines()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
model.session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", options, providers=["CPUExecutionProvider"])
median = lambda times: 1e3 * sorted(times)[len(times) // 2]
answer = {}
for size in map(int, sys.argv[4:]):
    whole, inner, end, at = [], [], time.perf_counter() + float(sys.argv[3]), 0
    while time.perf_counter() < end or len(whole) < 20:
        request, at = lines[at : at + size], (at + size) % (len(lines) - size + 1)
        started = time.perf_counter()
        inputs = model.encode([json.loads(line) for line in request])
        encoded = time.perf_counter()
        model.session.run(["score"], inputs)
        whole.append(time.perf_counter() - started)
        inner.append(time.perf_counter() - encoded)
    answer[size] = [median(whole), median(inner)]
print(json.dumps(answer))
"""
"""Lines of a request in, scores out, on one thread."""


def fresh_environment(place: Path, requirements: Path) -> Path:
    """The Python of a new environment with what a folder's requirements.txt names."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)
    held = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True).stdout
    names = {package["name"].lower() for package in json.loads(held)}
    assert not names & {"torch", "polars", "widedeep", "onnx"}, names
    return python


def exported_kinds(work: Path, logs: dict[str, str], kinds: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """(Data set, kind) → facts of its export, in the folders `work/exported/<data set>-<kind>`; `logs` names recipes."""
    facts = {}
    for log, recipe in logs.items():
        for kind in kinds:
            settings = [f"model.kind={kind}", "model.embeddings.dim=8", "training.epochs=1"]
            run = wd.train(wd.load_recipe(recipe, set=settings), work_dir=work)
            target = work / "exported" / f"{log}-{kind}"
            exported = export_run(run.directory, target, force=False, program=True, work_dir=work, reporter=Reporter())
            facts[log, kind] = {**exported.facts, "run": run.path}
            print(log, kind, exported.check, flush=True)
    return facts


def kinds_part(work: Path, facts: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The table of kinds."""
    python = fresh_environment(work / "venv", work / "exported" / "Adult-wide" / "requirements.txt")
    lines = []
    for (log, kind), of in facts.items():
        target = work / "exported" / f"{log}-{kind}"
        checked = subprocess.run(
            [python, "score.py", "--check"], cwd=target, capture_output=True, text=True, check=False
        )
        golden, size = checked.stdout.partition(" golden")[0], (target / "model.onnx").stat().st_size / 1024
        lines.append(f"| {log} | {kind} | {of['check']['largest_difference']:.1e} | {golden} | {size:,.0f} |")
    return f"""# Exported models

{measured_on()}
Command: `{COMMAND}`.

Every kind, trained for one epoch with crosses: the largest difference between scores of the exported model (ONNX and torch's
program) and of the run, over 1,000 test rows in batches of 1, 64 and 1,000; golden rows that score.py scores as the run did, in
a new environment with NumPy, onnxruntime and xxhash only; size of `model.onnx`.

| data | kind | largest difference | golden rows | KB |
|---|---|---|---|---|
{chr(10).join(lines)}

"""


def times_part(work: Path, log: Path, facts: dict[tuple[str, str], dict[str, Any]], seconds: float) -> str:
    """The table of times."""
    target, run = work / "exported" / "sample log-wide_deep", facts["sample log", "wide_deep"]["run"]
    with log.open() as file, (work / "rows.ndjson").open("w") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in islice(csv.DictReader(file), 1000))
    # Whatever else the machine does does not make these wait.
    first = ["chrt", "-f", "1", "taskset", "-c", "0"] if shutil.which("chrt") and os.geteuid() == 0 else []
    main = "from widedeep_cli.main import main; main()"
    commands = {
        "ours": [sys.executable, "-c", main, "latency", run, log, "--json"],
        "exported": [sys.executable, "-c", TIMED, target, work / "rows.ndjson", seconds, *SIZES],
    }
    took = {
        name: json.loads(subprocess.run([*first, *map(str, command)], check=True, capture_output=True).stdout)
        for name, command in commands.items()
    }
    ours = {of["rows"]: of for of in took["ours"]["latency"] if of["threads"] == 1}
    exported = {int(size): times for size, times in took["exported"].items()}
    rows = [
        f"| {n} | {ours[n]['p50_ms']:.2f} | {ours[n]['model_ms']:.2f} | {exported[n][0]:.2f} | {exported[n][1]:.2f} |"
        for n in SIZES
    ]
    return f"""{TIMES}

{measured_on()}
Command: `{COMMAND} --times`{", whose timed processes run before all others (`chrt -f 1`)" if first else ""}.

Median milliseconds of a request: lines of NDJSON in, scores out, one thread, the sample log's `wide_deep`.

| rows | `widedeep latency` | its model alone | score.py | onnxruntime alone |
|---|---|---|---|---|
{chr(10).join(rows)}
"""


def measured_on() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    facts = "; ".join(machine_facts().values())
    return f"{datetime.date.today()}; {facts}; load of the machine (1, 5, 15 minutes) {load}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--times", action="store_true", help="Measure the times again, and keep the table of kinds.")
    options = parser.parse_args()
    data = Path(os.environ["WIDEDEEP_DATA"])
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "data" / "sample-log").mkdir(parents=True)
        log = work / "data" / "sample-log" / "log.csv"
        with (data / "sample-log" / "log.csv").open() as whole, log.open("w") as part:
            part.writelines(islice(whole, options.rows + 1))
        shutil.copytree(data / "adult", work / "data" / "adult")
        os.environ["WIDEDEEP_DATA"] = str(work / "data")
        if options.times:
            facts = exported_kinds(work, {"sample log": "quickstart"}, ["wide_deep"])
            kinds = RESULT.read_text().partition(TIMES)[0]
        else:
            facts = exported_kinds(work, {"sample log": "quickstart", "Adult": "adult"}, list(KINDS))
            kinds = kinds_part(work, facts)
        RESULT.write_text(kinds + times_part(work, log, facts, options.seconds))
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
