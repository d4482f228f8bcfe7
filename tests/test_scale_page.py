"""docs/scale.md: its tables are the model's, and the model says what was measured with several workers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scale_model import (
    MEASURED,
    Cluster,
    Day,
    StageModel,
    check_tables,
    expected_distinct,
    plan_tables,
    training_models,
    zipf_distinct,
)

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return content


def test_the_tables_of_the_page_are_those_of_the_model(measured: dict[str, Any]) -> None:
    page = PAGE.read_text(encoding="utf-8").splitlines()
    lines = [*check_tables(measured), *plan_tables(measured, Cluster(), Day())]

    assert [line for line in lines if line not in page] == []


def test_the_bytes_of_a_step_are_foretold_to_a_tenth(measured: dict[str, Any]) -> None:
    told = {
        (figures["kind"], number): training_models(figures, int(number)).sent() / really
        for figures in measured["training"]
        for number, really in figures["sent"].items()
        if number != "1"
    }

    assert {way: ratio for way, ratio in told.items() if not 0.9 < ratio < 1.1} == {}


def test_a_model_fitted_to_one_worker_says_what_that_worker_took(measured: dict[str, Any]) -> None:
    for stage in ("ingest", "crosses", "predict"):
        model = StageModel.of(stage, measured)
        for m in measured["stages"]:
            if m["stage"] == stage and m["workers"] == 1:
                assert model.cpu(m["rows"], 1) == pytest.approx(m["cpu"], rel=1e-6)


@pytest.mark.parametrize("draws", [10, 1000])
def test_distinct_values_are_expected_as_often_as_draws_show_them(draws: int) -> None:
    shares = np.arange(1.0, 301.0) ** -1.05
    shares /= shares.sum()
    drawn = np.random.default_rng(0)

    shown = np.mean([len(np.unique(drawn.choice(300, draws, p=shares))) for _ in range(300)])

    assert expected_distinct(shares, draws) == pytest.approx(shown, rel=0.02)
    assert zipf_distinct(300, 1.05, draws) == pytest.approx(expected_distinct(shares, draws), rel=1e-9)
