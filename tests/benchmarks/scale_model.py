"""A model of what widedeep costs by rows, workers and processes, fitted to what scale_measure.py took with one worker.

    python tests/benchmarks/scale_model.py check    its predictions for two and three workers against the measured ones
    python tests/benchmarks/scale_model.py plan     ten billion rows a day on 64 machines, on paper

Both print the tables of docs/scale.md; a test holds that they are the same.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEASURED = Path(__file__).with_name("results") / "scale.json"
CORES = 2
"""Of the machine that was measured."""
WORD = 4
"""Bytes of an index, and of a number."""
SPARE = 1 / 16
"""Of the room of a message stays empty, so that its size need not be told (training/ranks.py)."""
CALLS = 2
"""Exchanges of a step: the rows that were asked for; the sums of gradients with what the next step asks for."""


def expected_distinct(shares: NDArray[np.float64], draws: float) -> float:
    """How many distinct values `draws` independent draws are expected to show, by the share [N] of each value."""
    return float(-np.expm1(draws * np.log1p(-np.minimum(shares, 1.0 - 1e-12))).sum())


@dataclass(frozen=True)
class StageModel:
    """A stage whose parts are shared among workers, while one process does the rest."""

    parent_start: float
    parent_a_row: float
    worker_start: float
    worker_a_row: float
    idle: float
    """Seconds in which nothing is computed: the disk, and one waiting for the other."""
    contention: float
    """What a second busy core makes of a row's time."""

    @classmethod
    def of(cls, stage: str, measured: Mapping[str, Any]) -> "StageModel":
        """From two logs with one worker."""
        small, large = _with_one_worker(stage, measured)
        rows = np.array([small["rows"], large["rows"]], dtype=float)
        parent = np.array([small["parent"], large["parent"]])
        work = np.array([small["cpu"], large["cpu"]]) - parent
        (parent_a_row, parent_start), (worker_a_row, worker_start) = (np.polyfit(rows, y, 1) for y in (parent, work))
        idle = max(0.0, large["wall"] - large["cpu"])
        contention = max(1.0, measured["contention"][stage])  # less is noise
        return cls(parent_start, parent_a_row, worker_start, worker_a_row, idle, contention)

    def cpu(self, rows: float, workers: int) -> float:
        """CPU seconds of all processes."""
        crowded = 1.0 if workers == 1 else self.contention
        of_workers = workers * self.worker_start + crowded * self.worker_a_row * rows
        return self.parent_start + self.parent_a_row * rows + of_workers

    def wall(self, rows: float, workers: int, cores: int = CORES) -> float:
        """Seconds on one machine with `cores`."""
        crowded, busy = (1.0 if workers == 1 else self.contention), min(workers, cores)
        of_workers = workers * self.worker_start + crowded * self.worker_a_row * rows
        return self.idle + self.parent_start + self.parent_a_row * rows + of_workers / busy


def _with_one_worker(stage: str, measured: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [m for m in measured["stages"] if m["stage"] == stage and m["workers"] == 1]
    return sorted(found, key=lambda m: float(m["rows"]))


@dataclass(frozen=True)
class TableModel:
    """A table of a model: its rows are held by all processes in turn, or by each whole."""

    width: int
    split: bool
    of_part: float
    """Distinct rows that a part looks up."""
    of_process: float
    """Distinct rows that a process looks up, for all its parts."""


@dataclass(frozen=True)
class TrainingModel:
    """A step of training by several processes, each with `own_parts` parts."""

    processes: int
    own_parts: int
    tables: Sequence[TableModel]
    dense: int
    """Numbers that the layers of a part hand on."""

    def sent(self) -> float:
        """Bytes that a process sends to the others in a step."""
        others = self.processes - 1
        away = others / self.processes
        answers = sum(away * t.of_process * t.width for t in self.tables if t.split)
        requests = sum(away * t.of_process for t in self.tables if t.split)
        sums = others * self.own_parts * self.dense
        for table in self.tables:
            shared = away if table.split else others
            sums += shared * self.own_parts * table.of_part * (1 + table.width)
        return WORD * (answers + (1.0 + SPARE) * (requests + sums))


@dataclass(frozen=True)
class Exchange:
    """What an exchange costs each process, in seconds."""

    a_peer: float
    a_byte: float

    @classmethod
    def of(cls, measured: Mapping[str, Any], what: str) -> "Exchange":
        """From exchanges alone; `what` is `cpu` or `wall`."""
        calls = measured["exchanges"]
        peers = np.array([c["processes"] - 1 for c in calls], dtype=float)
        sizes = np.array([WORD * c["words"] for c in calls]) * peers
        seconds = np.array([c[what] for c in calls])
        (a_peer, a_byte), *_ = np.linalg.lstsq(np.column_stack([peers, sizes]), seconds, rcond=None)
        return cls(float(a_peer), float(a_byte))

    def seconds(self, calls: float, processes: int, sent: float) -> float:
        """Seconds of all calls of a step."""
        return calls * self.a_peer * (processes - 1) + self.a_byte * sent


def training_models(figures: Mapping[str, Any], processes: int) -> TrainingModel:
    """The step of a measured kind of model, by `processes`."""
    own = figures["parts"] // processes
    tables = [
        TableModel(t["width"], t["split"] and processes > 1, t["distinct"]["part"], t["distinct"][str(processes)])
        for t in figures["tables"]
    ]
    return TrainingModel(processes, own, tables, figures["dense"])


def training_cpu(figures: Mapping[str, Any], exchange: Exchange, processes: int, step: float = 0.0) -> float:
    """CPU seconds of a row, from those of one process with as many parts; `step` is each process's part of a step that
    one process alone has not."""
    model = training_models(figures, processes)
    more = exchange.seconds(CALLS, processes, model.sent()) + step
    return max(1.0, figures["beside"]) * figures["cpu"]["1"] + processes * more / figures["batch_rows"]


@dataclass(frozen=True)
class Cluster:
    """Machines on paper."""

    machines: int = 64
    cores: int = 16
    memory: float = 64e9
    network: float = 3e9
    """Bytes a second in each direction: 25 Gbit/s."""
    disk: float = 1e9
    """Bytes a second of each machine's share of the storage."""


@dataclass(frozen=True)
class Day:
    """A day's log on paper, whose rows are otherwise those of the measured log."""

    rows: float = 1e10
    large_fields: int = 3
    large_values: float = 1e9 / 3
    """Values of each large field, drawn by Zipf's law."""
    exponent: float = 1.05
    width: int = 16
    """Of the large fields' embeddings."""
    numbers_a_weight: int = 3
    """A weight with what its optimizer keeps: FTRL's z and n, Adam's two moments."""


def zipf_distinct(values: float, exponent: float, draws: float) -> float:
    """`expected_distinct` for shares by Zipf's law, whose tail is taken in steps of a thousandth."""
    exact, end = min(2000.0, values), values + 1.0
    edges = np.unique(np.concatenate([np.arange(1.0, exact + 1.0), np.geomspace(exact, end, 20_000).round()]))
    counts, ranks = np.diff(edges), np.sqrt(edges[:-1] * (edges[1:] - 1.0))
    weights = ranks**-exponent
    shares = weights / (counts * weights).sum()
    return float((counts * -np.expm1(draws * np.log1p(-shares))).sum())


def step_on_paper(figures: Mapping[str, Any], day: Day, processes: int) -> TrainingModel:
    """A step of a measured kind of model with the large fields besides; each process has one part."""
    rows = figures["batch_rows"]
    large = day.large_fields * zipf_distinct(day.large_values, day.exponent, rows)
    small = [TableModel(t["width"], True, t["distinct"]["batch"], t["distinct"]["batch"]) for t in figures["tables"]]
    wide, deep = TableModel(1, True, large, large), TableModel(day.width, True, large, large)
    return TrainingModel(processes, 1, [*small, wide, deep], figures["dense"])


def check_tables(measured: Mapping[str, Any]) -> Iterator[str]:
    """Lines: what was measured with two and three workers, and what the model says of them."""
    yield "| stage | workers | CPU, µs a row | model | | wall, s | model | |"
    yield "|---|---|---|---|---|---|---|---|"
    for stage in dict.fromkeys(m["stage"] for m in measured["stages"]):
        model = StageModel.of(stage, measured)
        for m in measured["stages"]:
            rows, workers = m["rows"], m["workers"]
            if m["stage"] != stage or rows != max(other["rows"] for other in measured["stages"]):
                continue
            start = f"| `{stage}` | {workers or 'none'} | {1e6 * m['cpu'] / rows:.2f} | "
            if workers is None or workers == 1:
                yield f"{start}| | {m['wall']:.1f} | | |"
                continue
            cpu, wall = model.cpu(rows, workers), model.wall(rows, workers)
            yield (
                f"{start}{1e6 * cpu / rows:.2f} | {cpu / m['cpu'] - 1:+.0%} | "
                f"{m['wall']:.1f} | {wall:.1f} | {wall / m['wall'] - 1:+.0%} |"
            )
    yield ""
    yield "| model kind | processes | CPU, µs a row | model | | sent a step, kB | model | |"
    yield "|---|---|---|---|---|---|---|---|"
    exchange = Exchange.of(measured, "cpu")
    for figures in measured["training"]:
        kind = figures["kind"]
        yield f"| `{kind}` | 1, `parts: 1` | {1e6 * figures['serial']:.2f} | | | | | |"
        yield f"| | 1 | {1e6 * figures['cpu']['1']:.2f} | | | | | |"
        for processes in sorted(int(number) for number in figures["cpu"] if number != "1"):
            cpu = training_cpu(figures, exchange, processes)
            sent = training_models(figures, processes).sent()
            taken, really = figures["cpu"][str(processes)], figures["sent"][str(processes)]
            yield (
                f"| | {processes} | {1e6 * taken:.2f} | {1e6 * cpu:.2f} | {cpu / taken - 1:+.0%} | "
                f"{really / 1e3:.0f} | {sent / 1e3:.0f} | {sent / really - 1:+.0%} |"
            )


def plan_tables(measured: Mapping[str, Any], cluster: Cluster, day: Day) -> Iterator[str]:
    """Lines: a day's log on paper, by stages and by numbers of processes that train."""
    yield "| stage | workers' hours | the command's own hours | disk, hours |"
    yield "|---|---|---|---|"
    on_disk = measured["bytes_a_row"]
    moved = {
        "ingest": on_disk["log"] + on_disk["ingest"],
        "crosses": 2 * on_disk["ingest"] + on_disk["crosses"],
        "predict": on_disk["log"],
    }
    for stage in dict.fromkeys(m["stage"] for m in measured["stages"]):
        model = StageModel.of(stage, measured)
        shared = model.contention * model.worker_a_row * day.rows / (cluster.machines * cluster.cores)
        disk = moved[stage] * day.rows / (cluster.machines * cluster.disk)
        yield f"| `{stage}` | {shared / 3600:.2f} | {model.parent_a_row * day.rows / 3600:.2f} | {disk / 3600:.2f} |"
    yield ""
    yield (
        "| processes | sent by each, MB a step | computing, ms | exchanging, ms | network, ms | rows a second | an epoch, hours "
        "| tables of each, GB |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    figures = next(t for t in measured["training"] if t["kind"] == "wide_deep")
    exchange = Exchange.of(measured, "cpu")
    numbers = day.large_fields * day.large_values * (1 + day.width) * day.numbers_a_weight
    for processes in (1, 8, cluster.machines, cluster.machines * cluster.cores):
        model, rows = step_on_paper(figures, day, processes), figures["batch_rows"]
        sent = model.sent()
        compute = figures["serial"] * rows
        exchanged = 0.0 if processes == 1 else exchange.seconds(CALLS, processes, sent)
        on_network = sent * max(1, processes // cluster.machines) / cluster.network
        speed = processes * rows / (compute + exchanged + on_network)
        yield (
            f"| {processes:,} | {sent / 1e6:.1f} | {1e3 * compute:.0f} | {1e3 * exchanged:.0f} | {1e3 * on_network:.1f} | "
            f"{speed / 1e6:.1f} M | {day.rows / speed / 3600:.2f} | {WORD * numbers / processes / 1e9:.1f} |"
        )


def main() -> None:
    """Print what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["check", "plan"])
    parser.add_argument("--measured", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    measured = json.loads(arguments.measured.read_text())
    lines = check_tables(measured) if arguments.what == "check" else plan_tables(measured, Cluster(), Day())
    print("\n".join(lines))


if __name__ == "__main__":
    main()
