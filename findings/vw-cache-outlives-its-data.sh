#!/usr/bin/env bash
# Vowpal Wabbit 9.11.9 (vowpalwabbit), numpy 2.4.6, scipy 1.17.1
#
# One would expect: -c, which every run with --passes needs, keeps the parsed rows beside the data as DATA.cache and
# parses again when the data is newer, as any build tool does. The page of command line arguments says of -c only that
# a cache is used and what it is called; of -k, that a new one is always made rather than an old one used again.
# What happens: neither the time nor the size of the data file is looked at. As long as -b and the like are as they
# were, the cache is read in its place, with no warning, and a run on Tuesday's file trains on Monday's rows, even
# where the file has ten times the rows and all of its labels turned round.
# What it costs: a daily job that writes the same file name trains the same model every day, and each of its figures
# looks as good as yesterday's. Two tries of one fix give the same result.
# Instead: always -k with -c, or a name for each day. widedeep's stages are made again when their files change.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet vowpalwabbit==9.11.9 numpy==2.4.6 scipy==1.17.1
cd "$work"
cat > train.py <<'PYTHON'
"""Trains on train.vw with the options given, and prints what the model says of ads a and b."""
import sys
from vowpalwabbit import Workspace

Workspace("-d train.vw --passes 2 --holdout_off --loss_function logistic -f model --quiet " + sys.argv[1]).finish()
model = Workspace("-i model -t --quiet --link logistic")
print(*(round(model.predict(f"|ad {ad}"), 2) for ad in "ab"))
PYTHON
echo "vowpalwabbit $(venv/bin/python -c 'import vowpalwabbit; print(vowpalwabbit.__version__)')"
for _ in $(seq 500); do echo '1 |ad a'; echo '-1 |ad b'; done > train.vw
monday=$(venv/bin/python train.py "-c")
sleep 2
for _ in $(seq 5000); do echo '-1 |ad a'; echo '1 |ad b'; done > train.vw
tuesday=$(venv/bin/python train.py "-c")
killed=$(venv/bin/python train.py "-c -k")
echo "Monday, a clicks and b does not:                         $monday"
echo "Tuesday, ten times the rows and the other way round, -c: $tuesday   (expected: low, high)"
echo "Tuesday with -c -k:                                      $killed"
if [ "$monday" != "$tuesday" ] || [ "$monday" = "$killed" ]; then
    echo "A cache is no longer used in place of data that changed." >&2
    exit 1
fi
