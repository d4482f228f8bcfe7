"""Run directories with edits: bytes and JSON values, files that are gone, exchanged or links."""

import json
import os
from pathlib import Path
from typing import Any

import yaml
from cases import Case, Find, farthest, scores
from changes import EXTREMES, at, damage, near, places
from recipe_cases import choices

from widedeep.errors import ArtefactError
from widedeep.runs import RunDirectory

_SCORES_AGREE = 1e-6


def run(case: Case) -> None:
    """Edit a finished run, then read it: refused, or read as if nothing had happened."""
    case.take("work", "log.csv")
    run_dir = next(path.parent for path in case.folder.glob("work/runs/rich/*/DONE") if not path.parent.is_symlink())
    fitted = _edit(case, run_dir)
    command = case.draw.choice(["predict"] * 6 + ["eval", "report", "compare", "weights", "resume"])
    allowed = frozenset({0, 3, 4})  # 3: the run may name side tables that lie nowhere
    if command == "predict":
        ended = case.widedeep("predict", run_dir, "log.csv", "-o", "s.csv", allowed=allowed)
        if ended.code == 0 and not fitted:
            distance = farthest(*map(_scores_in, (case.base / "expected.csv", case.folder / "s.csv")))
            if distance > _SCORES_AGREE:
                raise Find(f"scores differ by {distance:g} without a word")
        return
    case.widedeep(
        *{
            "eval": ("eval", run_dir, "--json"),
            "report": ("report", run_dir, "-o", "page.html", "--work", "work"),
            "compare": ("compare", run_dir),
            "weights": ("crosses", run_dir, "--weights"),
            "resume": ("train", case.base / "rich.yaml", "--work", "work", "--resume"),
        }[command],
        allowed=allowed,
    )


def _edit(case: Case, run_dir: Path) -> bool:
    """Edit one file; True where its digest was written anew, so that no reader can tell from the digest."""
    draw = case.draw
    files = sorted(path for path in run_dir.rglob("*") if path.is_file())
    readable = [path for path in files if path.suffix in (".json", ".yaml")]
    path = draw.choice(draw.choice([files, readable]))
    before = path.read_bytes()
    way = draw.choice(["values"] * 4 + ["bytes"] * 3 + ["cut", "remove", "exchange", "link", "folder", "other kind"])
    case.say(f"{way}: {path.relative_to(run_dir)}")
    if way == "values" and path.suffix in (".json", ".jsonl", ".yaml"):
        _edit_values(case, path)
    elif way == "cut":
        path.write_bytes(before[: draw.randrange(len(before) + 1)])
    elif way == "remove":
        path.unlink()
    elif way == "exchange":
        path.write_bytes(draw.choice(files).read_bytes())
    elif way in ("link", "folder"):
        path.unlink()
        path.mkdir() if way == "folder" else os.symlink(draw.choice([case.base / "log.csv", path, "gone"]), path)
    elif way == "other kind":
        path.write_bytes(draw.choice([b"", b"null", b"{}", b"[]", b"\0" * 64, b"[" * 5000, b"{" * 50, b"\xff\xfe"]))
    elif before:
        content = bytearray(before)
        damage(draw, content)
        path.write_bytes(content)
    return draw.random() < 0.4 and path.is_file() and _write_digest_anew(run_dir)


def _edit_values(case: Case, path: Path) -> None:
    text = path.read_text()
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    number = case.draw.randrange(len(lines))
    tree: Any = {"": yaml.safe_load(lines[number]) if path.suffix == ".yaml" else json.loads(lines[number])}
    for _ in range(case.draw.choice([1, 1, 2])):
        found = list(places(tree))
        *above, key = case.draw.choice(found)
        parent = at(tree, tuple(above))
        way = case.draw.choice(["near"] * 4 + ["value", "value", "other", "remove", "rename"])
        case.say(f"{way} at {above} {key}")
        if way == "remove":
            del parent[key]
        elif way == "rename" and isinstance(parent, dict):
            parent[f"{key}2"] = parent.pop(key)
        elif way == "near":
            parent[key] = near(case.draw, parent[key], choices())
        else:
            parent[key] = (
                at(tree, case.draw.choice(found[1:] or found)) if way == "other" else case.draw.choice(EXTREMES)
            )
        if "" not in tree:
            return
    tree = tree[""]
    lines[number] = yaml.safe_dump(tree, sort_keys=False) if path.suffix == ".yaml" else json.dumps(tree)
    path.write_text("\n".join(lines), errors="surrogatepass")


def _write_digest_anew(run_dir: Path) -> bool:
    """Pin the files anew, as one who forges a run would; False where the manifest can no longer be read."""
    try:
        RunDirectory(run_dir).pin()
    except ArtefactError:
        return False
    return True


def _scores_in(path: Path) -> list[float]:
    return scores(path.read_text())
