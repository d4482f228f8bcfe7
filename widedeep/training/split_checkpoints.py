"""Checkpoints of tables whose rows lie in several processes.

`write_whole` gives the file that one process would write, row block by row block, so that none holds a whole table.
`write_split` lets every process write what it holds, beside a file with all else; any number of processes can read it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from widedeep.artefacts import require_shape
from widedeep.errors import ArtefactError
from widedeep.files import replacing_file, writing
from widedeep.training.checkpoints import load_checkpoint, save_checkpoint
from widedeep.training.ranks import Ranks, Words

_BLOCK_BYTES = 1 << 22
"""Bytes of a table that are written at a time."""
_TYPES = {torch.int64: "I64", torch.float64: "F64", torch.float32: "F32"}
"""Types of tensors as safetensors names them, in the order in which it puts them into a file."""

Held = Mapping[str, range]
"""Name of a tensor of a table → the rows of it that lie in this process; the range's end tells the table's rows."""


def write_whole(
    path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], split: Mapping[str, int], ranks: Ranks
) -> None:
    """Write the file that `save_checkpoint` would write of whole tensors.

    `split`: name → the number of rows of a whole tensor, of which `tensors` has this process's.
    """
    if ranks.rank == 0:
        with replacing_file(path) as temporary, writing(path), temporary.open("wb") as file:
            _write(file, tensors, state, split, ranks)
    else:
        _write(None, tensors, state, split, ranks)
    ranks.told(lambda: None)  # rank 0 may take its time with the disk


def _write(
    file: IO[bytes] | None,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    split: Mapping[str, int],
    ranks: Ranks,
) -> None:
    order = list(_TYPES)
    named = sorted(tensors.items(), key=lambda pair: (order.index(pair[1].dtype), pair[0]))
    if file is not None:
        file.write(_header(named, state, split))
    for name, tensor in named:
        host = tensor.detach().contiguous()
        if name not in split:
            if file is not None:
                file.write(host.reshape(-1).view(torch.uint8).numpy().data if host.numel() else b"")
            continue
        for block in _blocks(host, split[name], ranks):
            if file is not None:
                file.write(block)


def _header(named: list[tuple[str, Tensor]], state: Mapping[str, Any], split: Mapping[str, int]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"state": json.dumps(dict(state), sort_keys=True, allow_nan=False)}}
    at = 0
    for name, tensor in named:
        shape = [split.get(name, len(tensor)), *tensor.shape[1:]] if tensor.dim() else []
        size = math.prod(shape) * tensor.element_size()
        entries[name] = {"dtype": _TYPES[tensor.dtype], "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _blocks(tensor: Tensor, num_rows: int, ranks: Ranks) -> Iterator[bytes]:
    """In rank 0: the rows of all ranks, in order, a block at a time; empty elsewhere."""
    world = ranks.world
    flat = tensor.reshape(len(tensor), math.prod(tensor.shape[1:])).numpy()
    words = flat.shape[1] * flat.itemsize // 4
    block_rows = max(1, _BLOCK_BYTES // (4 * words * world))  # of each rank
    for first in range(0, math.ceil(num_rows / world), block_rows):
        own = np.ascontiguousarray(flat[first : first + block_rows]).reshape(-1).view(np.int32)
        nothing = np.empty(0, dtype=np.int32)
        received = ranks.exchange([own, *[nothing] * (world - 1)])
        if ranks.rank == 0:
            yield _interleaved(received, words)
        else:
            yield b""


def _interleaved(received: list[Words], words: int) -> bytes:
    parts = [message.reshape(-1, words) for message in received]
    rows = np.empty((sum(map(len, parts)), words), dtype=np.int32)
    for rank, part in enumerate(parts):
        rows[rank :: len(parts)] = part
    return rows.tobytes()


def write_split(
    path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], split: Mapping[str, int], ranks: Ranks
) -> None:
    """Write what each process holds of the tensors in `split` to a file of its own, the rest to `path`.

    Whoever is killed meanwhile leaves the last checkpoint as it was.
    """
    step = state["progress"]["step"]
    names = [f"{path.stem}-{step}-{rank}-of-{ranks.world}.safetensors" for rank in range(ranks.world)]
    own = {name: tensor for name, tensor in tensors.items() if name in split}
    save_checkpoint(path.parent / names[ranks.rank], own, {"step": step})
    ranks.wait()
    if ranks.rank == 0:
        rest = {name: tensor for name, tensor in tensors.items() if name not in split}
        save_checkpoint(path, rest, {**state, "shards": names})
        remove_shards(path, keep=names)
    ranks.told(lambda: None)


def remove_shards(path: Path, keep: list[str] | None = None) -> None:
    """Remove the files that `write_split` has written beside `path`, but for those to keep."""
    for file in path.parent.glob(f"{path.stem}-*-of-*.safetensors"):
        if file.name not in (keep or []):
            with suppress(OSError):
                file.unlink()


def read_split(path: Path, held: Held) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What this process holds of a checkpoint, whole or written by any number of processes, and its state.

    Raises ArtefactError as `load_checkpoint`.
    """
    tensors, state = load_checkpoint(path)
    names = state.pop("shards", None)
    if names is None:
        own = {n: t[held[n].start :: held[n].step].clone() if n in held else t for n, t in tensors.items()}
        return own, state
    require_shape(names, [str], path)
    for rank, name in enumerate(names):
        if Path(name).name != name:
            raise ArtefactError(f"{path}: {name[:40]!r} is no name of a file beside it: train again")
        shard, _ = load_checkpoint(path.parent / name)
        for tensor, rows in shard.items():
            if tensor not in held:
                raise ArtefactError(f"{path.parent / name}: checkpoint of another model: it has {tensor}; train again")
            mine = held[tensor]
            whole = tensors.setdefault(tensor, rows.new_empty(len(mine), *rows.shape[1:]))
            _take(whole, mine, rows, rank, len(names), path.parent / name)
    return tensors, state


def _take(into: Tensor, mine: range, rows: Tensor, rank: int, world: int, path: Path) -> None:
    """Copy the rows rank, rank + world, … of a table, which `rows` are, to where they belong among `mine`."""
    theirs = range(rank, mine.stop, world)
    if len(rows) != len(theirs):
        raise ArtefactError(f"{path}: checkpoint of another model: it has {len(rows):,} rows, not {len(theirs):,}")
    step = math.lcm(world, mine.step)
    common = next((row for row in range(rank, min(mine.stop, rank + step), world) if row in mine), None)
    if common is not None:
        into[mine.index(common) :: step // mine.step] = rows[theirs.index(common) :: step // world]
