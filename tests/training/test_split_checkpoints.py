"""Checkpoints of tables whose rows lie in several processes: the bytes of one process, readable by any number."""

from pathlib import Path

import pytest
import torch
from thread_ranks import in_ranks
from torch import Tensor

from widedeep.errors import ArtefactError
from widedeep.training.checkpoints import save_checkpoint
from widedeep.training.ranks import Ranks
from widedeep.training.split_checkpoints import read_split, remove_shards, write_split, write_whole

STATE = {"progress": {"step": 7}, "words": "æ"}
WHOLE = {
    "model.bias": torch.tensor(0.5),
    "model.table.weight": torch.arange(33.0).view(11, 3),
    "model.norm.num_batches_tracked": torch.tensor(4),
    "optimizer.wide.z": torch.arange(11.0).view(11, 1) - 5.0,
    "optimizer.wide.decay_received": torch.arange(11, dtype=torch.float64) / 7.0,
}
ROWS = {"model.table.weight": 11, "optimizer.wide.z": 11, "optimizer.wide.decay_received": 11}


def held_by(rank: int, world: int) -> dict[str, range]:
    return {name: range(rank, rows, world) for name, rows in ROWS.items()}


def share_of(tensors: dict[str, Tensor], rank: int, world: int) -> dict[str, Tensor]:
    return {name: t[rank::world].clone() if name in ROWS else t for name, t in tensors.items()}


@pytest.mark.parametrize("world", [2, 3, 20])
def test_a_whole_file_has_the_bytes_that_one_process_writes(world: int, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "alone.safetensors", WHOLE, STATE)

    def write(ranks: Ranks) -> None:
        shares = share_of(WHOLE, ranks.rank, world)
        write_whole(tmp_path / "together.safetensors", shares, STATE, ROWS, ranks)

    in_ranks(world, write)
    assert (tmp_path / "together.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()


@pytest.mark.parametrize(("world", "readers"), [(2, 3), (3, 2), (4, 6), (3, 1), (1, 4), (20, 3)])
def test_any_number_of_processes_reads_what_any_number_wrote(world: int, readers: int, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    in_ranks(world, lambda ranks: write_split(path, share_of(WHOLE, ranks.rank, world), STATE, ROWS, ranks))
    for rank in range(readers):
        tensors, state = read_split(path, held_by(rank, readers))
        expected = share_of(WHOLE, rank, readers)
        assert state == STATE
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())


def test_processes_read_their_shares_of_a_whole_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.safetensors", WHOLE, STATE)
    tensors, state = read_split(tmp_path / "last.safetensors", held_by(1, 2))
    assert state == STATE
    assert all(torch.equal(tensors[name], tensor) for name, tensor in share_of(WHOLE, 1, 2).items())


def test_a_new_checkpoint_replaces_the_shares_of_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    for world, step in ((3, 7), (2, 8)):
        state = {"progress": {"step": step}}
        in_ranks(
            world,
            lambda ranks, state=state: write_split(path, share_of(WHOLE, ranks.rank, ranks.world), state, ROWS, ranks),
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "last-8-0-of-2.safetensors",
        "last-8-1-of-2.safetensors",
        "last.safetensors",
    ]
    remove_shards(path)
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_share_that_is_gone_or_of_other_rows_is_told(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    in_ranks(2, lambda ranks: write_split(path, share_of(WHOLE, ranks.rank, 2), STATE, ROWS, ranks))
    with pytest.raises(ArtefactError, match="has 6 rows, not 7"):
        read_split(path, {name: range(0, 14, 1) for name in ROWS})
    (tmp_path / "last-7-1-of-2.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"last-7-1-of-2.safetensors: no checkpoint is here"):
        read_split(path, held_by(0, 1))
