"""A step in parts (`training.parts`): each has its own forward and backward pass, and what they give is added up in the
order of the parts, whichever process computed it.

A part gives a sum of gradients for each table row that it looks up. Rows of large tables are held by one process each,
which is asked for them and gets the sums; a part then reads a small table of those rows.
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from widedeep.kernels import cpu
from widedeep.kernels.distinct import ONE_COLUMN, ByOwner, by_owner, distinct_rows
from widedeep.kernels.lookups import Lookups
from widedeep.model.network import Network
from widedeep.model.table import Table, Touched
from widedeep.training.feed import DeviceBatch
from widedeep.training.ranks import Ranks, Words

Longs = NDArray[np.int64]


def part_sizes(rows: int, parts: int) -> list[int]:
    """The rows of each part of a batch: the first ones have one more where they do not come out even."""
    return [rows // parts + (part < rows % parts) for part in range(parts)]


def part_ranges(rows: int, batch_size: int, parts: int) -> list[range]:
    """The rows of the store that each part is made of, in all steps of an epoch: so many that all end together."""
    steps, rest = divmod(rows, batch_size)
    sizes = zip(part_sizes(batch_size, parts), part_sizes(rest, parts), strict=True)
    ends = np.cumsum([0, *(steps * whole + last for whole, last in sizes)]).tolist()
    return [range(start, end) for start, end in pairwise(ends)]


def own_parts(parts: int, rank: int, world: int) -> range:
    """The parts that a rank computes."""
    return range(parts * rank // world, parts * (rank + 1) // world)


def seed_part(seed: int, epoch: int, batch: int, part: int) -> None:
    """Let the random numbers that follow (dropout) depend on the part alone."""
    digest = hashlib.blake2b(f"{seed} {epoch} {batch} {part}".encode(), digest_size=8).digest()
    torch.default_generator.manual_seed(int.from_bytes(digest, "little") >> 1)


class TableParts:
    """The tables of a network, read and updated by parts."""

    def __init__(self, network: Network, ranks: Ranks) -> None:
        wide = [] if network.wide is None or network.wide.weights is None else [network.wide.weights]
        self.tables: list[Table] = [*wide, *network.embedding_tables()]
        self._ranks = ranks
        # By table that is split: its rows that the parts of this process read, and each part's look-ups in these.
        self._split = [number for number, table in enumerate(self.tables) if table.is_split]
        self._rows: dict[int, Longs] = {}
        self._owners: dict[int, ByOwner] = {}
        self._small: dict[int, Tensor] = {}
        self._lookups: dict[int, list[Lookups]] = {}
        # By part of this process and by table: rows [U] and the sums of their gradients [U, D].
        self._sums: list[list[tuple[Longs, NDArray[np.float32]]]] = []

    def read(self, parts: Sequence[DeviceBatch]) -> None:
        """Fetch the rows that the parts of this process look up, where others may hold them."""
        self.answer(self._ranks.exchange(self.requests(parts), kind="requests"))

    def requests(self, parts: Sequence[DeviceBatch]) -> list[Words]:
        """By rank: which of its rows the parts of this process look up. The step before need not be done, but all of
        its parts must be collected.
        """
        self._rows, self._small, self._lookups, self._owners = {}, {}, {}, {}
        for number in self._split:
            columns = self.tables[number].columns
            lookups = [Lookups(columns, part.indices, part.bags) for part in parts]
            self._rows[number], self._lookups[number] = distinct_rows(lookups)
            self._owners[number] = by_owner(self._rows[number], self._ranks.world)
        messages = []
        for rank in range(self._ranks.world):
            ids = [self._owners[number].ids_of(rank) for number in self._split]
            messages.append(np.concatenate([np.array([len(part) for part in ids], dtype=np.int32), *ids]))
        return messages

    def answer(self, requests: Sequence[Words]) -> None:
        """Send the ranks the rows that they ask for, as they are by now, and take what this one has asked for."""
        if self._split:
            self._small = self._answer(self._split, requests)

    def _answer(self, split: Sequence[int], requests: Sequence[Words]) -> dict[int, Tensor]:
        places = self._owners
        answers: list[list[Words]] = [[] for _ in requests]
        wanted = [_cut(request[len(split) :], request[: len(split)]) for request in requests]
        for place, number in enumerate(split):
            ids = [of_rank[place] for of_rank in wanted]
            values = _rows_of(self.tables[number], torch.from_numpy(np.concatenate(ids)))
            ends = np.cumsum([len(of_rank) for of_rank in ids])
            for answer, part in zip(answers, np.split(values.numpy(), ends[:-1]), strict=True):
                answer.append(_as_words(part))
        widths = {number: self.tables[number].weight.shape[1] for number in split}
        counts = [[len(places[n].ids_of(rank)) * widths[n] for n in split] for rank in range(self._ranks.world)]
        messages = [np.concatenate(answer) for answer in answers]
        received = self._ranks.exchange(messages, [sum(of_rank) for of_rank in counts])
        fetched = {n: np.empty((len(self._rows[n]), widths[n]), dtype=np.float32) for n in split}
        for rank, message in enumerate(received):
            for number, part in zip(split, _cut(message, counts[rank]), strict=True):
                fetched[number][places[number].places_of(rank)] = _as_floats(part, widths[number])
        return {number: torch.from_numpy(values) for number, values in fetched.items()}

    def give(self, part: int) -> None:
        """Let the next forward pass be that of a part, by its place among the parts that were read."""
        for number, small in self._small.items():
            self.tables[number].given = (small, self._lookups[number][part])

    def collect(self) -> None:
        """Sum the gradients of the last backward pass, row by row."""
        sums = []
        for number, table in enumerate(self.tables):
            touched = table.touched
            assert touched is not None, "no training forward pass of a part"
            table.touched = None
            rows, of_rows = cpu.gradient_sums(self._small.get(number, table.weight), touched.lookups, touched.gradient)
            sums.append((self._rows[number][rows] if table.is_split else rows, of_rows))
        self._sums.append(sums)

    def share(self, dense: Sequence[Tensor], size: int, notes: Sequence[Words]) -> tuple[list[Tensor], list[Words]]:
        """Hand the sums of gradients to the processes that hold their rows, as if all parts were one pass.

        `dense` holds numbers [size] for each part of this process; gives those of all parts, in their order. Each rank
        gets its one of `notes` along with them; gives what has come from the ranks.
        """
        messages = self._messages(dense, notes)
        touched: list[list[tuple[Words, NDArray[np.float32]]]] = [[] for _ in self.tables]
        shared: list[Tensor] = []
        received: list[Words] = []
        for message in self._ranks.exchange(messages, kind="sums"):
            end = int(message[0])
            received.append(message[1 : 1 + end])
            message = message[1 + end :]
            parts = int(message[0])
            head = message[1 : 1 + parts * len(self.tables)].reshape(parts, len(self.tables))
            at = 1 + head.size
            for part in range(parts):
                for number, table in enumerate(self.tables):
                    rows, width = int(head[part, number]), table.weight.shape[1]
                    ids, sums = message[at : at + rows], message[at + rows : at + rows * (1 + width)]
                    touched[number].append((ids, _as_floats(sums, width)))
                    at += rows * (1 + width)
                shared.append(torch.from_numpy(_as_floats(message[at : at + size], 1).reshape(-1)))
                at += size
        for table, parts_of_table in zip(self.tables, touched, strict=True):
            ids = np.concatenate([ids for ids, _ in parts_of_table])
            sums = np.concatenate([sums for _, sums in parts_of_table])
            output = torch.empty(sums.shape)
            output.grad = torch.from_numpy(sums)
            table.touched = Touched(Lookups(ONE_COLUMN, torch.from_numpy(ids).unsqueeze(0), ()), output)
        self._sums = []
        return shared, received

    def _messages(self, dense: Sequence[Tensor], notes: Sequence[Words]) -> list[Words]:
        world = self._ranks.world
        heads = [[len(note)] for note in notes]
        content: list[list[Words]] = [[] for _ in notes]
        for rank in range(world):
            heads[rank].append(len(self._sums))
        for sums, numbers in zip(self._sums, dense, strict=True):
            for table, (rows, of_rows) in zip(self.tables, sums, strict=True):
                if table.is_split:
                    owners = by_owner(rows, world)
                    of_rows = of_rows[owners.order]
                    of_ranks = [(owners.ids_of(rank), of_rows[owners.slice_of(rank)]) for rank in range(world)]
                else:
                    of_ranks = [(rows.astype(np.int32), of_rows)] * world
                for rank, (ids, of_ids) in enumerate(of_ranks):
                    heads[rank].append(len(ids))
                    content[rank] += [ids, _as_words(of_ids)]
            for of_rank in content:
                of_rank.append(_as_words(numbers.numpy()))
        return [
            np.concatenate([np.array(head[:1], dtype=np.int32), note, np.array(head[1:], dtype=np.int32), *of_rank])
            for head, note, of_rank in zip(heads, notes, content, strict=True)
        ]


def _rows_of(table: Table, ids: Tensor) -> Tensor:
    """Rows of the table's `weight` by their places in it, brought up to date: [U, D]."""
    lookups = Lookups(ONE_COLUMN, ids.unsqueeze(0), ())
    if table.training and table.before_lookup is not None:
        table.before_lookup(lookups)
    out = torch.empty(len(ids), table.weight.shape[1])
    cpu.look_up(table.weight, lookups, out)
    return out


def _cut(words: Words, sizes: Sequence[int] | Words) -> list[Words]:
    return np.split(words, np.cumsum(sizes))[: len(sizes)]


def _as_words(numbers: NDArray[np.float32]) -> Words:
    return np.ascontiguousarray(numbers).reshape(-1).view(np.int32)


def _as_floats(words: Words, width: int) -> NDArray[np.float32]:
    return words.view(np.float32).reshape(-1, width)


class DenseParts:
    """The parameters and the running statistics of batch norm, whose numbers of a part are handed on as one vector.

    While parts are computed, the layers' momentum is 1: the statistics are then those of the part. They enter the
    running ones in the order of the parts.
    """

    def __init__(self, network: Network) -> None:
        self._parameters = list(network.parameters())
        self._norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
        self._momentum = [norm.momentum for norm in self._norms]
        self._before: list[tuple[Tensor, Tensor, Tensor]] = []
        self.size = sum(p.numel() for p in self._parameters) + len(self._parameters) + 1
        self.size += sum(2 * norm.num_features for norm in self._norms)

    def begin(self) -> None:
        """Before the parts of a step."""
        self._before = [tuple(s.clone() for s in _statistics(norm)) for norm in self._norms]  # type: ignore[misc]
        for norm in self._norms:
            norm.momentum = 1.0

    def collect(self, loss: Tensor) -> Tensor:
        """The numbers [size] of the part whose backward pass was the last: its loss comes last."""
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        live = torch.tensor([p.grad is not None for p in self._parameters], dtype=torch.float32)
        for parameter in self._parameters:
            parameter.grad = None
        parts += [statistic for norm in self._norms for statistic in _statistics(norm)[:2]]
        return torch.cat([*(part.detach().reshape(-1) for part in parts), live, loss.detach().view(1)])

    def add_up(self, parts: Sequence[Tensor]) -> float:
        """Set all gradients and statistics as the parts have them together; gives the sum of their losses."""
        total = parts[0].clone()
        for part in parts[1:]:
            total += part
        at = 0
        gradients = []
        for parameter in self._parameters:
            gradients.append(total[at : at + parameter.numel()].view_as(parameter))
            at += parameter.numel()
        at = self._normalise(parts, at)
        for parameter, gradient, live in zip(self._parameters, gradients, total[at:].tolist(), strict=False):
            parameter.grad = gradient.clone() if live else None
        return float(total[-1])

    def _normalise(self, parts: Sequence[Tensor], at: int) -> int:
        for norm, before, momentum in zip(self._norms, self._before, self._momentum, strict=True):
            norm.momentum = momentum
            assert momentum is not None
            for running, old in zip(_statistics(norm)[:2], before, strict=False):
                running.copy_(old)
                for part in parts:
                    running.mul_(1.0 - momentum).add_(part[at : at + len(running)], alpha=momentum)
                at += len(running)
            _statistics(norm)[2].copy_(before[2] + len(parts))
        return at


def _statistics(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert mean is not None
    assert variance is not None
    assert batches is not None
    return mean, variance, batches


def together(streams: Sequence[Iterator[DeviceBatch]], steps: int) -> Iterator[list[DeviceBatch | None]]:
    """The parts of each step, one of each stream; a stream that has ended gives None."""
    for _ in range(steps):
        yield [next(stream, None) for stream in streams]
