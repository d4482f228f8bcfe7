#!/usr/bin/env bash
# feature-engine 1.9.4, pandas 3.1.1, numpy 2.4.6, scikit-learn 1.9.1, scipy 1.17.1, statsmodels 0.15.0
#
# One would expect: DatetimeFeatures, then CyclicalFeatures, both of this package, put the 24 hours on 24 points of a
# circle, 23 o'clock next to 0. The user guide (CyclicalFeatures, Motivation) codes the hours 0 to 23, says that sine
# and cosine give each hour a code of its own, and calls the picture a clock of 24 hours.
# What happens: the circle is as long as the LARGEST VALUE in the rows that it was fitted on. Of 0 to 23 that is 23, so
# 23 and 0 are one point, and so are Sunday (6) and Monday (0). Fitted on a log of 8 to 20 o'clock the day has 20 hours:
# 0 and 20 are one point, 3 and 23 another. Months and days of the month begin with 1 and come out right.
# What it costs: a network or a linear model cannot tell the two hours apart, whatever follows (a tree finds the sine's
# rounding, -2e-16, by luck): the first hour of a day, when budgets start anew, is scored as the last. Fits on different
# days are different features.
# Instead: max_values={"time_hour": 24, "time_day_of_week": 7}. widedeep takes hours and weekdays as categories.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet feature-engine==1.9.4 pandas==3.1.1 numpy==2.4.6 scikit-learn==1.9.1 \
    scipy==1.17.1 statsmodels==0.15.0
"$work/venv/bin/python" - <<'PYTHON'
import sys

import feature_engine
import numpy as np
import pandas as pd
from feature_engine.creation import CyclicalFeatures
from feature_engine.datetime import DatetimeFeatures

print("feature-engine", feature_engine.__version__, "pandas", pd.__version__)
log = pd.DataFrame({"time": pd.date_range("2026-03-02", periods=14 * 24 * 60, freq="min")})  # from a Monday on
parts = DatetimeFeatures(features_to_extract=["hour", "day_of_week"]).fit_transform(log)
def points(fitted_on, column, **settings):
    """On how many points of the circle all values of a column lie, and how many values there are."""
    circle = CyclicalFeatures(variables=[column], **settings).fit(fitted_on[[column]])
    every = parts[[column]].drop_duplicates()
    places = circle.transform(every)[[f"{column}_sin", f"{column}_cos"]].round(9) + 0.0
    return places.drop_duplicates().shape[0], every.shape[0]

cases = {
    "hours": points(parts, "time_hour"),
    "weekdays": points(parts, "time_day_of_week"),
    "hours, fitted on 8 to 20 o'clock": points(parts[parts["time_hour"].between(8, 20)], "time_hour"),
    "hours, max_values 24": points(parts, "time_hour", max_values={"time_hour": 24}),
}
for what, (places, values) in cases.items():
    print(f"  {what}: {values} values lie on {places} points (expected: {values})")
hours = pd.DataFrame({"time_hour": [22, 23, 0, 1]})
circle = CyclicalFeatures(drop_original=True).fit(parts[["time_hour"]])
steps = np.linalg.norm(np.diff(circle.transform(hours).to_numpy(), axis=0), axis=1).round(3).tolist()
print("  distances of 22 to 23, 23 to 0, 0 to 1 o'clock (expected: 0.261 each):", steps)
if cases["hours"][0] == 24 or cases["weekdays"][0] == 7:
    sys.exit("CyclicalFeatures no longer puts the last hour on the first.")
PYTHON
