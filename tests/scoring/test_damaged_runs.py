"""Whatever happens to a file of a run, it is told with its name: an ArtefactError, which is exit code 4."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from widedeep import runs
from widedeep.comparison.run_table import FinishedRun
from widedeep.errors import ArtefactError
from widedeep.features.plan import FeaturePlan
from widedeep.pipeline.experiment import Asked, train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.guard import Guard, GuardOptions
from widedeep.scoring.scorer import Scorer

CommandLine = Callable[..., tuple[int, str, str]]
JSON_FILES = ("manifest.json", "metrics.json", "plan/plan.json", "plan/source_kinds.json", "plan/forms.json")
SCORED_WITH = (
    *JSON_FILES,
    "plan/reference.json",
    "recipe.yaml",
    "plan/memory.safetensors",
    "plan/vocabularies/field-0000.arrow",
    "checkpoints/best.safetensors",
    "golden.parquet",
)


class FitsAll(str):
    """A digest that is equal to any other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


def make_digests_fit(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one who forges them would, as far as the manifest can still be read."""
    monkeypatch.setattr(FeaturePlan, "digest", property(lambda plan: FitsAll("")))
    try:
        RunDirectory(run).pin()
    except ArtefactError:
        manifest = json.loads((run / "manifest.json").read_text())
        if isinstance(manifest, dict) and isinstance(manifest.get("pins"), dict) and "files" in manifest["pins"]:
            manifest["pins"]["manifest"] = runs._digest_of_manifest(manifest)
            (run / "manifest.json").write_text(json.dumps(manifest))


class PanicException(pl.exceptions.PanicException):  # type: ignore[misc]
    """What Polars' Rust code raises where it panics: no `Exception`."""


def load_all(run: Path) -> None:
    Guard(Scorer.load(run), run, GuardOptions())
    FinishedRun.read(run)
    RunDirectory(run).epochs()


def refused(run: Path, name: str) -> None:
    with pytest.raises(ArtefactError) as caught:
        load_all(run)
    assert str(run / name) in str(caught.value)


# ------------------------------------------------------------------------------------------------------------ any bytes

BYTES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "of another program": lambda content: b"\x80\x04PK something else",
    "not UTF-8": lambda content: b"\xff\xfe" + content,
    "nested deeply": lambda content: b"[" * 200_000,
    "with a number too long": lambda content: b'{"format": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("damage", BYTES)
@pytest.mark.parametrize("name", [*SCORED_WITH, "events.jsonl"])
def test_a_file_of_other_bytes_is_told_whether_or_not_digests_fit(
    name: str, damage: str, rich_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (rich_run / name).read_bytes()
    (rich_run / name).write_bytes(BYTES[damage](content))
    if (name, damage) == ("events.jsonl", "empty"):
        load_all(rich_run)  # a log that is gone is none that scoring needs
        return
    told = "plan/plan.json" if "vocabularies" in name else name  # which pins it
    refused(rich_run, told)
    if name != "manifest.json":
        make_digests_fit(rich_run, monkeypatch)
        refused(rich_run, told)


@pytest.mark.parametrize("name", [*SCORED_WITH, "events.jsonl"])
def test_a_folder_in_place_of_a_file_is_told(name: str, rich_run: Path) -> None:
    (rich_run / name).unlink()
    (rich_run / name).mkdir()
    refused(rich_run, name)


# ----------------------------------------------------------------------------------------------------------------- JSON

REMOVED = object()
EDITS: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("manifest.json", ("keys",), REMOVED),
    ("manifest.json", ("keys", "ingest"), 5),
    ("manifest.json", ("base_dir",), None),
    ("manifest.json", ("format",), 0),
    ("manifest.json", ("format",), True),
    ("manifest.json", ("libraries",), []),
    ("manifest.json", ("argv",), "train"),
    ("manifest.json", ("refit",), {"of": "x", "splits": "train", "epochs": 2}),
    ("manifest.json", ("pins",), []),
    ("manifest.json", ("pins", "files"), None),
    ("metrics.json", ("metrics",), REMOVED),
    ("metrics.json", ("metrics", "test"), []),
    ("metrics.json", ("metrics", "test", "auc"), float("nan")),
    ("metrics.json", ("metrics", "test", "auc"), "0.7"),
    ("metrics.json", ("parameters",), 10**400),
    ("metrics.json", ("best_epoch",), 1.5),
    ("metrics.json", ("seconds",), None),
    ("metrics.json", ("warnings",), [{"message": "…"}]),
    ("metrics.json", ("crosses",), {"crosses": [], "all": {}}),
    ("metrics.json", ("dropped_values",), []),
    ("metrics.json", ("dropped_values",), {"color": "3"}),
    ("metrics.json", (), []),
    ("plan/plan.json", ("numerics",), REMOVED),
    ("plan/plan.json", ("numerics", 0, "mean"), float("inf")),
    ("plan/plan.json", ("numerics", 0, "cuts"), ["a"]),
    ("plan/plan.json", ("numerics", 0, "cuts"), [3.0, 1.0]),
    ("plan/plan.json", ("numerics", 0, "transform"), "root"),
    ("plan/plan.json", ("numerics", 0, "clip"), [1.0]),
    ("plan/plan.json", ("numerics", 0, "column"), "other"),
    ("plan/plan.json", ("numerics", 0, "name"), ""),
    ("plan/plan.json", ("categoricals", 0, "buckets"), 10**12),
    ("plan/plan.json", ("categoricals", 0, "buckets"), 2**30),
    ("plan/plan.json", ("categoricals", 0, "embedding_dim"), 2**62),
    ("plan/plan.json", ("categoricals", 0, "seed"), -1),
    ("plan/plan.json", ("categoricals", 0, "name"), "tags"),
    ("plan/plan.json", ("multi_valued", 0, "pooling"), "median"),
    ("plan/plan.json", ("multi_valued", 0, "weights"), "other"),
    ("plan/plan.json", ("crosses", 0, "fields"), ["color", "other"]),
    ("plan/plan.json", ("crosses", 0, "fields"), {}),
    ("plan/plan.json", ("crosses", 0, "more"), 1),
    ("plan/plan.json", ("checksums",), {}),
    ("plan/plan.json", ("format",), 99),
    ("plan/source_kinds.json", ("color",), "colour"),
    ("plan/source_kinds.json", ("color",), None),
    ("plan/source_kinds.json", (), "text"),
    ("plan/forms.json", ("color",), "colour"),
    ("plan/forms.json", ("color",), ["number"]),
    ("plan/forms.json", (), None),
]


def edited(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    (first, *rest), copy = path, value.copy()
    if new is REMOVED and not rest:
        del copy[first]
    else:
        copy[first] = edited(value[first], tuple(rest), new) if rest else new
    return copy


@pytest.mark.parametrize(("name", "path", "new"), EDITS)
def test_json_of_another_shape_is_told_though_the_digest_fits(
    name: str, path: tuple[str | int, ...], new: Any, rich_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = json.loads((rich_run / name).read_text())
    (rich_run / name).write_text(json.dumps(edited(value, path, new)))
    make_digests_fit(rich_run, monkeypatch)

    with pytest.raises(ArtefactError) as caught:
        load_all(rich_run)

    # Sizes of the plan that no checkpoint has are told as the checkpoint's.
    assert any(str(rich_run / told) in str(caught.value) for told in (name, "checkpoints/best.safetensors"))


def test_a_line_of_the_log_that_is_no_event_is_told(rich_run: Path) -> None:
    log = rich_run / "events.jsonl"
    lines = log.read_text()
    for line in ("5", "[]", '{"event": "epoch"}', '{"event": "epoch", "epoch": 2, "train_loss": "low", "valid": {}}'):
        log.write_text(f"{lines}{line}\n")
        refused(rich_run, "events.jsonl")


# --------------------------------------------------------------------------------------------------------------- others


GOLDEN: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "no rows": lambda golden: golden.head(0),
    "no scores": lambda golden: golden.drop("score"),
    "scores that are texts": lambda golden: golden.with_columns(pl.col("score").cast(pl.String)),
    "missing scores": lambda golden: golden.with_columns(score=pl.lit(None, dtype=pl.Float32)),
    "scores that are no numbers": lambda golden: golden.with_columns(score=pl.lit(float("nan"))),
    "other columns": lambda golden: golden.with_columns(typed=pl.struct(other=pl.lit(1.0))),
    "typed columns of other types": lambda golden: golden.with_columns(
        golden["typed"].struct.unnest().with_columns(pl.lit(1).alias("color")).to_struct("typed")
    ),
    "other raw columns": lambda golden: golden.with_columns(raw=pl.struct(other=pl.lit(1.0))),
    "raw columns that nothing is made of": lambda golden: golden.with_columns(
        golden["raw"].struct.unnest().with_columns(pl.lit("dear").alias("price")).to_struct("raw")
    ),
}


@pytest.mark.parametrize("damage", GOLDEN)
def test_golden_rows_that_cannot_be_checked_are_told(
    damage: str, rich_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rich_run / "golden.parquet"
    GOLDEN[damage](pl.read_parquet(path)).write_parquet(path)
    make_digests_fit(rich_run, monkeypatch)
    refused(rich_run, "golden.parquet")


Tensors = dict[str, np.ndarray]
TENSORS: dict[str, tuple[str, Callable[[Tensors, str], Tensors]]] = {
    "one lacks": ("*", lambda tensors, name: {key: value for key, value in tensors.items() if key != name}),
    "one more": ("*", lambda tensors, name: {**tensors, f"{name}.other": tensors[name]}),
    "of another type": ("*", lambda tensors, name: {**tensors, name: tensors[name].astype(np.float64)}),
    "of another shape": ("*", lambda tensors, name: {**tensors, name: tensors[name][..., None]}),
    "out of range": ("memory", lambda tensors, name: {**tensors, "support": tensors["support"] + np.uint8(200)}),
}


@pytest.mark.parametrize("damage", TENSORS)
@pytest.mark.parametrize("name", ["checkpoints/best.safetensors", "plan/memory.safetensors"])
def test_tensors_of_another_model_are_told(
    name: str, damage: str, rich_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, change = TENSORS[damage]
    if where not in ("*", Path(name).stem):
        return
    tensors = load_file(rich_run / name)
    first = min(key for key in tensors if key.startswith("model.") or "memory" in name)
    changed = {key: np.ascontiguousarray(value) for key, value in change(tensors, first).items()}
    save_file(changed, rich_run / name, metadata={"state": "{}"})
    make_digests_fit(rich_run, monkeypatch)
    refused(rich_run, name)


RECIPES: dict[str, Callable[[str], str]] = {
    "broken YAML": lambda text: text + "\n  - : [",
    "a list": lambda text: "- 1\n",
    "a wrong type": lambda text: text.replace("epochs: 1", "epochs: many"),
    "an unknown key": lambda text: text + "colour: red\n",
    "a tag": lambda text: text.replace("seed: 0", "seed: !!python/name:os.system 0", 1),
    "a missing section": lambda text: text.replace("features:", "fields:"),
    "a field less": lambda text: "\n".join(line for line in text.splitlines() if "{column: color" not in line),
    "layers too large": lambda text: text.replace("hidden: [4]", "hidden: [1000000000]"),
}


@pytest.mark.parametrize("damage", RECIPES)
def test_a_recipe_in_a_run_that_is_faulty_is_the_runs_fault(
    damage: str, rich_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rich_run / "recipe.yaml"
    changed = RECIPES[damage](path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    make_digests_fit(rich_run, monkeypatch)
    with pytest.raises(ArtefactError) as caught:
        load_all(rich_run)
    assert any(str(rich_run / told) in str(caught.value) for told in ("recipe.yaml", "checkpoints/best.safetensors"))


# ------------------------------------------------------------------------------------------------------- every command


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("plan/plan.json", "predict"),
        ("recipe.yaml", "eval"),
        ("checkpoints/best.safetensors", "against"),
        ("metrics.json", "compare"),
        ("recipe.yaml", "compare"),
        ("events.jsonl", "report"),
        ("metrics.json", "report"),
        ("plan/memory.safetensors", "weights"),
        ("recipe.yaml", "weights"),
        ("golden.parquet", "on"),
        ("manifest.json", "on"),
    ],
)
def test_every_command_that_reads_a_run_ends_with_exit_4(
    name: str, command: str, rich: Path, rich_run: Path, widedeep: CommandLine
) -> None:
    content = (rich_run / name).read_bytes()
    (rich_run / name).write_bytes(content[: len(content) // 2])
    arguments: dict[str, list[str | Path]] = {
        "predict": ["predict", rich_run, rich / "log.csv", "-o", "-"],
        "eval": ["eval", rich_run, "--work", rich],
        "against": ["eval", rich / "runs/rich/latest", "--against", rich_run, rich / "log.csv"],
        "compare": ["compare", rich_run],
        "report": ["report", rich_run, "-o", "-", "--work", rich],
        "weights": ["crosses", rich_run, "--weights", "--work", rich],
        "on": ["crosses", rich / "rich.yaml", "--discover", "--on", rich_run, "--work", rich],
    }

    code, out, err = widedeep(*arguments[command])

    assert (code, out) == (4, ""), err
    assert str(rich_run / name) in err


@pytest.mark.parametrize(
    ("name", "is_done"),
    [
        ("manifest.json", True),
        ("metrics.json", True),
        ("checkpoints/best.safetensors", True),
        ("manifest.json", False),
        ("plan/plan.json", False),
        ("plan/memory.safetensors", False),
        ("checkpoints/last.safetensors", False),
    ],
)
def test_train_does_not_go_on_with_a_run_that_is_damaged(
    name: str, is_done: bool, rich: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    work = shutil.copytree(rich, tmp_path / "work", symlinks=True)
    run = (work / "runs/rich/latest").resolve()
    path = run / name
    path.write_bytes(path.read_bytes()[:100])
    if not is_done:
        (run / "DONE").unlink()

    code, out, err = widedeep("train", rich / "rich.yaml", "--resume", "--work", work)

    assert (code, out) == (4, ""), err
    assert str(path) in err


@pytest.mark.parametrize("progress", [{}, [], {"epoch": "1"}, {"epoch": None}])
def test_training_does_not_go_on_from_a_state_that_is_none(
    progress: Any, rich: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    work = shutil.copytree(rich, tmp_path / "work", symlinks=True)
    run = (work / "runs/rich/latest").resolve()
    (run / "DONE").unlink()
    path = run / "checkpoints/last.safetensors"
    with safe_open(path, framework="numpy") as file:
        state = json.loads(file.metadata()["state"])
    changed = {**state["progress"], **progress} if progress else progress
    save_file(load_file(path), path, metadata={"state": json.dumps({**state, "progress": changed})})

    code, out, err = widedeep("train", rich / "rich.yaml", "--resume", "--work", work)

    assert (code, out) == (4, ""), err
    assert f"{path}: progress" in err


def test_a_reader_that_panics_is_told_as_the_file_that_it_read(rich_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panics(*_: Any, **__: Any) -> Any:
        raise PanicException("index out of bounds")

    for reader, name in (("read_parquet", "golden.parquet"), ("read_ipc", "plan/plan.json")):
        with monkeypatch.context() as patch:
            patch.setattr(pl, reader, panics)
            refused(rich_run, name)


@pytest.mark.parametrize("reader", ["read_csv", "read_ndjson"])  # of columnar files: data_forms/test_types_columns.py
def test_a_reader_of_texts_that_panics_leaves_no_traceback(
    reader: str, rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    rows, csv, ndjson = pl.read_csv(rich / "log.csv", infer_schema=False), rich / "log.csv", tmp_path / "new.ndjson"
    rows.write_ndjson(ndjson)
    pl.DataFrame({"user": [str(user) for user in range(20)], "age": ["30"] * 20}).write_parquet(tmp_path / "u.parquet")
    table = ["--table", f"users={tmp_path / 'u.parquet'}"]
    run = rich / "runs/rich/latest"
    _, expected, _ = widedeep("predict", run, csv, "-o", "-", *table)

    def panics(*_: Any, **__: Any) -> Any:
        raise PanicException("index out of bounds")

    monkeypatch.setattr(pl, reader, panics)
    code, out, err = widedeep("predict", run, csv if reader == "read_csv" else ndjson, "-o", "-", *table)

    if reader == "read_csv":
        assert (code, f"{csv}: cannot be parsed" in err) == (3, True), err
    else:
        assert (code, out) == (0, expected), err  # Python reads what Polars cannot


# ---------------------------------------------------------------------------------------------------------- train --from

GONE_ON_WITH = ("checkpoints/best_state.safetensors", "plan/memory_sums.safetensors", "plan/rare/rare.json")


def refuses_to_go_on(run: Path, name: str, rich: Path, work: Path) -> None:
    with pytest.raises(ArtefactError) as caught:
        train(load_recipe(rich / "rich.yaml"), work, Reporter(), Asked(goes_on_from=run))
    assert str(run / name) in str(caught.value)


@pytest.mark.parametrize("damage", BYTES)
@pytest.mark.parametrize("name", GONE_ON_WITH)
def test_a_file_of_other_bytes_that_a_run_would_go_on_with_is_told_whether_or_not_digests_fit(
    name: str, damage: str, rich: Path, rich_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rich_run / name).write_bytes(BYTES[damage]((rich_run / name).read_bytes()))
    refuses_to_go_on(rich_run, name, rich, tmp_path / "work")
    make_digests_fit(rich_run, monkeypatch)
    refuses_to_go_on(rich_run, name, rich, tmp_path / "work")


OTHER_TENSORS: dict[str, Callable[[np.ndarray], np.ndarray | None]] = {
    "lacking": lambda tensor: None,
    "of another type": lambda tensor: tensor.astype(np.float32 if tensor.dtype == np.float64 else np.float64),
    "of another shape": lambda tensor: np.ascontiguousarray(tensor[..., None]),
    "shorter": lambda tensor: tensor[:-1],
}


@pytest.mark.parametrize("damage", OTHER_TENSORS)
@pytest.mark.parametrize("kind", ["optimizer.deep.", "optimizer.wide.z", "column.", "support.", "cuts.", "shrinkage"])
def test_tensors_that_another_model_would_go_on_with_are_told(
    kind: str, damage: str, rich: Path, rich_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "checkpoints/best_state.safetensors" if kind.startswith("optimizer") else "plan/memory_sums.safetensors"
    with safe_open(rich_run / name, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(rich_run / name)
    first = min(key for key, tensor in tensors.items() if key.startswith(kind) and tensor.ndim)
    changed = OTHER_TENSORS[damage](tensors.pop(first))
    if kind == "optimizer.deep." and damage == "of another type":
        return  # torch casts its states
    save_file(tensors if changed is None else {**tensors, first: changed}, rich_run / name, metadata=metadata)
    make_digests_fit(rich_run, monkeypatch)
    refuses_to_go_on(rich_run, name, rich, tmp_path / "work")
