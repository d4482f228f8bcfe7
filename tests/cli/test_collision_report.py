"""`widedeep crosses` tells what hashing costs, and `buckets: auto` is a setting like any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from widedeep_cli.console import print_collisions

CommandLine = Callable[..., tuple[int, str, str]]


def test_json_reports_on_every_hashed_field_and_cross(project: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("crosses", "small.yaml", "--json")
    assert code == 0, err
    result = json.loads(out)
    user, cross = result["collisions"]
    assert user.keys() == cross.keys()
    assert list(user) == [
        *("name", "columns", "kind", "buckets", "distinct", "load", "expected_collisions", "observed_collisions"),
        *("collided_traffic", "buckets_for_limit", "worst"),
    ]
    assert (user["name"], user["columns"], user["kind"], user["buckets"]) == ("user", ["user"], "field", 50)
    assert (cross["name"], cross["columns"], cross["kind"]) == ("color x price", ["color", "price"], "cross")
    assert user["load"] == user["distinct"] / 50
    assert user["distinct"] >= user["observed_collisions"] > 0
    assert user["collided_traffic"] > 0.5
    worst = user["worst"][0]
    assert worst.keys() == {"bucket", "share", "distinct", "values"}
    assert worst["values"][0].keys() == {"value", "count"}
    assert worst["values"][0]["value"].startswith("u")
    members = cross["worst"][0]["values"][0]["members"]
    assert members["color"] in ("red", "green", "blue", None)
    assert members["price"].startswith(("< ", "[", ">= "))
    vocabulary, hashed = result["crosses"]
    assert vocabulary["collisions"] is None
    assert (hashed["collisions"], hashed["distinct"]) == (cross["observed_collisions"], cross["distinct"])
    assert hashed["distinct"] > 0


def test_a_second_report_is_read_from_the_stage_and_equal(project: Path, widedeep: CommandLine) -> None:
    first = json.loads(widedeep("crosses", "small.yaml", "--json")[1])
    (stage,) = (project / "stages" / "collisions").iterdir()
    assert sorted(path.name for path in stage.iterdir()) == ["DONE", "report.json"]
    written = (stage / "report.json").stat().st_mtime_ns
    second = json.loads(widedeep("crosses", "small.yaml", "--json")[1])
    assert (first.pop("cached"), second.pop("cached")) == (False, True)
    assert first == second
    assert (stage / "report.json").stat().st_mtime_ns == written


def test_the_tables_fit_80_columns_and_name_the_values_that_share_a_bucket(
    project: Path, widedeep: CommandLine
) -> None:
    recipe = (project / "small.yaml").read_text().replace("buckets: 100}", "buckets: 2}")
    (project / "small.yaml").write_text(recipe)
    code, out, err = widedeep("crosses", "small.yaml", "--set", "features.categorical.2.buckets=auto")
    assert code == 0, err
    assert max(len(line) for line in out.splitlines() if str(project) not in line) <= 80
    titles = ["hashed", "distinct", "buckets", "load", "collided", "expected", "traffic", "enough"]
    assert titles in [line.split() for line in out.splitlines()]
    assert "most traffic in shared buckets of user:" in out
    assert "most traffic in shared buckets of color x price:" in out
    assert "most traffic in shared buckets of shape:" not in out


def test_odd_values_are_cut_and_break_no_line(project: Path, widedeep: CommandLine) -> None:
    rows = ['"a\nb",0'] * 3 + [f"{'x' * 200},1"] * 2 + ["y,1"]
    (project / "log.csv").write_text("\n".join(["user,click", *rows]) + "\n")
    (project / "later.csv").write_text((project / "log.csv").read_text())
    data = "{train: log.csv, valid: later.csv, test: later.csv, label: click}"
    recipe = f"data: {data}\nfeatures: {{categorical: [{{column: user, buckets: 1}}]}}\n"
    (project / "odd.yaml").write_text(recipe)
    code, out, err = widedeep("crosses", "odd.yaml")
    assert code == 0, err
    assert out.startswith("hashed")
    assert f"  100.00%  a·b (3), {'x' * 19}… (2), y (1)" in out.splitlines()


def test_without_hashing_there_is_neither_table_nor_stage(project: Path, widedeep: CommandLine) -> None:
    recipe = (project / "small.yaml").read_text().replace(", buckets: 50", "").replace(", buckets: 100", "")
    (project / "small.yaml").write_text(recipe)
    assert "enough" not in widedeep("crosses", "small.yaml")[1]
    assert json.loads(widedeep("crosses", "small.yaml", "--json")[1])["collisions"] == []
    assert not (project / "stages" / "collisions").exists()


def test_train_makes_no_collision_report_and_its_run_holds_what_auto_chose(
    project: Path, widedeep: CommandLine
) -> None:
    chosen = ("--set", "features.categorical.1.buckets=auto", "--set", "crosses.1.buckets=auto")
    code, out, err = widedeep("train", "small.yaml", *chosen, "--set", "training.epochs=1", "--json")
    assert code == 0, err
    assert not (project / "stages" / "collisions").exists()
    run = Path(json.loads(out)["run"])
    assert (run / "recipe.yaml").read_text().count("buckets: auto") == 2
    plan = json.loads((run / "plan" / "plan.json").read_text())
    report = json.loads(widedeep("crosses", "small.yaml", *chosen, "--json")[1])["collisions"]
    in_plan = [plan["categoricals"][1]["buckets"], plan["crosses"][1]["buckets"]]
    assert in_plan == [entry["buckets"] for entry in report] == [entry["buckets_for_limit"] for entry in report]
    assert widedeep("predict", run, "log.csv", "-o", "scores.csv")[0] == 0


@pytest.mark.parametrize(("buckets", "told"), [("0", "0"), (str(2**40), str(2**40)), ("autos", "the text 'autos'")])
@pytest.mark.parametrize("place", ["features.categorical.1", "crosses.1"])
def test_a_bad_number_of_buckets_gives_one_clear_message(
    place: str, buckets: str, told: str, project: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("crosses", "small.yaml", "--set", f"{place}.buckets={buckets}")
    assert (code, out) == (2, "")
    rule = "must be a whole number from 1 to 2147483645, or auto"
    assert err == f"widedeep: error: --set: {place}.buckets: {rule}, is {told}\n"


def test_the_largest_numbers_and_a_long_name_fit_80_columns_uncut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    entry: dict[str, Any] = {
        "name": "advertiser_category x user_agent",
        "buckets": 2**31 - 3,
        "distinct": 134_217_728,
        "load": 0.0625,
        "expected_collisions": 8_131_824.7,
        "observed_collisions": 8_131_825,
        "collided_traffic": 0.0606,
        "buckets_for_limit": None,
        "worst": [],
    }
    print_collisions([entry, {**entry, "buckets_for_limit": 2**30}], apart=False)
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    for shown in ("134,217,728", "2,147,483,645", "0.062", "8,131,825", "6.06%", "none", "1,073,741,824"):
        assert shown in out
