"""A run that is loaded: its golden rows are checked, new rows are read as in training, odd values are counted."""

import io
import json
import math
import shutil
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from widedeep.errors import ArtefactError, ColumnError, DataError
from widedeep.reporting import Meter, Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.evaluate import evaluate_rows, evaluate_typed
from widedeep.scoring.labelled import score_labelled, score_only
from widedeep.scoring.rows import STDIN_NAME, InputRows
from widedeep.scoring.scorer import Scorer, logit_correction, write_golden_rows
from widedeep.scoring.tally import OddValues

RUN = Path(__file__).with_name("run-format-1")
ROWS = Path(__file__).with_name("run-format-1-scores.csv")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer.load(RUN)


@pytest.fixture
def own_run(tmp_path: Path) -> Path:
    shutil.copytree(RUN, tmp_path / "run")
    return tmp_path / "run"


def typed_rows(scorer: Scorer, *, labelled: bool = True, rows: Any = ROWS, **options: Any) -> list[pl.DataFrame]:
    given = {"input_format": None, "keep": (), "reporter": Reporter(), **options}
    return [typed for _, typed in InputRows(scorer, [rows], labelled=labelled, **given)]


# --------------------------------------------------------------------------------------------------------- golden rows


@pytest.mark.parametrize(("shift", "passes"), [(0.0, True), (9e-6, True), (-9e-6, True), (2e-5, False), (-2e-5, False)])
def test_a_golden_row_may_score_a_hundred_thousandth_apart(own_run: Path, shift: float, passes: bool) -> None:
    golden = pl.read_parquet(own_run / "golden.parquet")
    changed = [*golden["score"].to_list()[:-1], golden["score"][-1] + shift]
    golden.with_columns(pl.Series("score", changed, dtype=pl.Float64)).write_parquet(own_run / "golden.parquet")
    if passes:
        assert Scorer.load(own_run).base_dir is not None
        return
    with pytest.raises(ArtefactError) as caught:
        Scorer.load(own_run)
    message = str(caught.value)
    assert (
        f"golden.parquet: row {golden.height} scored {changed[-1]:.6g} when the run was finished and scores " in message
    )
    assert f"{golden['score'][-1]:.6g} now: the weights, the plan or a library changed; train again" in message


def test_golden_rows_that_are_lost_or_no_numbers_are_told(own_run: Path) -> None:
    golden = pl.read_parquet(own_run / "golden.parquet")
    golden.with_columns(score=pl.lit(float("nan"))).write_parquet(own_run / "golden.parquet")
    with pytest.raises(ArtefactError, match="row 1 scored nan"):
        Scorer.load(own_run)
    (own_run / "golden.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtefactError, match="cannot read the golden rows: the run is damaged"):
        Scorer.load(own_run)
    (own_run / "golden.parquet").unlink()
    with pytest.raises(ArtefactError, match=r"golden.parquet"):
        Scorer.load(own_run)
    recipe = (own_run / "recipe.yaml").read_text()
    (own_run / "recipe.yaml").write_text(recipe.replace("golden_rows: 3", "golden_rows: 0"))
    Scorer.load(own_run)


def test_golden_rows_are_kept_as_they_were_read_whatever_their_columns_are_called(
    tmp_path: Path, scorer: Scorer
) -> None:
    raw = pl.read_csv(ROWS, infer_schema=False).head(3)
    run = RunDirectory(tmp_path)
    write_golden_rows(scorer, run, raw)
    golden = pl.read_parquet(run.golden_path)
    assert golden.columns == ["raw", "typed", "score"]
    assert golden["raw"].struct.unnest().equals(raw.select("price", "color", "shape", "tags"))
    assert golden["typed"].struct.field("price").to_list() == raw["price"].cast(pl.Float64).to_list()
    typed = pl.concat(typed_rows(scorer, labelled=False)).head(3)
    assert golden["score"].to_list() == pytest.approx(scorer.score(typed)[0].tolist())


# ------------------------------------------------------------------------------------------------------------ new rows


def test_new_rows_need_no_label_unless_they_are_to_be_measured(tmp_path: Path, scorer: Scorer) -> None:
    bare = tmp_path / "bare.csv"
    pl.read_csv(ROWS).drop("click").write_csv(bare)
    assert typed_rows(scorer, labelled=False, rows=bare)[0].height == pl.read_csv(ROWS).height
    with pytest.raises(ColumnError, match="click"):
        typed_rows(scorer, labelled=True, rows=bare)


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_new_rows_may_come_in_any_format_which_may_be_named(tmp_path: Path, scorer: Scorer, form: str) -> None:
    table = pl.read_csv(ROWS, schema_overrides={"price": pl.String})
    path = tmp_path / "rows"
    {"csv": table.write_csv, "ndjson": table.write_ndjson, "parquet": table.write_parquet}[form](path)
    named = typed_rows(scorer, rows=path, input_format=form)
    path.rename(tmp_path / f"rows.{form}")
    by_ending = typed_rows(scorer, rows=tmp_path / f"rows.{form}")
    assert pl.concat(named).equals(pl.concat(by_ending))
    assert scorer.score(pl.concat(named))[0].tolist() == pytest.approx(table["score"].to_list(), abs=1e-6)


def test_a_stream_is_called_stdin(scorer: Scorer) -> None:
    good = ROWS.read_bytes()
    assert typed_rows(scorer, rows=io.BytesIO(good))[0].height == pl.read_csv(ROWS).height
    with pytest.raises(DataError, match=f"^{STDIN_NAME}:2: "):
        typed_rows(scorer, rows=io.BytesIO(b"color,shape,price,tags,click\nred,flat,dear,a,0\n"))


def test_progress_runs_over_the_bytes_of_all_files(tmp_path: Path, scorer: Scorer) -> None:
    for name in ("a.csv", "b.csv"):
        shutil.copy(ROWS, tmp_path / name)
    done: list[int] = []
    total: list[int] = []

    class Watching(Reporter):
        @contextmanager
        def work(self, title: str, size: int, unit: str) -> Any:  # type: ignore[override]
            total.append(size)
            meter = Meter()
            meter.update = lambda number, **_: done.append(number)  # type: ignore[method-assign]
            yield meter

    rows = InputRows(scorer, [str(tmp_path / "*.csv")], input_format=None, keep=(), labelled=True, reporter=Watching())
    assert sum(typed.height for _, typed in rows) == 2 * pl.read_csv(ROWS).height
    size = ROWS.stat().st_size
    assert (total, done[-1], done) == ([2 * size], 2 * size, sorted(done))
    assert size in done


def test_odd_values_are_summed_up_by_field() -> None:
    odd = OddValues()
    for missing, unseen in ((1, 0), (2, 3), (0, 4)):
        odd.add({"a": {"missing": missing, "unseen": unseen}, "b": {"missing": 0, "unseen": 0}})
    assert (odd.missing, odd.unseen) == ({"a": 3}, {"a": 7})


# ------------------------------------------------------------------------------------------------------------ measured


def test_metrics_are_those_of_scikit_learn_over_all_rows(scorer: Scorer) -> None:
    found = evaluate_rows(scorer, [ROWS], Reporter(), {})
    rows = pl.read_csv(ROWS)
    label, scores = rows["click"].to_numpy(), rows["score"].to_numpy()
    assert (found.rows, found.split, found.positives) == (rows.height, None, label.sum())
    assert found.metrics["log_loss"] == pytest.approx(log_loss(label, scores), rel=1e-5)
    assert found.metrics["auc"] == pytest.approx(roc_auc_score(label, scores))
    assert found.missing["color"] == rows["color"].null_count()
    frames = typed_rows(scorer)
    halves = [frames[0][:7], frames[0][7:], *frames[1:]]
    typed = evaluate_typed(scorer, iter(halves), split="test")
    assert (typed.split, typed.rows, typed.positives) == ("test", rows.height, label.sum())
    assert typed.metrics == pytest.approx(found.metrics)


def test_rows_to_compare_on_keep_their_targets_and_the_values_of_slices(scorer: Scorer) -> None:
    whole = pl.concat(typed_rows(scorer))
    found = score_labelled(scorer, iter([whole[:9], whole[9:]]), {"colour": "color", "cost": "price"})
    rows = pl.read_csv(ROWS)
    assert found.scores.tolist() == pytest.approx(rows["score"].to_list(), abs=1e-6)
    assert next(iter(found.targets.values())).tolist() == rows["click"].to_list()
    colour, cost = found.slices
    assert (colour.name, cost.name) == ("colour", "cost")
    assert [colour.values[code] for code in colour.code] == rows["color"].to_list()
    assert [cost.values[code] for code in cost.code] == [f"{price:g}" for price in rows["price"]]
    assert found.missing["color"] == rows["color"].null_count()
    assert found.metrics(scorer, found.scores)["auc"] == pytest.approx(roc_auc_score(rows["click"], rows["score"]))
    labelled = found.rows(scorer)
    assert labelled.label.tolist() == rows["click"].to_list()
    assert score_only(scorer, iter([whole[:9], whole[9:]])).tolist() == pytest.approx(found.scores.tolist(), abs=1e-6)


def test_without_rows_there_is_nothing_to_compare_on(scorer: Scorer) -> None:
    with pytest.raises(DataError, match="there are no rows to compare on"):
        score_labelled(scorer, iter([]), {})
    assert score_only(scorer, iter([])).tolist() == []


def test_values_of_a_slice_are_told_apart(scorer: Scorer) -> None:
    whole = pl.concat(typed_rows(scorer)).head(6)
    numbers = pl.Series("n", [3.0, 0.5, None, 1234567.0, 2.0**53, -(2.0**53) + 1])
    (found,) = score_labelled(scorer, iter([whole.with_columns(numbers)]), {"n": "n"}).slices
    assert [found.values[code] for code in found.code] == [
        "3",
        "0.5",
        None,
        "1234567",
        "9007199254740992.0",
        "-9007199254740991",
    ]


def test_a_logit_of_sampled_negatives_is_brought_back_to_all_of_them() -> None:
    recipe: Any = SimpleNamespace(data=SimpleNamespace(keep_negatives=0.25))
    assert logit_correction(recipe) == pytest.approx(math.log(0.25))


def test_a_run_of_which_a_part_is_lost_is_told(own_run: Path) -> None:
    kinds = own_run / "plan" / "source_kinds.json"
    known = json.loads(kinds.read_text())
    assert Scorer.load(own_run).source_kinds == known
    kinds.write_text("{")
    with pytest.raises(ArtefactError, match="the run is damaged"):
        Scorer.load(own_run)
    (own_run / "DONE").unlink()
    with pytest.raises(ArtefactError):
        Scorer.load(own_run)


def test_scores_are_float32_and_empty_for_no_rows(scorer: Scorer) -> None:
    scores, encoded = scorer.score(pl.concat(typed_rows(scorer)).head(0))
    assert (scores.dtype, len(scores), encoded.height) == (np.float32, 0, 0)
