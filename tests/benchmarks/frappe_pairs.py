"""Test metrics of Frappe runs, apart for rows whose user and item the train rows have together and for the others. To run it:

    python tests/benchmarks/frappe_pairs.py WORK RUN [RUN …]

WORK is the work directory that the runs were trained in.
"""

import sys
from pathlib import Path

import polars as pl
from sklearn.metrics import log_loss, roc_auc_score

from widedeep.pipeline.past_runs import typed_table
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import Scorer
from widedeep.table.parts import read_typed
from widedeep.table.typed_columns import LABEL

PAIR = ["user", "item"]


def main(work: Path, runs: list[Path]) -> None:
    """Print a table, a row per run and part of the test rows."""
    print("| run | part | rows | AUC | log loss |\n|---|---|---|---|---|")
    for path in runs:
        scorer = Scorer.load(path)
        typed = typed_table(RunDirectory(path), scorer.recipe, work, Reporter(), wait=False)
        columns = list(scorer.plan.required_columns())
        test = read_typed(typed, "test", [LABEL, *columns])
        scores, _ = scorer.score(test)
        in_train = read_typed(typed, "train", PAIR).select(pl.concat_str(PAIR, separator="\0").alias("pair"))
        seen = test.select(pl.concat_str(PAIR, separator="\0").is_in(in_train["pair"].unique().implode())).to_series()
        for part, rows in (("all", seen | True), ("pair seen in train", seen), ("pair not seen", ~seen)):
            label, score = test.filter(rows)[LABEL].to_numpy(), scores[rows.to_numpy()]
            auc, loss = roc_auc_score(label, score), log_loss(label, score.astype("float64"))
            print(f"| {path.name} | {part} | {len(label):,} | {auc:.4f} | {loss:.4f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
