"""`predict -o s3://…`: the object holds what a file would, whole or not at all, and what cannot be written is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from object_store import ObjectStore, object_store
from sample_projects import only_json

from widedeep.runs import LATEST

Widedeep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with object_store() as store:
        keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "something", "AWS_REGION": "us-east-1"}
        for name, value in {**keys, "AWS_ENDPOINT_URL": store.url, "AWS_ALLOW_HTTP": "true"}.items():
            monkeypatch.setenv(name, value)
        yield store


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own: Polars keeps what it knows of a bucket, such as its endpoint, within a process."""
    return "b" + "".join(filter(str.isalnum, request.node.name.lower()))[-40:]


@pytest.fixture
def command(trained: Path) -> list[str | Path]:
    return ["predict", trained / "runs" / "small" / LATEST, trained / "new.csv", "--keep", "color", "--keep", "shape"]


@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
def test_an_object_holds_what_a_file_would(
    ending: str, store: ObjectStore, bucket: str, command: list[str | Path], tmp_path: Path, widedeep: Widedeep
) -> None:
    assert widedeep(*command, "-o", tmp_path / f"scores.{ending}")[0] == 0
    url = f"s3://{bucket}/days/scores.{ending}"

    code, out, err = widedeep(*command, "-o", url, "--json")

    assert code == 0, err
    assert only_json(out)["path"] == url
    content, expected = store.objects[f"/{bucket}/days/scores.{ending}"], (tmp_path / f"scores.{ending}").read_bytes()
    if ending == "parquet":
        import polars as pl

        assert pl.read_parquet(content).equals(pl.read_parquet(expected))
    else:
        assert content == expected


def test_an_object_that_is_there_is_replaced_only_if_that_is_asked(
    store: ObjectStore, bucket: str, command: list[str | Path], widedeep: Widedeep
) -> None:
    store.objects[f"/{bucket}/scores.csv"] = b"old\n"
    url = f"s3://{bucket}/scores.csv"

    code, _, err = widedeep(*command, "-o", url)
    assert (code, f"{url}: exists already" in err) == (2, True)
    assert store.objects[f"/{bucket}/scores.csv"] == b"old\n"
    assert widedeep(*command, "-o", url, "--force")[0] == 0
    assert store.objects[f"/{bucket}/scores.csv"].startswith(b"color,shape,score\n")


@pytest.mark.parametrize(("method", "words"), [("GET", "--force writes without a look"), ("PUT", "cannot write")])
def test_what_a_store_does_not_allow_is_told(
    method: str, words: str, store: ObjectStore, bucket: str, command: list[str | Path], widedeep: Widedeep
) -> None:
    store.forbidden.add(method)

    code, out, err = widedeep(*command, "-o", f"s3://{bucket}/scores.csv")

    assert (code, out) == (6, "")
    assert words in err
    assert store.objects == {}


def test_rows_past_a_limit_of_refusal_leave_nothing_there(
    store: ObjectStore, bucket: str, trained: Path, tmp_path: Path, widedeep: Widedeep
) -> None:
    header, *rows = (trained / "log.csv").read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join([header, *(f"{row[0]},,,,,,0" for row in rows)]) + "\n")
    run = trained / "runs" / "small" / LATEST

    code, _, err = widedeep("predict", run, tmp_path / "new.csv", "-o", f"s3://{bucket}/scores.csv")

    assert code == 7, err
    assert store.objects == {}


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("https://host/scores.csv", "nothing can be written to https://"),
        ("hf://datasets/a/scores.csv", "nothing can be written to hf://"),
        ("file:///tmp/scores.csv", "by its path"),
        ("s3://bucket/scores/", "a folder of scores lies on this machine"),
        ("s3://bucket/scores.txt", "--output-format"),
    ],
)
def test_where_nothing_can_be_written_is_refused_before_the_work(
    output: str, words: str, command: list[str | Path], widedeep: Widedeep
) -> None:
    code, out, err = widedeep(*command, "-o", output)

    assert (code, out) == (2, "")
    assert words in err


def test_texts_go_byte_by_byte_however_long_their_lines(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    from widedeep.scoring import remote

    text = 'a,score\n"x, ""y""\nz",0.5\r\n,0.25\n\n"",1\n' + "l" * 3_000_000 + "\n" + "ü,1\n" * 700_000
    (tmp_path / "text").write_bytes(text.encode())

    remote._send_text(tmp_path / "text", f"s3://{bucket}/text.csv", tmp_path)

    assert store.objects[f"/{bucket}/text.csv"] == text.encode()
