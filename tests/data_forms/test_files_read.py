"""Every form in which a log may lie there, through every command: the same rows, metrics and scores as of plain CSV."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard

CommandLine = Callable[..., tuple[int, str, str]]
Row = tuple[str, str, str, str, str]

NAMES = ("day", "country", "ad", "price", "click")
ADS = ('say "hi", now', "plain", "semi;colon", "back\\slash, too", 'two\\\\ "q"', "é")


def drawn_rows() -> list[Row]:
    """Rows by day and country, so that folders hold them in the same order."""
    draw = random.Random(5)
    rows = []
    for number in range(120):
        country = "C H" if number % 60 < 30 else "DE"
        ad, click = draw.choice(ADS), int(draw.random() < 0.3 + 0.3 * (country == "DE"))
        day = f"2026-11-{1 + number // 60:02d}"
        rows.append((day, country, ad, f"{draw.random() * 9:.2f}", str(click)))
    return rows


ROWS = drawn_rows()


def text(rows: Sequence[Row] = ROWS, names: Sequence[str] = NAMES, end: str = "\n", separator: str = ",") -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end, delimiter=separator).writerows([names, *rows])
    return file.getvalue()


def spark_text() -> str:
    """As Spark writes it: a quote has a backslash before it, and so has a backslash within quotes."""
    lines = [",".join(NAMES)]
    for row in ROWS:
        values = [
            '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if set(value) & {'"', ","} else value
            for value in row
        ]
        lines.append(",".join(values))
    return "\n".join(lines) + "\n"


def json_lines() -> str:
    return "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in ROWS)


def zipped(name: str, content: bytes) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.writestr("__MACOSX/._" + name, b"\0")
    return stored.getvalue()


def frame(rows: Sequence[Row] = ROWS) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=NAMES, orient="row").cast({"price": pl.Float64, "click": pl.Int64})


def table(write: Callable[[pl.DataFrame, io.BytesIO], Any]) -> bytes:
    stored = io.BytesIO()
    write(frame(), stored)
    return stored.getvalue()


PLAIN = text().encode()
PARQUET = table(pl.DataFrame.write_parquet)
DIALECTS: dict[str, tuple[str, bytes]] = {
    "UTF-16 with tabs, as of Excel": ("log.txt", text(end="\r\n", separator="\t").encode("utf-16")),
    "UTF-16, the other way round": ("log.txt", b"\xfe\xff" + text(separator="\t").encode("utf-16-be")),
    "sep= of Excel": ("log.csv", ("sep=;\r\n" + text(end="\r\n", separator=";")).encode()),
    "backslashes of Spark": ("log.csv", spark_text().encode()),
}
FILES: dict[str, tuple[str, bytes]] = {
    **DIALECTS,
    "csv": ("log.csv", PLAIN),
    "gzip": ("log.csv.gz", gzip.compress(PLAIN)),
    "Zstandard": ("log.csv.zst", zstandard.compress(PLAIN)),
    "bzip2": ("log.csv.bz2", bz2.compress(PLAIN[:999]) + bz2.compress(PLAIN[999:])),
    "xz": ("log.csv.xz", lzma.compress(PLAIN)),
    "zip": ("log.zip", zipped("log.csv", PLAIN)),
    "zip of gzip": ("log.zip", zipped("log.csv.gz", gzip.compress(PLAIN))),
    "zip of NDJSON": ("log.zip", zipped("log.jsonl", json_lines().encode())),
    "gzip called .csv": ("log.csv", gzip.compress(PLAIN)),
    "plain called .gz": ("log.csv.gz", PLAIN),
    "NDJSON": ("log.ndjson", json_lines().encode()),
    "NDJSON in gzip called .csv": ("log.csv", gzip.compress(json_lines().encode())),
    "NDJSON without an ending": ("log", json_lines().encode()),
    "Parquet": ("log.parquet", PARQUET),
    "Parquet called .csv": ("log.csv", PARQUET),
    "Parquet in zip": ("log.zip", zipped("log.parquet", PARQUET)),
    "Arrow called .parquet": ("log.parquet", table(pl.DataFrame.write_ipc)),
    "Arrow stream without an ending": ("log", table(pl.DataFrame.write_ipc_stream)),
    "lines ended by CRLF": ("log.csv", text(end="\r\n").encode()),
    "lines ended by CR": ("log.csv", text(end="\r").encode()),
    "blanks that do not break": ("log.csv", text([tuple(f"{v}\u00a0" for v in row) for row in ROWS]).encode()),  # type: ignore[misc]
}


def write_parts(folder: Path, write: Callable[[Path, list[Row]], None], ending: str, *, hive: bool) -> None:
    for day in ("2026-11-01", "2026-11-02"):
        for country in ("C H", "DE"):
            place = folder / f"day={day}" / f"country={country.replace(' ', '%20')}" if hive else folder
            place.mkdir(parents=True, exist_ok=True)
            write(place / f"part-{day}-{country}{ending}", [row for row in ROWS if row[:2] == (day, country)])
            (place / "_SUCCESS").write_bytes(b"")
            (place / f".part-{day}.crc").write_bytes(b"crc")


def hive_csv(folder: Path) -> None:
    write_parts(folder, lambda path, rows: path.write_text(text([r[2:] for r in rows], NAMES[2:])), ".csv", hive=True)  # type: ignore[misc,func-returns-value,arg-type]
    (folder / "day=2026-11-02" / "country=DE" / "part-a.csv").write_text("ad,price,click\n")
    (folder / "day=2026-11-02" / "country=DE" / "part-b.csv").write_bytes(b"")


def hive_parquet(folder: Path) -> None:
    write_parts(
        folder, lambda path, rows: frame(rows).drop("day", "country").write_parquet(path), ".parquet", hive=True
    )


def hive_with_its_columns_in_the_files(folder: Path) -> None:
    write_parts(folder, lambda path, rows: frame(rows).write_parquet(path), ".parquet", hive=True)


def parts_of_csv(folder: Path) -> None:
    write_parts(folder, lambda path, rows: path.write_text(text(rows)), ".csv", hive=False)  # type: ignore[func-returns-value]
    (folder / "part-0.csv").write_text(",".join(NAMES) + "\n")
    (folder / "part-1.csv").write_bytes(b"")
    (folder / "_delta_log").mkdir()
    (folder / "_delta_log" / "0.json").write_text("{}")


FOLDERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "parts": ("log", parts_of_csv),
    "glob": ("log/*", parts_of_csv),
    "hive": ("log", hive_csv),
    "hive by a glob of folders": ("log/day=*", hive_csv),
    "hive by a glob of files": ("log/**/*.csv", hive_csv),
    "hive of Parquet": ("log", hive_parquet),
    "hive whose files repeat its columns": ("log", hive_with_its_columns_in_the_files),
}
PIPED: dict[str, bytes] = {
    "text": PLAIN,
    "gzip": gzip.compress(PLAIN),
    "zip": zipped("log.csv", PLAIN),
    "NDJSON": json_lines().encode(),
    "Parquet": PARQUET,
}


class Commands:
    """Runs every command on one log and keeps what they say."""

    def __init__(self, widedeep: CommandLine) -> None:
        self._widedeep = widedeep

    def __call__(self, *arguments: object) -> str:
        code, out, err = self._widedeep(*map(str, arguments))
        assert code == 0, err
        return out

    def told(self, log: str, run: Path, feed: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """What init, ingest and train, predict and eval (with `run`) say; `feed` is called before each reads."""
        feed()
        self("init", log, "--label", "click", "-o", "small.yaml")
        options = ["--json", "--set", "training.epochs=1", "--set", "data.split.seed=1", "--set", "model.kind=wide"]
        feed()
        rows = json.loads(self("ingest", "small.yaml", "--work", "once", *options))["rows"]
        feed()
        trained = json.loads(self("train", "small.yaml", "--work", "again", *options))
        feed()
        scores = self("predict", run, log, "-o", "-", "--keep", "day", "--keep", "country")
        feed()
        metrics = json.loads(self("eval", run, log, "--json"))["metrics"]
        return {"rows": rows, "trained": trained["metrics"], "scores": scores, "metrics": metrics}


@pytest.fixture
def commands(widedeep: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(widedeep)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the plain log, by which all forms are scored."""
    from widedeep.pipeline.experiment import train
    from widedeep.recipe.load import load_recipe
    from widedeep.reporting import Reporter
    from widedeep.suggest.init import init_recipe

    folder = tmp_path_factory.mktemp("plain")
    (folder / "log.csv").write_bytes(PLAIN)
    suggestion = init_recipe([str(folder / "log.csv")], "click", recipe_folder=folder, name="small")
    (folder / "small.yaml").write_text(suggestion.text)
    settings = ["training.epochs=1", "data.split.seed=1", "model.kind=wide"]
    return train(load_recipe(folder / "small.yaml", overrides=settings), folder, Reporter()).run


@pytest.fixture(scope="module")
def expected(run: Path) -> dict[str, Any]:
    """What the plain file gives, found without reading a file: from frames."""
    from widedeep import open_run

    trained = open_run(run)
    scored = trained.predict(frame(), keep=["day", "country"])
    metrics = trained.evaluate(frame()).metrics
    rows = trained.facts["rows"]
    return {"rows": rows, "trained": trained.metrics, "scores": scored.write_csv(), "metrics": metrics}


@pytest.mark.parametrize("form", FILES)
def test_a_file_in_any_form_gives_the_rows_metrics_and_scores_of_plain_csv(
    form: str, commands: Commands, run: Path, expected: dict[str, Any]
) -> None:
    name, content = FILES[form]
    Path(name).write_bytes(content)
    # A run knows the separator of its own files.
    assert commands.told(name, Path("again/runs/small/latest") if form in DIALECTS else run) == expected


@pytest.mark.parametrize("form", FOLDERS)
def test_folders_and_globs_give_the_rows_of_their_data_files_and_the_columns_of_their_folders(
    form: str, commands: Commands, run: Path, expected: dict[str, Any]
) -> None:
    pattern, write = FOLDERS[form]
    write(Path("log"))
    told = commands.told(pattern, run)
    assert (told["rows"], told["trained"]) == (expected["rows"], expected["trained"])
    # Rows that come in other blocks may differ in the last digit.
    assert told["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
    scored, wanted = (pl.read_csv(io.StringIO(found["scores"])) for found in (told, expected))
    assert scored.drop("score").equals(wanted.drop("score"))
    assert scored["score"].to_list() == pytest.approx(wanted["score"].to_list(), abs=1e-6)


@pytest.mark.parametrize("form", PIPED)
def test_a_named_pipe_is_read_once_by_every_command(
    form: str, commands: Commands, run: Path, expected: dict[str, Any]
) -> None:
    os.mkfifo("log.pipe")
    writers: list[threading.Thread] = []

    def feed() -> None:
        writers.append(threading.Thread(target=Path("log.pipe").write_bytes, args=[PIPED[form]]))
        writers[-1].start()

    assert commands.told("log.pipe", run, feed) == expected
    for writer in writers:
        writer.join()
