#!/usr/bin/env bash
# Vowpal Wabbit 9.11.9 (vowpalwabbit), numpy 2.4.6, scipy 1.17.1
#
# One would expect: features are hashed into 2^b weights, and a larger -b means fewer collisions. The wiki page
# "Feature Hashing and Extraction" says that names made of digits are not hashed, and presents it as a convenience:
# such names are read as the index, so that weights can be matched with features.
# What happens: only the last b bits of the number count. Ids that are multiples of 2^b (made of a time stamp and a
# short counter, say, or numbered in blocks) all have ONE weight. 007 and 7 are one feature. In crosses by -q, small
# ids give fewer indices than pairs, and the number stays the same whatever -b is.
# What it costs: most ids of users and ads are numbers. A model over them learns the mean and says nothing; crosses
# collide where no table of load would expect it, and the remedy that everybody tries, a larger -b, does nothing.
# Instead: --hash all, or a letter before each id. widedeep hashes the text of every value, 007 and 7 apart.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet vowpalwabbit==9.11.9 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PYTHON'
import sys
from vowpalwabbit import Workspace, __version__

def scores(options, rows, asked):
    model = Workspace(f"--quiet --loss_function logistic --link logistic {options}")
    for row in rows:
        model.learn(row)
    found = [round(model.predict(row), 2) for row in asked]
    model.finish()
    return found

def indices_of_pairs(options):
    """How many of 300 x 300 pairs of small ids have a weight of their own."""
    path = "weights.txt"
    model = Workspace(f"--quiet --noconstant -q ua --ignore_linear u --ignore_linear a {options} "
                      f"--predict_only_model --readable_model {path}")
    for user in range(300):
        for ad in range(300):
            model.learn(f"{1 if (7 * user + ad) % 2 else -1} |u {user} |a {ad}")
    model.finish()
    head, weights = open(path).read().split("Checksum", 1)
    return sum(line.count(":") == 1 for line in weights.splitlines()[1:] if not line.startswith(":"))

print("vowpalwabbit", __version__)
ids = [str((1_000_000 + step) << 22) for step in range(6)]
names = [f"|u {one}" for one in ids]
rows = [f"{1 if place % 2 else -1} {name}" for _ in range(200) for place, name in enumerate(names)]
as_is, hashed = scores("-b 22", rows, names), scores("-b 22 --hash all", rows, names)
print("ids that click never, always, never, always, ... and are multiples of 2^22, -b 22")
print("  expected, and with --hash all:", hashed)
print("  seen:                         ", as_is)
zeros = scores("", ["1 |zip 007", "-1 |zip 7"] * 200, ["|zip 007", "|zip 7"])
print("007 always clicks, 7 never; expected far apart; seen:", zeros)
counts = {bits: (indices_of_pairs(f"-b {bits}"), indices_of_pairs(f"-b {bits} --hash all")) for bits in (20, 24)}
for bits, (digits, all_hashed) in counts.items():
    print(f"90000 pairs of ids, -b {bits}: {digits} weights; with --hash all {all_hashed}")
if len(set(as_is)) > 1 or hashed[1] - hashed[0] < 0.5 or abs(zeros[0] - zeros[1]) > 0.05:
    sys.exit("Names made of digits no longer share a weight by their last bits.")
if counts[24][0] > 80_000 or counts[24][0] - counts[20][0] > 1_000 or counts[24][1] < 89_000:
    sys.exit("Crosses of small ids no longer share weights whatever -b is.")
PYTHON
