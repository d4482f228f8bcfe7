"""The row of the wide part: a pass over encoded data against Vowpal Wabbit's pass over its cache."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from click_log import CATEGORICAL, NUMERIC, ClickLog, write_recipe
from peer_environments import run_peer
from sklearn.metrics import roc_auc_score
from training_rows import train_once

from widedeep.encoded.store import EncodedStore
from widedeep.features.fields import bucket_name
from widedeep.features.plan import FeaturePlan
from widedeep.features.targets import LABEL_COLUMN
from widedeep.model.network import Network
from widedeep.pipeline.stages import build_crosses
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import load_recipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.scoring.scorer import input_layout
from widedeep.training.device import set_threads
from widedeep.training.inference import evaluate_store

NAMESPACES = dict(zip([*CATEGORICAL, *NUMERIC], string.ascii_letters, strict=False))
"""Vowpal Wabbit knows fields by one letter, and crosses as pairs of letters."""
RULES: dict[str, list[str]] = {"its default rule": [], "--ftrl": ["--ftrl"]}
_BITS = "22"


@dataclass(frozen=True)
class Encoded:
    """The log as both sides read it: indices of 26 columns and of 13 numbers in 20 buckets, and eight crosses."""

    recipe: Recipe
    plan: FeaturePlan
    train: EncodedStore
    test: EncodedStore


@dataclass(frozen=True)
class Pass:
    """One pass over the train rows."""

    rows_per_second: float
    auc: float
    """On the test rows."""


@dataclass(frozen=True)
class Passes:
    """Passes of both, in turn."""

    ours: list[Pass]
    theirs: dict[str, list[Pass]]
    """By the rule that they learn with."""
    recipe: str


def encode(log: ClickLog, work: Path) -> Encoded:
    """Ingest and encode the log with its crosses."""
    path = write_recipe(
        work / "wide.yaml",
        log,
        with_test=True,
        features={
            "numeric": [{"column": name, "buckets": 20} for name in NUMERIC],
            "categorical": [{"column": name, "min_count": 1} for name in CATEGORICAL],
        },
        crosses=[{"fields": list(cross), "min_count": 1} for cross in log.crosses],
        model={"kind": "wide", "wide": {"crosses": "gradient"}},
    )
    loaded = load_recipe(path)
    encoded = build_crosses(loaded, work, Reporter()).path
    plan = FeaturePlan.load(encoded / "plan")
    train, test = (EncodedStore.open(encoded / split) for split in ("train", "test"))
    return Encoded(loaded.recipe, plan, train, test)


def our_pass(data: Encoded, work: Path) -> Pass:
    """Every weight learnt by gradient, those of crosses too: all that is learnt is learnt in the pass that is timed."""
    layout = input_layout(data.plan, data.recipe)
    torch.manual_seed(0)
    network = Network(layout, data.recipe.model)
    _, clock = train_once(data.recipe, network, layout, data.train, work)
    auc = evaluate_store(network, data.test, layout, "binary", torch.device("cpu"))["auc"]
    assert auc is not None
    return Pass(clock.rows_per_second(), auc)


def write_text(store: EncodedStore, path: Path) -> None:
    """The store's rows in Vowpal Wabbit's format, a namespace for each field."""
    label = pl.when(pl.col(LABEL_COLUMN) > 0).then(pl.lit("1")).otherwise(pl.lit("-1"))
    parts: list[pl.Expr] = [label]
    for name, letter in NAMESPACES.items():
        column = bucket_name(name) if name in NUMERIC else name
        parts += [pl.lit(f" |{letter} "), pl.col(column).cast(pl.String)]
    shards = [store.directory / shard.name for shard in store.shards]
    pl.scan_ipc(shards).select(pl.concat_str(parts)).sink_csv(path, include_header=False, quote_style="never")


class VowpalWabbit:
    """Its text, caches and passes. Text and caches are made beforehand."""

    def __init__(self, data: Encoded, crosses: Sequence[Sequence[str]], work: Path, scratch: Path) -> None:
        self.work, self.scratch, self.rows = work, scratch, data.train.rows
        self.label = pl.concat(data.test.chunks(LABEL_COLUMN)).to_numpy()
        self.arguments = ["--loss_function", "logistic", "-b", _BITS]
        for left, right in crosses:
            self.arguments += ["--interactions", NAMESPACES[left] + NAMESPACES[right]]
        for name, store in {"train": data.train, "test": data.test}.items():
            write_text(store, work / f"{name}.txt")
            self._run(name, "-t")

    def _run(self, name: str, *more: str | Path) -> float:
        source: list[str | Path] = [
            "-d",
            self.work / f"{name}.txt",
            "--cache_file",
            self.work / f"{name}.cache",
            "--passes",
            "1",
        ]
        arguments: list[str | Path] = [*self.arguments, *source, *more]
        seconds: float = run_peer(self.scratch, "vowpal-wabbit", "vowpal_wabbit.py", *arguments)["seconds"]
        return seconds

    def learn(self, rule: Sequence[str]) -> Pass:
        """A pass over the cache; the AUC of its scores of the test rows."""
        model, scores = self.work / "model.vw", self.work / "scores.txt"
        seconds = self._run("train", *rule, "-f", model)
        # The model brings its own rule, bits and crosses.
        test: list[str | Path] = [
            "-d",
            self.work / "test.txt",
            "--cache_file",
            self.work / "test.cache",
            "--passes",
            "1",
        ]
        run_peer(self.scratch, "vowpal-wabbit", "vowpal_wabbit.py", *test, "-t", "-i", model, "-p", scores)
        auc = roc_auc_score(self.label, np.loadtxt(scores))
        return Pass(self.rows / seconds, float(auc))


def wide_against_vowpal_wabbit(log: ClickLog, work: Path, scratch: Path, runs: int = 3) -> Passes:
    """Passes over the same rows, fields and crosses, in turn."""
    set_threads(None)
    data = encode(log, work)
    peer = VowpalWabbit(data, log.crosses, work, scratch)
    ours: list[Pass] = []
    theirs: dict[str, list[Pass]] = {rule: [] for rule in RULES}
    for _ in range(runs):
        ours.append(our_pass(data, work))
        for rule, arguments in RULES.items():
            theirs[rule].append(peer.learn(arguments))
    return Passes(ours, theirs, dump_recipe(data.recipe))
