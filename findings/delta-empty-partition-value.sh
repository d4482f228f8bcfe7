#!/usr/bin/env bash
# deltalake 1.6.6, polars 2.1.0, pyarrow 26.0.1
#
# One would expect: a table partitioned by a text column gives back the texts that were written, an empty one
# included, or at least that all ways of reading it agree. The Delta protocol (Partition Value Serialization) says
# that an empty string stands for null, whatever the type.
# What happens: deltalake writes an empty text as "" and null as null, two partitions. QueryBuilder, delete() and
# Polars' scan_delta tell them apart. DeltaTable.to_pyarrow_table and scan_delta(use_pyarrow=True) give null for both.
# So the rows without a campaign are counted as 1 or 2 depending on who reads, in one package of one version.
# What it costs: a click log partitioned by campaign or country, with "" for none, has another number of categories,
# and nulls where there were none, when the reader changes; a delete of nulls leaves rows that are then shown as null.
# Instead: write a word ("none") or null, never "". To widedeep, which reads Delta by Polars, both are missing unless
# `missing` in the recipe says otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet deltalake==1.6.6 polars==2.1.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PYTHON'
import sys

import deltalake
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

print("deltalake", deltalake.__version__, "polars", pl.__version__)
campaigns = ["a", "", None]
write_deltalake("clicks", pa.table({"campaign": campaigns, "row": range(3)}), partition_by=["campaign"])
table = DeltaTable("clicks")

def in_order(frame):
    return pl.from_arrow(pa.table(frame)).sort("row")["campaign"].to_list()

query = QueryBuilder().register("clicks", table).execute("select campaign, row from clicks")
seen = {
    "QueryBuilder": in_order(query.read_all()),
    "polars.scan_delta": in_order(pl.scan_delta("clicks").collect().to_arrow()),
    "polars.scan_delta(use_pyarrow=True)": in_order(pl.scan_delta("clicks", use_pyarrow=True).collect().to_arrow()),
    "DeltaTable.to_pyarrow_table": in_order(table.to_pyarrow_table()),
}
print(f"  written: {campaigns} (expected of all)")
for reader, values in seen.items():
    print(f"  {reader}: {values}")
table.delete("campaign is null")
left = in_order(DeltaTable("clicks").to_pyarrow_table())
print("  after delete('campaign is null'), DeltaTable.to_pyarrow_table:", left)
if seen["QueryBuilder"] != campaigns or seen["DeltaTable.to_pyarrow_table"] != ["a", None, None] or left != ["a", None]:
    sys.exit("The readers of a Delta table now agree on an empty partition value.")
PYTHON
