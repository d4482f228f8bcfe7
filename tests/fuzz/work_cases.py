"""Commands that are killed at a counted write, or run out of disk: nothing half-written, and done again, equal bytes."""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cases import Case, Find
from forks import counted_calls

_OUT = "out"
"""The folder of a case that everything is written to."""

_RUN = "../work/runs/rich/latest"
_COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (("train", "../rich.yaml", "--work", "w", "--set", "training.checkpoint_seconds=0"), ("--resume",)),
    "ingest": (("ingest", "../small.yaml", "--work", "w"), ()),
    "crosses": (("crosses", "../rich.yaml", "--work", "w"), ()),
    "csv": (("predict", _RUN, "../log.csv", "-o", "s.csv"), ("--force",)),
    "parquet": (("predict", _RUN, "../log.csv", "-o", "s.parquet"), ("--force",)),
    "ndjson": (("predict", _RUN, "../log.csv", "-o", "s.ndjson"), ("--force",)),
    "init": (("init", "../log.csv", "--label", "click", "-o", "mine.yaml"), ("--force",)),
    "synth": (("synth", "-o", "sample", "--rows", "200", "--seed", "1"), ("--force",)),
    "report": (("report", _RUN, "-o", "page.html", "--work", "../work"), ("--force",)),
}
"""Commands that write, as they run in the folder `out`, and what is added where they are run again."""

_UNDISTURBED = "undisturbed.json"
_DATE_OF_A_PAGE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
_NAMES_THAT_DIFFER = re.compile(r"\d{8}T\d{6}Z|[0-9a-f]{8,}")


def measure(case: Case) -> None:
    """Write what undisturbed commands leave, the bytes that are the same twice, and how many calls they make."""
    measured = {}
    for name, (command, _) in _COMMANDS.items():
        seen, calls = [], {}
        for kind in ("write", "step"):
            out, log = case.folder / f"{_OUT}-{name}-{kind}", case.folder / "calls.txt"
            out.mkdir()
            case.widedeep(*command, inside=out.name, within=counted_calls(kind, 0, log), allowed=frozenset({0}))
            calls[kind] = int(log.read_text())
            seen.append(_digests(out))
        same = {path: digest for path, digest in seen[0].items() if seen[1].get(path) == digest}
        size = sum(path.stat().st_size + 4096 for path in out.rglob("*"))
        measured[name] = {"calls": calls, "same": same, "names": sorted(seen[0]), "size": size}
    (case.folder / _UNDISTURBED).write_text(json.dumps(measured))


def run_kill(case: Case) -> None:
    """Kill a command at a write or a step, perhaps again, then let it finish."""
    name, expected = _drawn(case)
    command, again = _COMMANDS[name]
    added: tuple[str, ...] = ()
    for _ in range(case.draw.choice([1, 1, 2])):
        kind = case.draw.choice(["write", "write", "write", "step"]) if expected["calls"]["step"] else "write"
        number = case.draw.randint(1, expected["calls"][kind])
        case.say(f"killed at {kind} {number} of {expected['calls'][kind]}")
        calls = counted_calls(kind, number, case.folder / "calls.txt")
        case.widedeep(*command, *added, inside=_OUT, within=calls, killed=True)
        _check_what_is_there(case, name, expected)
        added = again
    _finish(case, name, expected)


def run_full(case: Case) -> None:
    """Run a command on a disk that is too small, then on one that is not."""
    name, expected = _drawn(case)
    size = 4096 * case.draw.randint(0, expected["size"] // 4096 + 2)
    case.say(f"a disk of {size} bytes; {expected['size']} are needed")
    mounted = _mount(case.folder / _OUT, size)
    within = contextlib.nullcontext() if mounted else _smallest_files(size // 4)
    ended = case.widedeep(*_COMMANDS[name][0], inside=_OUT, within=within, allowed=frozenset({0, 6}))
    _check_what_is_there(case, name, expected)
    if ended.code == 0 and set(expected["names"]) - set(_digests(case.folder / _OUT)):
        raise Find("exit 0, and something is missing")
    if mounted:
        _mount(case.folder / _OUT, 256 << 20, again=True)
    _finish(case, name, expected)


def _drawn(case: Case) -> tuple[str, dict[str, Any]]:
    case.take("work", "log.csv", "people.csv", "rich.yaml", "small.yaml")
    (case.folder / _OUT).mkdir()
    name = case.draw.choice([*_COMMANDS, "train", "train"])
    expected: dict[str, Any] = json.loads((case.base / _UNDISTURBED).read_text())[name]
    return name, expected


def _check_what_is_there(case: Case, name: str, expected: dict[str, Any]) -> None:
    """What stands under a final name is whole. Checkpoints of an unfinished training may be earlier ones."""
    for path, digest in _digests(case.folder / _OUT).items():
        if name != "train" and expected["same"].get(path, digest) != digest:
            raise Find(f"{path} is half-written")


def _finish(case: Case, name: str, expected: dict[str, Any]) -> None:
    command, added = _COMMANDS[name]
    case.widedeep(*command, *added, inside=_OUT, allowed=frozenset({0}))
    left = _digests(case.folder / _OUT)
    for path, digest in expected["same"].items():
        if left.get(path) != digest:
            raise Find(
                f"{path} {'differs from' if path in left else 'is absent, unlike'} that of an undisturbed command"
            )
    if set(left) - set(expected["names"]):
        raise Find(f"{min(set(left) - set(expected['names']))} was left over")
    for log in (case.folder / _OUT).rglob("events.jsonl"):
        epochs = [event["epoch"] for event in map(json.loads, log.open()) if event["event"] == "epoch"]
        if len(set(epochs)) != len(epochs):
            raise Find(f"{log.name} names an epoch twice: {epochs}")


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that is no lock or temporary, and the target of every link; paths without times and keys."""
    digests = {}
    for path in folder.rglob("*"):
        name = _NAMES_THAT_DIFFER.sub("KEY", str(path.relative_to(folder)))
        if path.is_symlink():
            digests[name] = _NAMES_THAT_DIFFER.sub("KEY", os.readlink(path)) if path.exists() else "leads nowhere"
        elif path.is_file() and path.suffix != ".lock" and ".tmp-" not in name:
            digests[name] = hashlib.sha256(_without_place(path.read_bytes(), folder.parent)).hexdigest()
    return digests


def _without_place(content: bytes, folder: Path) -> bytes:
    """What a report names besides its run: where that lies, and when the page was written."""
    return _DATE_OF_A_PAGE.sub(b"", content.replace(os.fsencode(folder), b""))


def _mount(folder: Path, size: int, again: bool = False) -> bool:
    """Mount a file system of this size, which only this process and its children see; False where that is forbidden."""
    if sys.platform != "linux":
        return False
    libc, new_mounts, new_user, remount = ctypes.CDLL(None, use_errno=True), 0x20000, 0x10000000, 0x20
    users = {"uid_map": f"0 {os.getuid()} 1", "setgroups": "deny", "gid_map": f"0 {os.getgid()} 1"}
    if not again and libc.unshare(new_mounts) != 0:
        if libc.unshare(new_mounts | new_user) != 0:
            return False
        for name, line in users.items():  # else no file could be made: it would belong to nobody
            Path(f"/proc/self/{name}").write_text(line)
    if not again:
        private = 0x44000  # MS_PRIVATE and MS_REC: what is mounted here shall not be seen elsewhere
        libc.mount(b"none", b"/", None, private, None)
    settings = f"size={max(size, 4096)}".encode()
    return bool(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", remount if again else 0, settings) == 0)


@contextlib.contextmanager
def _smallest_files(size: int) -> Iterator[None]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    yield
