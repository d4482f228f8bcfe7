"""`widedeep split-check`: kinds ranked under several splits, and a sentence on which ranking to trust."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sample_projects import only_json

from widedeep.comparison.split_check import RankedKind, Ranking, Way, _overrides, _verdict
from widedeep.evaluation.comparison import Change
from widedeep.recipe.load import LoadedRecipe, parse_recipe
from widedeep.runs import RunDirectory

Widedeep = Callable[..., tuple[int, str, str]]
COMMAND = ("split-check", "small.yaml", "--kinds", "wide,deep", "--set", "training.epochs=1")


def test_kinds_are_ranked_under_each_split_by_runs_that_lie_there(project: Path, widedeep: Widedeep) -> None:
    code, out, err = widedeep(*COMMAND, "--key", "user", "--json")
    assert code == 0, err
    told = only_json(out)

    assert (told["metric"], told["key"], told["trust"]) == ("auc", "user", "key")
    assert [split["split"] for split in told["splits"]] == ["random", "key"]
    for split in told["splits"]:
        assert {kind["kind"] for kind in split["kinds"]} == {"wide", "deep"}
        best, other = split["kinds"]
        assert best["behind"]["auc"]["value"] == 0.0
        difference = other["metrics"]["auc"]["value"] - best["metrics"]["auc"]["value"]
        assert other["behind"]["auc"]["value"] == pytest.approx(difference, abs=1e-9)
        assert difference < 0
        for kind in split["kinds"]:
            test = RunDirectory(Path(kind["run"])).facts()["metrics"]["test"]
            assert kind["metrics"]["auc"]["value"] == pytest.approx(test["auc"], abs=1e-6)
            assert split["rows"] == test["rows"]
    assert "log_loss" in told["splits"][0]["kinds"][0]["metrics"]

    code, out, err = widedeep(*COMMAND, "--key", "user")
    assert code == 0
    assert err.count("taken as it is") == 4
    assert "Trust the split by user if rows to be scored have new values of user" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "name the column of times in data.time"),
        (("--key", "user", "--kinds", "wide"), "needs two kinds at least"),
        (("--key", "user", "--kinds", "wide,depe"), "--kinds depe"),
        (("--set", "data.split={kind: column, column: shape, test: flat}"), "has one split only"),
        (("--key", "click"), "data.label"),
        (("--key", "nobody"), "no column 'nobody'"),
        (("--key", "user", "--kinds", "wide,fm", "--set", "model.embeddings.dim=auto"), "all need one width"),
    ],
)
def test_where_nothing_can_be_compared_the_command_says_so(
    options: tuple[str, ...], words: str, project: Path, widedeep: Widedeep
) -> None:
    code, out, err = widedeep("split-check", "small.yaml", *options)

    assert (code, out) == (2, "")
    assert words in err
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("split", "seeds"),
    [
        ("kind: random, seed: 7", {"random": 7, "key": 7, "time": None}),
        ("kind: key, key: user, seed: 5", {"random": 5, "key": 5, "time": None}),
        ("kind: time", {"random": 0, "key": 0, "time": None}),
    ],
)
def test_a_split_is_drawn_with_the_seed_that_the_recipe_gives_it(split: str, seeds: dict[Way, int | None]) -> None:
    def load(more: Sequence[str]) -> LoadedRecipe:
        text = "data: {train: log.csv, label: click, time: day}\nfeatures: {categorical: [user]}\n"
        return parse_recipe(text, "", Path(), "small", [f"data.split={{{split}}}", *more])

    base = load(()).recipe
    drawn = {way: load(_overrides(base, way, "user", "wide")).recipe.data.split for way in seeds}
    assert {way: getattr(drawn[way], "seed", None) for way in seeds} == seeds


def ranking(way: str, best: tuple[str, float], other: tuple[str, float], error: float) -> Ranking:
    kinds = [
        RankedKind(
            kind, Path(kind), {"auc": Change(auc, 0.001)}, {"auc": Change(auc - best[1], error * (kind != best[0]))}
        )
        for kind, auc in (best, other)
    ]
    return Ranking(way, tuple(kinds), 1000, False)  # type: ignore[arg-type]


def test_the_verdict_tells_another_choice_and_figures_that_flatter() -> None:
    random = ranking("random", ("deep", 0.80), ("wide", 0.79), 0.001)
    by_time = ranking("time", ("wide", 0.72), ("deep", 0.70), 0.002)
    told = _verdict("auc", [random, by_time], "time", None)
    assert told.startswith("Trust the split by time: ")
    assert (
        "The random split would choose deep, which the time split finds worse than wide: AUC differs by -0.02" in told
    )
    assert (
        "It flatters wide: its AUC there is 0.7900 ±0.0020, and 0.7200 ±0.0020 under the time split (+0.07000)" in told
    )
    assert (random.told("auc"), by_time.told("auc")) == ("deep > wide", "wide > deep")

    unsure = ranking("time", ("wide", 0.79), ("deep", 0.789), 0.01)
    told = _verdict("auc", [random, unsure], "time", None)
    assert told.endswith("The random split would choose deep, which the time split cannot tell from wide.")
    assert unsure.told("auc") == "wide ≈ deep"
    assert _verdict("auc", [by_time, by_time], "time", None).count("too") == 0
    assert _verdict("auc", [ranking("random", ("wide", 0.72), ("deep", 0.7), 0.1), by_time], "time", None).endswith(
        "The random split chooses wide too."
    )
