"""Atomic writes, so that nothing half-written is ever read: temporary place, fsync, rename. Checks of permissions."""

import errno
import hashlib
import io
import itertools
import json
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from widedeep.errors import ArtefactError, OutputExistsError, UsageError, WriteError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Faults that only writing has."""
_OF_A_PLACE = {
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EEXIST, errno.EIO, errno.ESTALE, errno.EILSEQ),
}
"""Faults of reading as well as of writing: the name that comes with them tells which."""
# Polars wraps some write failures in its own exceptions; the operating system's words survive in their text.
_CANNOT_WRITE_WORDS = tuple(os.strerror(code) for code in sorted(_FULL | _OF_A_PLACE))
_ADVICE = "free some space or choose another place"
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
_MOST_TAKEN = 100
"""So often a directory is put in the place of another that has just been put there by somebody else."""

_CLAIM = re.compile(r"(?P<host>[0-9a-f]{8})-(?P<boot>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)")
"""Says whose something is: machine, its start, process, the start of that."""
_CLAIMED = re.compile(rf"\..*\.tmp-(?P<claim>{_CLAIM.pattern})-\d+")
"""The name of a temporary place: it holds the claim of its owner."""
_OLDER_CLAIM = re.compile(r"\..*\.tmp-\d+")
"""Such a name as versions before this one gave: a process of an unknown machine."""
_OF_A_RUN = re.compile(
    r"(recipe\.yaml|(manifest|metrics)\.json|(events|promotions)\.jsonl|golden\.parquet|DONE|(plan|checkpoints)/.*)"
)
"""What lies in a run directory, by its path there."""
_numbers = itertools.count()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, a read-only place or a missing permission into a WriteError that names `path`.

    A fault that reading has too is one of writing if it names `path`, its folder, what lies in it or a temporary place.
    """
    try:
        yield
    except OSError as error:
        if _is_of_writing(error, path):
            raise WriteError(f"{path}: cannot write: {error.strerror or _fault_told(error)}; {_ADVICE}") from error
        raise
    except Exception as error:
        if (reason := _fault_told(error)) is not None:
            raise WriteError(f"{path}: cannot write: {reason}; {_ADVICE}") from error
        raise


def _is_of_writing(error: OSError, path: Path) -> bool:
    if error.errno is None:
        return _fault_told(error) is not None
    if error.errno not in _OF_A_PLACE:
        return error.errno in _FULL
    if not isinstance(error.filename, str | bytes):
        return True  # of an open file: what reads files has told its faults already
    named = Path(os.fsdecode(error.filename)).absolute()
    of_path = named == path.parent.absolute() or named.is_relative_to(path.absolute())
    return of_path or any(_CLAIMED.fullmatch(part) for part in named.parts)


def _fault_told(error: Exception) -> str | None:
    """The operating system's words in an error of a library that writes; None if there are none."""
    if not type(error).__module__.startswith(("polars", "safetensors", "builtins")):
        return None
    return next((words for words in _CANNOT_WRITE_WORDS if words in str(error)), None)


@contextmanager
def temporary_directory(place: Path | None = None) -> Iterator[Path]:
    """Yield an empty directory in `place` (default: the system's for temporary files), which is gone afterwards.

    Its name says which process owns it. What dead processes left in the same place is removed first.
    """
    parent = Path(tempfile.gettempdir()) if place is None else place
    sweep(parent)
    # The name is ours alone, as no library need be able to write the name of the user's file.
    directory = parent / f".widedeep.tmp-{own_claim()}-{next(_numbers)}"
    try:
        directory.mkdir(mode=0o700 if place is None else 0o777)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sweep(folder: Path, *, older: bool = False) -> None:
    """Remove temporary files and directories in `folder` whose owner was a process of this machine that has ended.

    What another machine or another user owns stays. With `older`, what earlier versions left goes too; their names do
    not tell the machine, so it must be certain that no process of such a version writes there.
    """
    # It is no task of the caller's to clean up: what cannot be removed stays.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _is_left_over(entry.name, older=older):
                continue
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def is_temporary(name: str) -> bool:
    """Whether this is the name of a temporary place, whoever owns it."""
    return _CLAIMED.fullmatch(name) is not None or _OLDER_CLAIM.fullmatch(name) is not None


def paths_below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder and below it, but for temporary places: others may remove theirs meanwhile.

    Unlike `rglob`, it raises nothing for a folder that vanishes.
    """
    for place, names, files in os.walk(folder):
        names[:] = (name for name in names if not is_temporary(name))
        yield from (Path(place, name) for name in (*names, *files) if not is_temporary(name))


def _is_left_over(name: str, *, older: bool) -> bool:
    claimed = _CLAIMED.fullmatch(name)
    return is_gone(claimed["claim"]) if claimed else older and _OLDER_CLAIM.fullmatch(name) is not None


def own_claim() -> str:
    """What tells this process from all others, on other machines too, as part of a name."""
    host, boot = _machine()
    process = os.getpid()
    state = _state_and_start(process)
    return f"{host}-{boot}-{process}-{0 if state is None else state[1]}"


def is_gone(claim: str) -> bool:
    """Whether a claim is of a process of this machine that has ended."""
    claimed, (host, boot) = _CLAIM.fullmatch(claim), _machine()
    if claimed is None or claimed["host"] != host:
        return False
    return claimed["boot"] != boot or not _lives(int(claimed["pid"]), int(claimed["start"]))


def is_elsewhere(claim: str) -> bool:
    """Whether a claim is of a process of another machine."""
    claimed = _CLAIM.fullmatch(claim)
    return claimed is not None and claimed["host"] != _machine()[0]


@cache
def _machine() -> tuple[str, str]:
    """What tells this machine, as process numbers see it, from others, and this start of it from earlier ones."""
    # Containers on one machine may share its name, but number their processes by themselves.
    numbered = ""
    with suppress(OSError):
        numbered = os.readlink("/proc/self/ns/pid")
    host = [platform.node(), _text("/etc/machine-id"), numbered]
    return _digest("\n".join(host)), _digest(_text("/proc/sys/kernel/random/boot_id"))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=4).hexdigest()


def _lives(process: int, start: int) -> bool:
    """Whether the process that began at `start` (0 where the system does not tell) is still there."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # somebody else's
    now = _state_and_start(process)
    # A killed process stays as a zombie until its parent has asked for its end.
    return now is None or (now[0] not in "ZX" and start in {0, now[1]})


def _state_and_start(process: int) -> tuple[str, int] | None:
    """State and start (in ticks since the machine's) of a process; None where the system has no such file."""
    # The name of the program, in parentheses, may hold anything.
    fields = _text(f"/proc/{process}/stat").rpartition(")")[2].split()
    return (fields[0], int(fields[19])) if len(fields) > 19 else None


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file; on success it is synced and takes `path`'s place, else it is removed.

    It lies in a directory of its own beside `path`, where a library may put what it needs meanwhile. Its permissions
    are those of a plain new file, whatever library wrote it.
    """
    with writing(path), temporary_directory(path.parent) as directory, _named_as(path, directory / "new") as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        # safetensors replaces the file by one of its own, which nobody but the owner may read.
        if temporary.stat().st_mode != mode:
            temporary.chmod(mode)
        sync_file(temporary)
        os.replace(temporary, path)
        sync_directory(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """`replacing_file` for a file of a directory that is no more than temporary itself: it is whole, but not synced."""
    with writing(path), temporary_directory(path.parent) as directory, _named_as(path, directory / "new") as temporary:
        yield temporary
        os.replace(temporary, path)


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory beside `path`; on success it takes `path`'s place, else it is removed."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path), temporary_directory(path.parent) as directory, _named_as(path, directory / "new") as temporary:
        temporary.mkdir()
        yield temporary
        for file in sorted(paths_below(temporary)):
            if file.is_file():
                sync_file(file)
        _replace_directory(temporary, path, directory)
        sync_directory(path.parent)


@contextmanager
def _named_as(path: Path, temporary: Path) -> Iterator[Path]:
    """Yield `temporary`; a WriteError that names it, or what lies in it, names what was to be there in the end."""
    try:
        yield temporary
    except WriteError as error:
        named = str(error).replace(str(temporary), str(path)).replace(str(temporary.parent), str(path))
        raise WriteError(named) from error


def _replace_directory(new: Path, path: Path, aside: Path) -> None:
    """Move `new` to `path`; what lay there goes into the directory `aside`."""
    for number in itertools.count():
        # A directory with files in it cannot be replaced in one step.
        old = aside / f"old-{number}"
        with suppress(FileNotFoundError):
            os.replace(path, old)
        try:
            os.replace(new, path)
            return
        except OSError as error:
            if error.errno in _TAKEN and number < _MOST_TAKEN:
                continue  # another process has put its own there between the two steps: the last one stays
            with suppress(OSError):
                os.replace(old, path)
            raise


def for_polars(path: Path) -> Path | io.BytesIO:
    """The file, in a form that Polars reads whatever its name is: the bytes themselves where its name is not UTF-8.

    Polars takes a `~` in front for a home directory. With `glob=False` it takes no other character for a pattern.
    """
    absolute = path.absolute()
    return absolute if _is_utf8(absolute) else io.BytesIO(path.read_bytes())


@contextmanager
def plain_name(path: Path) -> Iterator[Path]:
    """Yield a name of the file that is UTF-8, which safetensors needs: its own, or one of the file while it is open."""
    if _is_utf8(path):
        yield path
        return
    with path.open("rb") as file:
        yield Path(f"/dev/fd/{file.fileno()}")


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_readable(path: Path) -> None:
    """Raise ArtefactError if a file of a run or a stage exists but may not be read.

    To some readers such a file looks as if it were missing, so call this first. Any other fault is theirs to tell.
    """
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise ArtefactError(
            f"{path}: you have no permission to read it: ask its owner for that (chmod a+r), or for a copy of your own"
        ) from error
    except OSError:
        return


def check_output(path: Path, *, force: bool, may_be_stream: bool = False) -> Path:
    """The file that `path` means, links followed, once it is known that it may be written: call it before the work.

    With `may_be_stream`, a device or named pipe is taken too, and needs no `force`. Raises WriteError for a place where
    no file can be written, OutputExistsError for a file that is there, without `force`, and UsageError for a file of a
    run, whatever `force` says.
    """
    target = Path(os.path.realpath(path))
    refuse_file_of_a_run(path)
    try:
        kind = stat.S_IFMT(target.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        kind = None
    except OSError as error:
        raise WriteError(f"{path}: cannot write: {error.strerror}; {_ADVICE}") from error
    if kind == stat.S_IFDIR:
        raise WriteError(f"{path}: is a directory; name a file in it")
    if kind not in {None, stat.S_IFREG}:
        if not may_be_stream:
            raise WriteError(f"{path}: is no file but a device, pipe or socket; name a file to write")
        return target
    if not target.parent.is_dir():
        raise WriteError(f"{path}: its folder does not exist: make it first")
    if kind is not None and not force:
        raise OutputExistsError(f"{path}: exists already; --force replaces it")
    # A file takes the place of the old one, so it is the folder that must be writable.
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise WriteError(f"{path}: you may not write in its folder: choose another place")
    return target


def refuse_file_of_a_run(output: Path) -> None:
    """Raise UsageError if `output` is, links followed, a file of a run directory."""
    target = Path(os.path.realpath(output))
    for folder in target.parents:
        if not _OF_A_RUN.fullmatch(target.relative_to(folder).as_posix()):
            continue
        if all(os.path.isfile(folder / name) for name in ("recipe.yaml", "manifest.json")):
            raise UsageError(f"{output}: is a file of the run {folder.name}: name another file to write")


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, atomically, as UTF-8; bytes of paths that are none are shown as `\\udc..`."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN), atomically."""
    text = indented_json(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # a path in it is not UTF-8
        text = json.dumps(value, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def indented_json(value: Any, margin: str = "\n") -> str:
    """What `json.dumps` writes with an indent of 2, strict and in Unicode, in a quarter of the time: what holds nothing
    but values is left to its compiled encoder. Raises ValueError for NaN and infinities."""
    inner = margin + "  "
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=("," + inner, ": ")).encode
    if not value or not isinstance(value, dict | list | tuple):
        return encode(value)
    is_object = isinstance(value, dict)
    parts = value.values() if isinstance(value, dict) else value
    if not any(isinstance(part, dict | list | tuple) and part for part in parts):
        content = encode(value)[1:-1]
    else:
        texts = (indented_json(part, inner) for part in parts)
        if is_object:
            names = (name if isinstance(name, str) else json.dumps(name) for name in value)
            texts = (f"{encode(name)}: {text}" for name, text in zip(names, texts, strict=True))
        content = ("," + inner).join(texts)
    opening, closing = "{}" if is_object else "[]"
    return f"{opening}{inner}{content}{margin}{closing}"


def sync_file(path: Path) -> None:
    """Ask the operating system to put a file's bytes on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def syncing() -> Iterator[Callable[[Path], None]]:
    """Yield a function that has a file's bytes put on the disk by a thread; the block's end waits for it.

    A directory that takes its place syncs all its files, and would otherwise have to wait for them then. Raises
    WriteError.
    """
    from concurrent.futures import Future, ThreadPoolExecutor  # only here: `--help` does without

    def sync(path: Path) -> None:
        with writing(path):
            sync_file(path)

    under_way: list[Future[None]] = []
    with ThreadPoolExecutor(1) as thread:
        yield lambda path: under_way.append(thread.submit(sync, path))
        for synced in under_way:
            synced.result()


def sync_directory(path: Path) -> None:
    """Ask the operating system to put a directory's names on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
