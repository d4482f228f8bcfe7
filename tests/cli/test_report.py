"""`widedeep report`: one page about runs that needs nothing beside it, true to what `eval` says, safe whatever the values."""

import csv
import importlib.util
import json
import random
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]

HOSTILE = "<script>alert('red')</script>"
RECIPE = """\
data:
  train: log.csv
  label: click
  split: {kind: random, valid: 0.15, test: 0.3}
features:
  numeric: [age]
  categorical: [color, shape]
crosses:
  - {fields: [color, shape], promised: [0.02, 0.01, 0.03]}
model:
  deep: {hidden: [8]}
training: {epochs: 2, batch_size: 256, threads: 1}
"""
VOID = {"meta", "br", "img", "input", "hr", "link"}
SECTIONS = ["metrics", "learning", "ranking", "scores", "slices", "crosses", "recipe", "environment"]


class Page(HTMLParser):
    """What a page holds; wrong nesting fails."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def sections(self) -> list[str | None]:
        return [attributes.get("id") for tag, attributes in self.tags if tag == "section"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of each kind, on a log whose values are a web page's nightmare."""
    from widedeep.pipeline.experiment import train
    from widedeep.recipe.load import load_recipe
    from widedeep.reporting import Reporter

    folder = tmp_path_factory.mktemp("report")
    draw = random.Random(0)
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["color", "shape", "age", "price", "click"])
        for _ in range(4000):
            color, shape = draw.choice([HOSTILE, "green", ""]), draw.choice(["round", "a & b", "flat"])
            age = draw.randint(18, 80)
            chance = 0.2 + 0.4 * ((color == "green") == (shape == "flat")) + 0.003 * (age - 50)
            writer.writerow([color, shape, age, round(age + draw.gauss(0, 5), 2), int(draw.random() < chance)])
    (folder / "small.yaml").write_text(RECIPE)
    for overrides in (
        ["name=small"],
        ["name=deep", "model.kind=deep", "training.epochs=1"],
        [
            "name=other",
            "model.kind=deep",
            "training.epochs=1",
            "data.split={kind: random, valid: 0.1, test: 0.3, seed: 3}",
        ],
        ["name=number", "data.label={column: price, kind: regression}", "crosses=[]"],
    ):
        train(load_recipe(folder / "small.yaml", overrides), folder, Reporter())
    return folder


@pytest.fixture
def report(folder: Path, tmp_path: Path, widedeep: CommandLine) -> Callable[..., str]:
    def write(*arguments: str | Path) -> str:
        runs = [folder / "runs" / one / "latest" if one in ("small", "deep", "number") else one for one in arguments]
        code, out, err = widedeep("report", *runs, "-o", tmp_path / "page.html", "--work", folder, "--force")
        assert (code, err) == (0, "")
        assert str(tmp_path / "page.html") in out
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return write


def without_date(page: str) -> str:
    return re.sub(r"<time>.*?</time>", "", page)


def test_a_page_is_whole_and_asks_for_nothing_from_anywhere(report: Callable[..., str]) -> None:
    text = report("small", "deep")
    page = Page(text)
    assert page.sections == SECTIONS
    assert len(page.ids) == len(set(page.ids))
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "image"}
    links = [
        v for _, attributes in page.tags for name, v in attributes.items() if name in ("href", "src", "xlink:href")
    ]
    assert links
    assert {link[:1] for link in links if link} == {"#"}
    assert {link[1:] for link in links if link} <= set(page.ids)
    assert set(re.findall(r"url\((.)", text)) == {"#"}
    assert "://" not in re.sub(r"<(pre|td)[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    assert "@import" not in text


def test_values_of_columns_are_text_and_never_markup(report: Callable[..., str]) -> None:
    text = report("small")
    assert "<script" not in text
    page = Page(text)
    assert HOSTILE in page.text
    assert "a & b" in page.text
    assert "(missing)" in page.text


def test_the_figures_are_those_of_eval(report: Callable[..., str], folder: Path, widedeep: CommandLine) -> None:
    run = folder / "runs" / "small" / "latest"
    metrics = json.loads(widedeep("eval", run, "--json")[1])["metrics"]
    text = Page(report("small")).text
    for name in ("auc", "log_loss", "normalized_entropy", "calibration", "ece"):
        assert f"{metrics[name]:.4f}" in text
    assert f"test rows: {metrics['rows']:,}" in text
    valid = json.loads(widedeep("eval", run, "--split", "valid", "--json")[1])["metrics"]
    assert f"valid rows: {valid['rows']:,}" in Page(report("small", "--split", "valid")).text


def test_runs_lie_over_each_other_each_in_one_colour(report: Callable[..., str]) -> None:
    text = report("deep", "small")
    charts = re.findall(r'<figure class="chart">.*?</figure>', text, flags=re.DOTALL)
    titles = [re.sub("<.*?>", "", re.findall(r"<h3>.*?</h3>", chart)[0]) for chart in charts]
    assert titles == [
        "Log loss by epoch",
        "AUC of valid rows by epoch",
        "ROC: positives found by negatives let through",
        "Precision by recall",
        "Calibration: what was seen by what was predicted",
        "Scores of positives and negatives: small",
        "Scores of positives and negatives: deep",
    ]
    for chart in charts[:5]:
        legend = re.findall(r'stroke="var\(--run-(\d)\)".*?</svg>\s*(\w+)', chart)
        assert legend[:2] == [("1", "small"), ("2", "deep")]  # the better one first
        drawing = chart[chart.index('role="img"') :]
        assert set(re.findall(r"stroke: var\(--run-(\d)\)", drawing)) == {"1", "2"}
        assert "figcaption" in chart
    assert re.search(r"small has a higher AUC than deep, by 0\.\d+ \(95%", text)


def test_one_run_needs_no_comparison(report: Callable[..., str]) -> None:
    text = Page(report("small")).text
    assert "Differences from" not in text
    assert "What differs" not in text
    assert "shape" in text


def test_gains_stand_side_by_side_and_their_lack_is_said_in_words(report: Callable[..., str], folder: Path) -> None:
    facts = json.loads((folder / "runs" / "small" / "latest" / "metrics.json").read_text())
    (cross,) = facts["crosses"]["crosses"]
    text = Page(report("small", "deep")).text
    crosses = text[text.index("Gain: fall of the loss") :]
    assert "color × shape" in crosses
    assert "promised 20 10 to 30" in crosses
    assert f"realised {1000 * cross['realised'][0]:.3g}" in crosses
    assert "deep: a model of kind deep takes no crosses." in crosses


def test_recipes_and_what_differs_are_shown(report: Callable[..., str], folder: Path) -> None:
    page = Page(report("small", "deep"))
    assert "model.kind wide_deep deep" in page.text
    recipe = (folder / "runs" / "small" / "latest" / "recipe.yaml").read_text()
    assert [words for words in page.words if words.startswith("name: small")] == [recipe.strip()]
    manifest = json.loads((folder / "runs" / "small" / "latest" / "manifest.json").read_text())
    for fact in (manifest["python"], f"torch {manifest['libraries']['torch']}", *manifest["keys"].values()):
        assert fact in page.text


def test_slices_are_the_columns_that_are_asked_for(report: Callable[..., str]) -> None:
    text = report("small", "--slice", "shape")
    slices = text[text.index('<section id="slices">') : text.index('<section id="crosses">')]
    assert re.findall(r"<h3>(.*?)</h3>", slices) == ["shape"]
    assert sorted(re.findall(r'<th scope="row">\s*(.*?)\s*<small>', slices)) == ["a &amp; b", "flat", "round"]


def test_equal_runs_give_equal_pages_but_for_the_date(report: Callable[..., str]) -> None:
    first = report("small", "deep")
    assert without_date(first) == without_date(report("small", "deep"))
    assert without_date(first) != first


def test_a_regression_shows_what_applies(report: Callable[..., str]) -> None:
    page = Page(report("number"))
    assert page.sections == [name for name in SECTIONS if name != "ranking"]
    for words in ("RMSE", "MAE", "R²", "RMSE by epoch", "Errors", "label: price, a number"):
        assert words in page.text
    for words in ("ROC", "log loss", "positives"):
        assert words not in page.text


def test_json_tells_what_the_page_shows(folder: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    runs = [folder / "runs" / name / "latest" for name in ("small", "deep")]
    code, out, err = widedeep("report", *runs, "-o", tmp_path / "page.html", "--work", folder, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["path"], result["split"]) == (str(tmp_path / "page.html"), "test")
    best, other = result["runs"]
    assert best["run"] == str(runs[0].resolve())
    assert best["metrics"] == json.loads(widedeep("eval", runs[0], "--json")[1])["metrics"]
    assert best["intervals"]["auc"]["low"] < best["metrics"]["auc"] < best["intervals"]["auc"]["high"]
    compared = json.loads(widedeep("eval", runs[1], "--against", runs[0], "--json")[1])["differences"]
    for name, change in other["differences"].items():
        assert change == pytest.approx({end: compared[name][end] for end in ("value", "low", "high")})
    assert {one["value"] for one in best["slices"]["color"]} == {HOSTILE, "green", None}


def test_a_page_goes_to_stdout_too(folder: Path, report: Callable[..., str], widedeep: CommandLine) -> None:
    code, out, err = widedeep("report", folder / "runs" / "deep", "-o", "-", "--work", folder)
    assert (code, err) == (0, "")
    assert without_date(out) == without_date(report("deep"))
    code, out, err = widedeep("report", folder / "runs" / "deep", "-o", "-", "--json")
    assert (code, out) == (2, "")


def test_a_page_that_exists_is_kept_without_force(folder: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    (tmp_path / "page.html").write_text("mine")
    code, out, err = widedeep("report", folder / "runs" / "deep" / "latest", "-o", tmp_path / "page.html")
    assert (code, out) == (2, "")
    assert "--force replaces it" in err
    assert (tmp_path / "page.html").read_text() == "mine"
    code, _, err = widedeep("report", folder / "runs" / "deep" / "latest", "-o", tmp_path / "none" / "page.html")
    assert (code, err.count("\n")) == (6, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_without_matplotlib_one_line_says_how_to_install_it(
    folder: Path, tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("widedeep_cli.drawing.find_spec", lambda name: None if name == "matplotlib" else find(name))
    code, out, err = widedeep("report", folder / "runs" / "deep" / "latest", "-o", tmp_path / "page.html")
    assert (code, out) == (2, "")
    assert err == (
        "widedeep: error: `report` draws with Matplotlib, which is not installed: pip install 'widedeep[report]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_refused_as_eval_refuses_it(folder: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    broken = shutil.copytree((folder / "runs" / "deep" / "latest").resolve(), tmp_path / "runs" / "broken" / "run")
    (broken / "checkpoints" / "best.safetensors").write_bytes(b"")
    for run in (tmp_path / "nothing", broken):
        expected = widedeep("eval", run, "--work", folder)
        assert expected[0] == 4
        assert widedeep("report", run, "-o", tmp_path / "page.html", "--work", folder) == expected
    assert not (tmp_path / "page.html").exists()


def test_runs_of_other_rows_are_not_paired_and_the_page_says_so(
    folder: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    runs = [folder / "runs" / name / "latest" for name in ("small", "other")]
    code, out, err = widedeep("report", *runs, "-o", "-", "--work", folder)
    assert code == 0
    assert "the runs differ in data.split" in err
    page = Page(out)
    assert "The runs differ in data.split: their test rows, or what these count for, are not the same" in page.text
    assert "Differences from" not in page.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["small", "number"], "no metric compares them"),
        (["small", "--slice", "colour"], "--slice colour"),
        (["small", "--split", "train"], "--split"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, widedeep: CommandLine, arguments: list[str], words: str
) -> None:
    runs: list[Any] = [folder / "runs" / one / "latest" if one in ("small", "number") else one for one in arguments]
    code, out, err = widedeep("report", *runs, "-o", tmp_path / "page.html", "--work", folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_more_runs_than_colours_are_refused(folder: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    run = (folder / "runs" / "deep" / "latest").resolve()
    for seed in range(9):
        copy = shutil.copytree(run, tmp_path / "runs" / "deep" / f"run-{seed}")
        recipe = (copy / "recipe.yaml").read_text()
        (copy / "recipe.yaml").write_text(recipe.replace("seed: 0", f"seed: {seed}", 1))
        RunDirectory(copy).pin()
    code, out, err = widedeep("report", tmp_path / "runs" / "deep", "-o", tmp_path / "page.html")
    assert (code, out) == (2, "")
    assert "9 runs: a page shows at most 8" in err


def test_rows_of_one_class_leave_a_page_without_ranking(project: Path, widedeep: CommandLine) -> None:
    rows = (project / "log.csv").read_text().splitlines()
    (project / "test.csv").write_text("\n".join([rows[0], *(row for row in rows[1:400] if row.endswith(",0"))]) + "\n")
    settings = [
        "--set",
        "data.test=test.csv",
        "--set",
        "data.split={kind: random, valid: 0.2}",
        "--set",
        "training.epochs=1",
    ]
    assert widedeep("train", "small.yaml", *settings)[0] == 0
    code, _, err = widedeep("report", "small.yaml", "-o", "page.html")
    assert (code, err) == (0, "")
    page = Page((project / "page.html").read_text(encoding="utf-8"))
    assert "ranking" not in page.sections
    assert "0% of them positive" in page.text


def test_a_run_whose_log_of_training_is_gone_has_a_page_too(
    folder: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    run = shutil.copytree((folder / "runs" / "deep" / "latest").resolve(), tmp_path / "runs" / "deep" / "run")
    (run / "events.jsonl").unlink()
    code, out, err = widedeep("report", run, "-o", "-", "--work", folder)
    assert (code, err) == (0, "")
    page = Page(out)
    assert page.sections == SECTIONS
    assert "is no longer with the runs" in page.text
    (run / "events.jsonl").write_text("{")
    code, out, err = widedeep("report", run, "-o", "-", "--work", folder)
    assert (code, out) == (4, "")
    assert "the run is damaged" in err


def test_a_field_with_a_name_of_its_own_is_a_slice_too(folder: Path, report: Callable[..., str]) -> None:
    from widedeep.pipeline.experiment import train
    from widedeep.recipe.load import load_recipe
    from widedeep.reporting import Reporter

    overrides = ["name=named", "training.epochs=1", "features.categorical=[{column: shape, name: form}]", "crosses=[]"]
    train(load_recipe(folder / "small.yaml", overrides), folder, Reporter())
    text = report(folder / "runs" / "named" / "latest")
    assert "<h3>form</h3>" in text
