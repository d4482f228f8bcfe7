"""`crosses RUN --weights`: the strongest wide weights, held against the model itself and a literal reading of the rows."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from widedeep.features.plan import FeaturePlan
from widedeep.pipeline import experiment
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.weights import wide_weights
from widedeep.table.parts import read_typed
from widedeep.table.typed_columns import LABEL

CommandLine = Callable[..., tuple[int, str, str]]

RECIPE = """\
name: planted
data:
  train: log.csv
  label: click
  split: {kind: random, valid: 0.1, test: 0.1}
features:
  numeric: [{column: price, buckets: 5, clip: [null, 60]}, age]
  categorical: [color, shape, {column: user, buckets: 7}]
  multi_valued:
    - {column: tags, separator: "|"}
    - {column: words, separator: " ", buckets: 4}
crosses:
  - [color, shape]
  - [price, tags]
  - {fields: [words, user], buckets: 30}
  - {fields: [color, age], granularity: {age: 4}}
model: {kind: wide}
training: {epochs: 3, batch_size: 64, threads: 1}
"""
FIELDS = {"color": "color", "shape": "shape", "user": "user", "price": "price", "age": "age"}
LISTS = {"tags": "tags@values", "words": "words@values"}
LONG = "a-colour-whose-name-goes-on-and-on-" * 6


def write_log(path: Path, *, rows: int = 1500) -> None:
    """A log that says above all this: a red round thing is clicked; and something of every other cross of the recipe."""
    draw = random.Random(3)
    records = []
    for row in range(rows):
        color = draw.choice(["red", "green", "missing", None, LONG])
        shape = draw.choice(["round", "flat", "square, or so"])
        user, age = 0 if draw.random() < 0.4 else draw.randrange(40), draw.randint(18, 80)
        price = None if draw.random() < 0.1 else round(draw.lognormvariate(2, 1), 2)
        tags = [draw.choice("abc") for _ in range(draw.randrange(4))]
        words = [draw.choice("pqrstu") for _ in range(draw.randrange(3))]
        rate = 0.06
        rate += 0.2 * ((color == "green") == (age > 49))
        rate += 0.2 * (("a" in tags) == (price is not None and price > 7))
        rate += 0.2 * (("p" in words) == (user == 0))
        if (color, shape) == ("red", "round"):
            rate = 0.97
        records.append(
            {
                "color": "seen once" if row in (7, 8, 9) else color,
                "shape": f"only in row {row}" if row in (4, 5) else shape,
                "user": f"u{user}",
                "price": price,
                "age": age,
                "tags": "|".join(tags) or None,
                "words": " ".join(words) or None,
                "click": int(draw.random() < rate),
            }
        )
    pl.DataFrame(records).write_csv(path)


def train(folder: Path, recipe: str) -> Path:
    (folder / "planted.yaml").write_text(recipe)
    return experiment.train(load_recipe(folder / "planted.yaml"), folder, Reporter()).run


@pytest.fixture(scope="module", params=["out_of_fold", "gradient"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    write_log(folder / "log.csv")
    return train(folder, RECIPE.replace("{kind: wide}", f"{{kind: wide, wide: {{crosses: {request.param}}}}}"))


def shown(widedeep: CommandLine, run: Path, *options: str | Path) -> dict[str, Any]:
    code, out, err = widedeep("crosses", run, "--weights", "--json", *options)
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def every(run: Path, widedeep: CommandLine) -> list[dict[str, Any]]:
    """Every weight that a train row holds."""
    return shown(widedeep, run, "--top", "100000", "--min-support", "1")["weights"]


def typed_train(run: Path) -> pl.DataFrame:
    (folder,) = run.parents[2].glob("stages/ingest/*")
    return read_typed(folder, "train")


def holds(row: dict[str, Any], values: dict[str, str | None]) -> bool:
    return all(_holds(row, field, value) for field, value in values.items())


def _holds(row: dict[str, Any], field: str, value: str | None) -> bool:
    if field in LISTS:
        return row[LISTS[field]] is None if value is None else value in (row[LISTS[field]] or [])
    found = row[FIELDS[field]]
    if value is None or found is None:
        return value is found
    if field not in ("price", "age"):
        return bool(found == value)
    found = min(found, 60.0) if field == "price" else found
    if value.startswith("< "):
        return bool(found < float(value[2:]))
    if value.startswith(">= "):
        return bool(found >= float(value[3:]))
    low, high = value[1:-1].split(", ")
    return bool(float(low) <= found < float(high))


def test_the_planted_cross_is_the_strongest_weight_with_its_real_values(run: Path, widedeep: CommandLine) -> None:
    first = shown(widedeep, run)["weights"][0]
    assert (first["column"], first["kind"]) == ("color x shape", "cross")
    assert first["values"] == {"color": "red", "shape": "round"}
    assert first["weight"] > 0
    assert first["lift"] > 2


def test_support_positives_and_lift_are_those_of_the_train_rows_that_hold_the_values(
    run: Path, every: list[dict[str, Any]]
) -> None:
    rows = typed_train(run).to_dicts()
    rate = sum(row[LABEL] for row in rows) / len(rows)
    checked = set()
    for weight in every:
        if weight["stands_for"] == "unknown" or weight["shared_by"] is not None:
            continue
        held = [row[LABEL] for row in rows if holds(row, weight["values"])]
        assert (weight["support"], weight["positives"]) == (len(held), sum(held)), weight
        assert weight["lift"] == pytest.approx(sum(held) / len(held) / rate)
        checked.add((weight["column"], weight["stands_for"]))
    assert checked >= {
        *((column, "values") for column in ("color", "price", "tags", "color x shape", "price x tags", "age x color")),
        *((column, "missing") for column in ("color", "price", "tags", "words")),
    }


def test_a_rows_wide_weights_add_up_to_its_logit(run: Path) -> None:
    scorer = Scorer.load(run)
    weights = wide_weights(RunDirectory(run), scorer.plan)
    wide = scorer.network.wide
    assert wide is not None
    scores, encoded = scorer.score(typed_train(run))
    logits = encoded.select(scorer.layout.numeric_columns).to_numpy() @ wide.numeric.detach().numpy()
    logits += scorer.network.bias.item()
    for name, of_column in weights.items():
        rows = [[indices] if isinstance(indices, int) else indices for indices in encoded[name]]
        logits += [of_column[indices].sum() for indices in rows]
    assert np.log(scores / (1 - scores)) == pytest.approx(logits, abs=1e-4)


def test_the_weight_shown_is_the_one_that_a_row_with_these_values_has(run: Path, every: list[dict[str, Any]]) -> None:
    plan = FeaturePlan.load(run / "plan")
    weights = wide_weights(RunDirectory(run), plan)
    encoded = plan.encode(typed_train(run))
    rows = typed_train(run).to_dicts()
    for weight in every:
        if weight["stands_for"] == "unknown":
            continue
        name = "price\x01buckets" if weight["column"] == "price" else weight["column"]
        row = next(i for i, one in enumerate(rows) if holds(one, weight["values"]))
        indices = [encoded[name][row]] if isinstance(encoded[name][row], int) else encoded[name][row].to_list()
        assert weight["weight"] in weights[name][indices].tolist(), weight


def test_a_hashed_weight_shows_its_most_frequent_value_and_how_many_share_it(
    run: Path, every: list[dict[str, Any]]
) -> None:
    frame = typed_train(run)
    buckets = frame.select("user").hstack(FeaturePlan.load(run / "plan").encode(frame).select(bucket="user"))
    weights = {weight["values"]["user"]: weight for weight in every if weight["column"] == "user"}
    assert len(weights) == buckets["bucket"].n_unique()
    for _, part in buckets.group_by("bucket"):
        counts = part.group_by("user").len().sort("len", "user", descending=[True, False])
        weight = weights[counts["user"][0]]
        assert weight["support"] == len(part)
        assert weight["shared_by"] == len(counts)
        assert weight["share"] == pytest.approx(counts["len"][0] / len(part))


def test_a_hashed_cross_with_a_list_shows_members_that_a_row_holds(run: Path, every: list[dict[str, Any]]) -> None:
    rows = typed_train(run).to_dicts()
    weights = [weight for weight in every if weight["column"] == "user x words"]
    assert len(weights) > 20
    for weight in weights:
        held = sum(holds(row, weight["values"]) for row in rows)
        assert held == round(weight["share"] * weight["support"]) > 0
    # 40 users, 6 words and the missing one: every combination is somewhere, once.
    combinations = {(row["user"], word) for row in rows for word in row["words@values"] or [None]}
    assert sum(weight["shared_by"] for weight in weights) == len(combinations)


def test_rare_values_are_shown_as_unknown(run: Path, every: list[dict[str, Any]]) -> None:
    rows = typed_train(run)
    (weight,) = (one for one in every if one["column"] == "shape" and one["stands_for"] == "unknown")
    assert weight["values"] is None
    assert weight["support"] == rows["shape"].str.starts_with("only in row").sum() > 0


def test_weights_are_sorted_by_magnitude_and_cut_by_support_and_top(
    run: Path, every: list[dict[str, Any]], widedeep: CommandLine
) -> None:
    magnitudes = [abs(weight["weight"]) for weight in every]
    assert magnitudes == sorted(magnitudes, reverse=True)
    supported = [weight for weight in every if weight["support"] >= 200]
    assert shown(widedeep, run, "--min-support", "200", "--top", "5")["weights"] == supported[:5]
    default = shown(widedeep, run)
    assert default["min_support"] == 10
    assert default["weights"] == [weight for weight in every if weight["support"] >= 10][:20]


def test_the_json_object_has_these_keys_exactly(run: Path, widedeep: CommandLine) -> None:
    found = shown(widedeep, run, "--top", "1")
    assert found.keys() == {"weights", "rows", "mean", "min_support", "run"}
    assert found["rows"] == len(typed_train(run))
    assert found["mean"] == pytest.approx(typed_train(run)[LABEL].mean())
    assert found["run"] == str(run.resolve())
    keys = "column kind stands_for values weight support positives mean lift shared_by share"
    assert found["weights"][0].keys() == set(keys.split())


def test_the_table_fits_80_columns_and_tells_a_missing_value_from_the_text_missing(
    run: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = widedeep("crosses", run, "--weights", "--top", "100000", "--min-support", "1")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["weight", "lift", "support", "values"]
    assert max(len(line) for line in lines if not line.startswith("run ")) <= 80
    texts = [line[24:].strip() for line in lines]
    assert "color: missing" in texts
    assert 'color: "missing"' in texts
    assert "shape: unknown or rare" in texts
    assert LONG in "".join(texts)
    assert "\x1b" not in out


def test_a_run_moved_elsewhere_without_its_stages_shows_the_same_weights(
    run: Path, widedeep: CommandLine, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "moved")
    options = ("--top", "100000", "--min-support", "1")
    code, out, err = widedeep("crosses", tmp_path / "moved", "--weights", "--json", "--work", tmp_path / "w", *options)
    assert code == 0
    assert "reading the recipe's files again" in err
    assert json.loads(out)["weights"] == shown(widedeep, run, *options)["weights"]


def test_values_that_changed_files_no_longer_hold_are_said_to_be_gone(widedeep: CommandLine, tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv")
    planted = train(tmp_path, RECIPE)
    shutil.rmtree(tmp_path / "stages" / "ingest")
    log = pl.read_csv(tmp_path / "log.csv")
    log.with_columns(pl.col("color").replace("red", "blue")).write_csv(tmp_path / "log.csv")
    code, out, err = widedeep("crosses", planted, "--weights", "--work", tmp_path, "--top", "1")
    assert code == 0
    assert "data files have changed" in err
    assert "color x shape: gone from the data files" in out


def test_a_recipe_stands_for_its_latest_run_and_no_torch_is_imported(run: Path) -> None:
    folder = run.parents[2]
    arguments = ["crosses", str(folder / "planted.yaml"), "--weights", "--work", str(folder)]
    program = (
        "import sys; from widedeep_cli.main import dispatch; "
        f"code = dispatch({arguments!r}); sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "color: red, shape: round" in done.stdout


def test_a_regression_shows_how_far_the_mean_label_lies_from_that_of_all_rows(
    widedeep: CommandLine, tmp_path: Path
) -> None:
    write_log(tmp_path / "log.csv", rows=600)
    regression = train(tmp_path, RECIPE.replace("label: click", "label: {column: click, kind: regression}"))
    found = shown(widedeep, regression, "--work", tmp_path)
    held = [weight for weight in found["weights"] if weight["column"] == "color x shape"]
    rows = typed_train(regression).to_dicts()
    for weight in held:
        labels = [row[LABEL] for row in rows if holds(row, weight["values"])]
        assert (weight["positives"], weight["lift"]) == (None, None)
        assert weight["mean"] == pytest.approx(sum(labels) / len(labels))
    assert held
    assert "mean diff" in widedeep("crosses", regression, "--weights", "--work", tmp_path)[1].splitlines()[0]


def test_lift_counts_the_negatives_that_training_left_out(widedeep: CommandLine, tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv")
    sampled = train(tmp_path, RECIPE.replace("  label: click", "  label: click\n  keep_negatives: 0.25"))
    found = shown(widedeep, sampled, "--work", tmp_path)
    labels = typed_train(sampled)[LABEL]
    positives = labels.sum()
    assert found["mean"] == pytest.approx(positives / (positives + 4 * (len(labels) - positives)))
    weight = found["weights"][0]
    rate = weight["positives"] / (weight["positives"] + 4 * (weight["support"] - weight["positives"]))
    assert weight["lift"] == pytest.approx(rate / found["mean"])


def test_a_run_without_a_wide_part_is_refused(widedeep: CommandLine, tmp_path: Path) -> None:
    write_log(tmp_path / "log.csv", rows=300)
    deep = train(tmp_path, RECIPE.replace("{kind: wide}", "{kind: deep, deep: {hidden: [4]}}"))
    code, out, err = widedeep("crosses", deep, "--weights", "--work", tmp_path)
    assert (code, out) == (2, "")
    assert "has no wide part, and so no wide weights" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "--set", "training.epochs=1"], "--set training.epochs=1: changes a recipe"),
        (["--top", "3"], "--top: says which weights to show: add --weights"),
        (["--min-support", "3"], "--min-support: says which weights to show: add --weights"),
        (["--weights", "--top", "0"], "--top"),
    ],
)
def test_options_that_do_not_belong_together_are_a_usage_error(
    run: Path, widedeep: CommandLine, options: list[str], message: str
) -> None:
    code, out, err = widedeep("crosses", run, *options)
    assert (code, out) == (2, "")
    assert message in err


def test_no_finished_run_and_a_damaged_checkpoint_are_told(run: Path, widedeep: CommandLine, tmp_path: Path) -> None:
    code, _, err = widedeep("crosses", run.parents[2] / "planted.yaml", "--weights", "--work", tmp_path)
    assert code == 4
    assert "recipe planted has no finished run here" in err
    shutil.copytree(run, tmp_path / "damaged")
    (tmp_path / "damaged" / "checkpoints" / "best.safetensors").write_bytes(b"no weights at all")
    RunDirectory(tmp_path / "damaged").pin()
    code, _, err = widedeep("crosses", tmp_path / "damaged", "--weights", "--work", tmp_path)
    assert code == 4
    assert "best.safetensors: a damaged checkpoint" in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_that_has_lost_its_memory_of_crosses_or_has_another_is_told(
    widedeep: CommandLine, tmp_path: Path
) -> None:
    write_log(tmp_path / "log.csv", rows=300)
    planted = train(tmp_path, RECIPE)
    memory = planted / "plan" / "memory.safetensors"
    other = train(tmp_path, RECIPE.replace("buckets: 30", "buckets: 31"))
    shutil.copyfile(other / "plan" / "memory.safetensors", memory)
    for expected in ("the memory of other crosses than the plan's", "no readable memory of crosses"):
        RunDirectory(planted).pin()
        for command in (["crosses", planted, "--weights"], ["predict", planted, tmp_path / "log.csv", "-o", "-"]):
            code, out, err = widedeep(*command)
            assert (code, out) == (4, "")
            assert f"memory.safetensors: {expected}" in err
            assert len(err.strip().splitlines()) == 1
        memory.unlink(missing_ok=True)


def test_nothing_with_enough_support_is_an_empty_result(run: Path, widedeep: CommandLine) -> None:
    assert shown(widedeep, run, "--min-support", "1000000")["weights"] == []
    code, out, _ = widedeep("crosses", run, "--weights", "--min-support", "1000000")
    assert code == 0
    assert "at least 1,000,000 of" in out


def test_a_cross_has_its_plain_name_where_a_field_is_called_so_too(project: Path, widedeep: CommandLine) -> None:
    for name in ("log.csv", "small.yaml"):
        text = (project / name).read_text()
        text = text.replace("id,color,shape,user,", "id,color,shape,color x shape,").replace(
            "column: user", "column: color x shape"
        )
        (project / name).write_text(text)
    code, out, err = widedeep("train", "small.yaml", "--json", "--set", "training.epochs=1")
    assert code == 0, err

    weights = shown(widedeep, json.loads(out)["run"], "--top", "500", "--min-support", "1")["weights"]

    kinds = {(weight["column"], weight["kind"]) for weight in weights}
    assert {("color x shape", "categorical"), ("color x shape", "cross")} <= kinds
    assert not [column for column, _ in kinds if "\x01" in column]
