"""`widedeep eval RUN --against RUN2`: two runs on the same rows, whatever their recipes read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

CommandLine = Callable[..., tuple[int, str, str]]
Train = Callable[..., Path]


@pytest.fixture
def train(project: Path, widedeep: CommandLine) -> Train:
    """Trains `small.yaml` with settings for one epoch and gives the run."""

    def run(name: str, *settings: str) -> Path:
        words = [w for one in (f"name={name}", "training.epochs=1", *settings) for w in ("--set", one)]
        code, out, err = widedeep("train", "small.yaml", "--json", *words)
        assert code == 0, err
        return Path(json.loads(out)["run"]).resolve()

    return run


def against(widedeep: CommandLine, *arguments: str | Path) -> Any:
    code, out, err = widedeep("eval", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_differences_are_those_of_scikit_learn_on_the_scores_of_predict(
    train: Train, project: Path, widedeep: CommandLine
) -> None:
    runs = train("both"), train("deep", "model.kind=deep")
    result = against(widedeep, runs[0], "log.csv", "--against", runs[1])
    label = pl.read_csv(project / "log.csv")["click"].to_numpy()
    values = []
    for number, run in enumerate(runs):
        assert widedeep("predict", run, "log.csv", "-o", f"{number}.parquet")[0] == 0
        score = pl.read_parquet(project / f"{number}.parquet")["score"].cast(pl.Float64)
        values.append((roc_auc_score(label, score), log_loss(label, score)))
    expected = np.subtract(*values)
    assert result["rows"] == 2000
    assert result["split"] is None
    assert [result["run"], result["against"]["run"]] == [str(run) for run in runs]
    assert result["metrics"]["auc"] == pytest.approx(values[0][0], abs=1e-9)
    assert result["against"]["metrics"]["auc"] == pytest.approx(values[1][0], abs=1e-9)
    for name, value in zip(("auc", "log_loss"), expected, strict=True):
        assert result["differences"][name]["value"] == pytest.approx(value, abs=1e-6)
        assert result["differences"][name]["low"] < value < result["differences"][name]["high"]
    assert result["differences"]["auc"]["better"] == "RUN"
    assert "RUN has a higher AUC than RUN2" in result["verdict"]
    assert "rows drawn anew" in result["holds_for"]
    assert "not for other seeds" in result["holds_for"]
    # With the runs exchanged the other one is better, by as much.
    swapped = against(widedeep, runs[1], "log.csv", "--against", runs[0])
    assert swapped["differences"]["auc"]["value"] == pytest.approx(-result["differences"]["auc"]["value"])
    assert swapped["differences"]["auc"]["better"] == "RUN2"


def test_a_run_against_itself_is_the_same_and_the_exit_code_is_0(trained: Path, widedeep: CommandLine) -> None:
    run = trained / "runs" / "small" / "latest"
    code, out, err = widedeep("eval", run, "--against", run, "--work", trained)
    assert (code, err) == (0, "")
    assert "RUN and RUN2 have the same AUC on these rows" in out
    result = against(widedeep, run, "--against", run, "--work", trained)
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]["test"]
    assert result["split"] == "test"
    assert result["metrics"]["auc"] == pytest.approx(metrics["auc"], abs=1e-9)
    assert result["differences"]["auc"] == {"value": 0.0, "low": 0.0, "high": 0.0, "better": None}


def test_the_table_fits_eighty_columns_and_names_a_slice_that_is_worse(train: Train, widedeep: CommandLine) -> None:
    runs = train("both", "training.epochs=3"), train("deep", "model.kind=deep", "training.deep.learning_rate=1e-6")
    code, out, err = widedeep("eval", runs[0], "--against", runs[1], "--split", "train", "--slice", "shape")
    assert code == 0, err
    assert max(len(line) for line in out.splitlines() if "/" not in line) <= 80
    assert "shape: flat" in out
    slices = against(widedeep, runs[0], "--against", runs[1], "--split", "train", "--slice", "shape")["slices"]
    assert (slices["columns"], slices["looked_at"], slices["too_small"]) == (["shape"], 3, 0)
    assert {one["value"] for one in slices["worse"]} <= {"round", "square, or so", "flat"}
    assert all(one["worse"] == "RUN2" and one["high"] < 0 for one in slices["worse"])


def test_by_default_the_slices_are_fields_of_few_values_a_missing_one_among_them(
    trained: Path, widedeep: CommandLine
) -> None:
    run = trained / "runs" / "small" / "latest"
    slices = against(widedeep, run, "--split", "train", "--against", run, "--work", trained)["slices"]
    assert slices["columns"] == ["color", "shape"]  # users are hashed
    assert slices["looked_at"] == 7  # four colours, one of them missing


def test_runs_that_read_other_columns_of_the_same_rows_are_compared(train: Train, widedeep: CommandLine) -> None:
    fewer = train("fewer", "features.categorical=[color]", "features.numeric=[price]", "crosses=[]")
    more = train("more")
    result, other = (against(widedeep, first, "--against", second) for first, second in ((fewer, more), (more, fewer)))
    assert result["differences"]["auc"]["value"] == pytest.approx(-other["differences"]["auc"]["value"])
    assert result["metrics"]["auc"] == pytest.approx(other["against"]["metrics"]["auc"])
    plain = json.loads(widedeep("eval", more, "--json")[1])["metrics"]
    assert result["against"]["metrics"]["auc"] == pytest.approx(plain["auc"], abs=1e-9)


def test_runs_of_another_split_are_compared_on_the_first_ones_rows_with_a_warning(
    train: Train, widedeep: CommandLine
) -> None:
    first, second = train("first"), train("second", "data.split.seed=7", "features.categorical=[color]", "crosses=[]")
    code, out, err = widedeep("eval", first, "--against", second, "--json")
    assert code == 0, err
    assert "differ in data.split: these are the test rows of the first run" in err
    assert "may have been trained on some of them" in err
    assert json.loads(out)["metrics"]["auc"] == pytest.approx(
        json.loads(widedeep("eval", first, "--json")[1])["metrics"]["auc"], abs=1e-9
    )
    code, out, err = widedeep("eval", second, "--against", first, "--json")
    assert (code, out) == (2, "")
    assert "it needs user, shape, which" in err
    assert "measure both on labelled files" in err
    assert against(widedeep, second, "log.csv", "--against", first)["rows"] == 2000


def test_weights_and_groups_are_the_first_runs(train: Train, project: Path, widedeep: CommandLine) -> None:
    frame = pl.read_csv(project / "log.csv").with_columns(w=pl.col("id") % 3)
    frame.write_csv(project / "log.csv")
    grouped, plain = train("grouped", "data.weight=w", "data.group=user"), train("plain", "model.kind=deep")
    code, out, err = widedeep("eval", grouped, "--against", plain, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert "differ in data.weight" in err
    assert result["differences"].keys() == {"auc", "gauc", "log_loss"}
    assert result["by_group"]
    assert "groups of rows drawn anew" in result["holds_for"]
    for name in ("auc", "gauc", "log_loss"):
        assert result["differences"][name]["value"] == pytest.approx(
            result["metrics"][name] - result["against"]["metrics"][name], abs=1e-6
        )
        # Too few of these rows' users have both classes for GAUC to have an interval.
        low = result["differences"][name]["low"]
        assert low is None if name == "gauc" else low < result["differences"][name]["value"]
    assert against(widedeep, plain, "--against", grouped)["differences"].keys() == {"auc", "log_loss"}


def test_sampled_negatives_are_no_hindrance(train: Train, widedeep: CommandLine) -> None:
    all_of_them, sampled = train("all"), train("sampled", "data.keep_negatives=0.5")
    code, out, err = widedeep("eval", all_of_them, "--against", sampled, "--json")
    assert (code, err) == (0, "")
    calibration = [json.loads(out)["metrics"]["calibration"], json.loads(out)["against"]["metrics"]["calibration"]]
    assert calibration == pytest.approx([1.0, 1.0], abs=0.35)


def test_a_regression_is_compared_by_squared_error_and_never_with_a_binary_label(
    train: Train, project: Path, widedeep: CommandLine
) -> None:
    settings = ("data.label={column: id, kind: regression}", "features.numeric=[price]", "crosses=[[color, shape]]")
    first, second, binary = train("one", *settings), train("two", *settings, "seed=1"), train("binary")
    result = against(widedeep, first, "--against", second)
    assert result["differences"].keys() == {"rmse"}
    assert result["differences"]["rmse"]["value"] == pytest.approx(
        result["metrics"]["rmse"] - result["against"]["metrics"]["rmse"]
    )
    code, out, err = widedeep("eval", first, "--against", binary)
    assert (code, out) == (2, "")
    assert "predicts a binary label" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against", "runs/none"], "runs/none: there is no run here"),
        (["--against", "small.yaml", "--slice", "colour"], "it reads price, age, color, user, shape"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    trained: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(trained)
    code, out, err = widedeep("eval", "small.yaml", *arguments)
    assert code != 0
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_a_few_rows_have_differences_and_no_interval(trained: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    lines = (trained / "new.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:6]) + "\n")
    run = trained / "runs" / "small" / "latest"
    result = against(widedeep, run, tmp_path / "few.csv", "--against", run)
    assert result["differences"]["log_loss"] == {"value": 0.0, "low": None, "high": None, "better": None}
    code, out, err = widedeep("eval", run, tmp_path / "few.csv", "--against", run)
    assert (code, err) == (0, "")
    assert "slices: none of the values of color, shape has enough rows" in " ".join(out.split())


def test_each_run_reads_its_own_side_tables(train: Train, project: Path, widedeep: CommandLine) -> None:
    users = pl.read_csv(project / "log.csv", infer_schema=False).select("user").unique().sort("user")
    for name, size in (("one", 2), ("other", 3)):
        tiers = users.with_row_index("row").select("user", tier=pl.format("t{}", pl.col("row") % size))
        tiers.write_csv(project / f"{name}.csv")
    first, second = (
        train(
            name,
            f"data.tables={{users: {{files: {name}.csv, key: user}}}}",
            "features.categorical=[color, users.tier]",
            "crosses=[]",
        )
        for name in ("one", "other")
    )
    plain = json.loads(widedeep("eval", second, "--json")[1])["metrics"]
    assert against(widedeep, first, "--against", second)["against"]["metrics"]["auc"] == pytest.approx(
        plain["auc"], abs=1e-9
    )


def test_every_number_is_a_slice_of_its_own(train: Train, project: Path, widedeep: CommandLine) -> None:
    from widedeep.scoring.labelled import score_labelled
    from widedeep.scoring.scorer import Scorer
    from widedeep.table.parts import typed_blocks

    numbers = [1234567.0, 1234568.0, 0.1234567, 0.12345678]
    frame = pl.read_csv(project / "log.csv", infer_schema=False)
    frame = frame.with_columns(big=pl.Series([repr(numbers[row % 4]) for row in range(len(frame))]))
    frame.write_csv(project / "log.csv")
    run = train("big", "features.numeric=[price, big]", "crosses=[]")
    typed = project / "stages" / "ingest" / json.loads((run / "manifest.json").read_text())["keys"]["ingest"]
    (column,) = score_labelled(Scorer.load(run), typed_blocks(typed, "train"), {"big": "big"}).slices
    assert sorted(map(str, column.values)) == ["0.1234567", "0.12345678", "1234567", "1234568"]
