#!/usr/bin/env bash
# pyiceberg 0.12.0, pyarrow 26.0.1, SQLAlchemy 2.1.9
#
# One would expect: Table.delete removes the rows that Table.scan finds under the same filter. The API page says of
# delete that it deletes by a predicate, and both parse one language of filters.
# What happens: delete keeps every NaN of a column that the filter names, unless the filter says "is nan". So
# delete("price is not null") leaves a price, and delete("price != 1.0") a row that scan shows. Nulls are not even
# alike in scan: "price != 1.0" leaves them out and "price not in (1.0, 3.0)" gives them, and delete then keeps them.
# What it costs: a delete that is checked by counting with scan first removes fewer rows than were counted, with no
# error; the rows that should be gone stay in what models are trained on, and a second delete changes nothing.
# Instead: name NaN ("price != 1.0 or price is nan"), and scan again afterwards. widedeep deletes and filters nothing
# in a table.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "pyiceberg[sql-sqlite]==0.12.0" pyarrow==26.0.1 SQLAlchemy==2.1.9
cd "$work"
venv/bin/python -W ignore - <<'PYTHON'
import os
import sys
from importlib.metadata import version

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

print("pyiceberg", version("pyiceberg"))
here = os.getcwd()
catalog = SqlCatalog("local", uri=f"sqlite:///{here}/catalog.db", warehouse=f"file://{here}/warehouse")
catalog.create_namespace("logs")
prices = [1.0, 2.0, float("nan"), None]

def found_and_left(number, condition):
    rows = pa.table({"price": pa.array(prices, pa.float64()), "row": range(len(prices))})
    table = catalog.create_table(f"logs.clicks{number}", schema=rows.schema)
    table.append(rows)
    found = table.scan(row_filter=condition).to_arrow()["row"].to_pylist()
    table.delete(condition)
    return found, table.scan().to_arrow()["row"].to_pylist()

print(f"prices {prices}, rows 0 to 3")
spared = {}
conditions = ("price is not null", "price != 1.0", "price not in (1.0, 3.0)", "price != 1.0 or price is nan",
              "price <= 1.5")
for number, condition in enumerate(conditions):
    found, left = found_and_left(number, condition)
    spared[condition] = sorted(set(found) & set(left))
    print(f"  {condition}: scan finds {found}, delete leaves {left};",
          f"found and yet left (expected: none) {spared[condition]}")
wanted = {"price is not null": [2], "price != 1.0": [2], "price not in (1.0, 3.0)": [2, 3]}
if any(spared[condition] != rows for condition, rows in wanted.items()) or spared["price <= 1.5"]:
    sys.exit("Table.delete no longer spares rows that Table.scan finds.")
PYTHON
