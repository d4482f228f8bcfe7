"""`widedeep ablate`: wide, deep, wide & deep with and without crosses, paired with the whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CommandLine = Callable[..., tuple[int, str, str]]
VARIANTS = [("wide", False), ("wide", True), ("deep", False), ("wide_deep", False), ("wide_deep", True)]


def ablate(widedeep: CommandLine, *arguments: str) -> Any:
    code, out, err = widedeep("ablate", "small.yaml", "--json", "--set", "training.epochs=2", *arguments)
    assert code == 0, err
    return json.loads(out)


def test_five_variants_are_trained_and_paired_with_the_whole(project: Path, widedeep: CommandLine) -> None:
    result = ablate(widedeep)
    variants = {(one["kind"], one["crosses"]): one for one in result["variants"]}
    assert list(variants) == VARIANTS
    assert result["split"] == "test"
    whole = variants["wide_deep", True]
    assert whole["differences"]["auc"] == {"value": 0.0, "low": 0.0, "high": 0.0, "better": None}
    assert Path(whole["runs"][0]["run"]).parent.name == "small"
    for one in variants.values():
        difference = one["metrics"]["auc"]["mean"] - whole["metrics"]["auc"]["mean"]
        assert one["differences"]["auc"]["value"] == pytest.approx(difference, abs=1e-6)
    # The label depends on a cross of colour and shape.
    assert result["crosses_add"].keys() == {"wide", "wide_deep"}
    assert result["crosses_add"]["wide"]["auc"]["low"] > 0
    assert "wide_deep with crosses has a higher AUC than wide without crosses" in result["verdict"]
    assert "not for other seeds" in result["holds_for"]
    # The difference of two variants is what `eval --against` says of their runs.
    runs = [variants[key]["runs"][0]["run"] for key in (("deep", False), ("wide_deep", True))]
    paired = json.loads(widedeep("eval", runs[0], "--against", runs[1], "--json")[1])["differences"]["auc"]
    for end in ("value", "low", "high"):
        assert variants["deep", False]["differences"]["auc"][end] == pytest.approx(paired[end], abs=1e-9)


def test_runs_and_stages_that_are_there_are_not_made_again(project: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("train", "small.yaml", "--json", "--set", "training.epochs=2")
    assert code == 0, err
    run = json.loads(out)["run"]
    first = ablate(widedeep)
    whole = first["variants"][-1]["runs"][0]
    assert (whole["run"], whole["already_done"]) == (run, True)
    again = ablate(widedeep)
    assert all(one["runs"][0]["already_done"] for one in again["variants"])
    assert [one["differences"] for one in again["variants"]] == [one["differences"] for one in first["variants"]]
    assert len(list(project.glob("stages/ingest/*"))) == 1
    assert len(list(project.glob("stages/encoded/*"))) == 2


def test_over_seeds_the_interval_speaks_of_other_seeds(project: Path, widedeep: CommandLine) -> None:
    arguments = ("ablate", "small.yaml", "--kinds", "deep,wide", "--seeds", "2", "--set", "training.epochs=1")
    code, out, err = widedeep(*arguments)
    assert code == 0, err
    assert max(len(line) for line in out.splitlines() if "runs/" not in line) <= 80
    assert "the mean of 2 other seeds" in " ".join(out.split())
    result = json.loads(widedeep(*arguments, "--json")[1])
    assert [(one["kind"], one["crosses"]) for one in result["variants"]] == [VARIANTS[2], VARIANTS[0], VARIANTS[1]]
    assert all(len(one["runs"]) == 2 for one in result["variants"])
    assert result["variants"][0]["metrics"]["auc"]["deviation"] > 0
    assert result["verdict"].startswith("wide with crosses ")


def test_a_recipe_without_crosses_has_three_variants(project: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("ablate", "small.yaml", "--json", "--set", "crosses=[]", "--set", "training.epochs=1")
    assert code == 0
    result = json.loads(out)
    assert [one["kind"] for one in result["variants"]] == ["wide", "deep", "wide_deep"]
    assert result["crosses_add"] == {}
    assert "none of these recipes has crosses" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kinds", "wide,dep"], "--kinds dep: must be some of wide, deep, wide_deep"),
        (["--kinds", "deep"], "one model alone has nothing to be compared with"),
        (["--seeds", "0"], "--seeds"),
        (["--set", "model.knd=wide"], "model.knd"),
    ],
)
def test_what_cannot_be_ablated_is_refused(
    project: Path, widedeep: CommandLine, arguments: list[str], words: str
) -> None:
    code, out, err = widedeep("ablate", "small.yaml", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not (project / "runs").exists()


def test_a_linear_part_that_comes_with_crosses_is_told(project: Path, widedeep: CommandLine) -> None:
    out = widedeep("ablate", "small.yaml", "--kinds", "wide,dcn", "--set", "training.epochs=1")[1]
    told = " ".join(out.split())
    assert "crosses add to wide: " in told
    assert "crosses, and the linear part that comes with them, add to dcn: " in told
