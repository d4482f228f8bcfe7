#!/usr/bin/env bash
# dask 2026.8.0, pandas 3.1.1, numpy 2.4.6, pyarrow 26.0.1
#
# One would expect: a merge gives the rows that pandas gives, however many partitions the tables have. Dask's page on
# joins says which ones are slow, not that any gives other rows.
# What happens: both tables are spread over partitions by a hash of the key. Numbers are brought to one type before
# that; times are not: the hash is that of the number inside, and one hour is another number in microseconds than in
# nanoseconds. Its two halves go to different partitions and never meet. An inner merge loses about (n - 1) / n of the
# rows, a left merge fills them with nulls, and the result depends on the number n of partitions. The warning of
# "column data type mismatches" comes before right answers as well, for int32 and int64.
# What it costs: hours are in microseconds from pandas 3 and CSV, in milliseconds or nanoseconds from many a Parquet
# file. Clicks joined with budgets by the hour keep 60 of 480 rows below; a test on a small sample has one partition,
# and all rows.
# Instead: .astype("datetime64[us]") on both keys before a merge, and count rows after it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "dask[dataframe]==2026.8.0" pandas==3.1.1 numpy==2.4.6 pyarrow==26.0.1
cd "$work"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import dask
import dask.dataframe as dd
import pandas as pd

dask.config.set(scheduler="sync")
print("dask", dask.__version__, "pandas", pd.__version__)
hours = pd.date_range("2026-03-01", periods=48, freq="h")
pd.DataFrame({"hour": hours.repeat(10).as_unit("us"), "click": 1}).to_parquet("clicks.parquet")
pd.DataFrame({"hour": hours.as_unit("ns"), "budget": range(48)}).to_parquet("budgets.parquet")
clicks, budgets = (pd.read_parquet(f"{name}.parquet") for name in ("clicks", "budgets"))
print(f"keys: {clicks.hour.dtype} and {budgets.hour.dtype}; pandas: {len(clicks.merge(budgets, on='hour'))} rows")

def merged(clicks, budgets, parts, how="inner"):
    return dd.from_pandas(clicks, npartitions=parts, sort=False).merge(
        dd.from_pandas(budgets, npartitions=parts, sort=False), on="hour", how=how
    ).compute()

rows = {}
for parts in (1, 2, 8):
    rows[parts] = len(merged(clicks, budgets, parts))
    empty = int(merged(clicks, budgets, parts, "left").budget.isna().sum())
    print(f"  {parts} partitions: {rows[parts]} rows; left merge: {empty} rows without a budget")
seconds = [frame.assign(hour=frame.hour.astype("int64") // unit) for frame, unit in ((clicks, 10**6), (budgets, 10**9))]
numbers = len(merged(seconds[0].astype({"hour": "int32"}), seconds[1], 8))
print(f"the same hours as int32 and int64 seconds, 8 partitions, the same warning: {numbers} rows")
if not (rows[1] == numbers == 480 and rows[8] < 240):
    sys.exit("Dask no longer loses rows whose keys are times of two units.")
PYTHON
