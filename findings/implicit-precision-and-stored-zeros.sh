#!/usr/bin/env bash
# implicit 0.7.3, numpy 2.4.6, scipy 1.17.1
#
# One would expect: precision_at_k is the share of the K recommended items that are relevant, and an item is relevant if
# its test value is above 0. The page of implicit.evaluation says that it calculates P@K, and that the test matrix has
# the withheld items.
# What happens: (1) hits are divided by min(K, relevant items), summed over users: 1 hit of 10 shown gives 1.0 to a user
# with one relevant item. With one withheld item each, the usual split, "precision" is the hit rate, K times too high.
# (2) All STORED entries count as relevant, whatever their value. csr_matrix((click, (user, item))) of a log stores its
# zeros, so what was shown and not clicked is a hit, and a dislike of -1 too; precision, MAP, NDCG and AUC all take it.
# What it costs: figures that no other tool confirms, and that reward an order with all unclicked items first: 0.9
# below, where nothing that was clicked is shown.
# Instead: matrix.eliminate_zeros() after keeping values above 0; precision from recommend() itself. In widedeep a row
# with label 0 is a row with label 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet implicit==0.7.3 numpy==2.4.6 scipy==1.17.1
"$work/venv/bin/python" - <<'PYTHON'
import sys

import implicit
import numpy as np
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix

print("implicit", implicit.__version__)
users, items, shown = 50, 100, 10

class InOrder:
    """Recommends the items 0, 1, 2, ... to everyone."""

    def recommend(self, userid, user_items, N=10, **others):
        return np.tile(np.arange(N, dtype=np.int32), (len(userid), 1)), np.ones((len(userid), N), np.float32)

def measured(values_of_items):
    """The metrics at 10 where each user has these test values, {item: value}."""
    user = np.repeat(np.arange(users), len(values_of_items))
    item = np.tile(list(values_of_items), users)
    value = np.tile(list(values_of_items.values()), users).astype(np.float32)
    test = csr_matrix((value, (user, item)), shape=(users, items))
    nothing = csr_matrix((users, items), dtype=np.float32)
    metrics = ranking_metrics_at_k(InOrder(), nothing, test, K=shown, show_progress=False, num_threads=1)
    return {name: round(float(value), 3) for name, value in metrics.items()}

one = measured({4: 1})
clicked_last = {**dict.fromkeys(range(9), 0), 60: 1}
stored = measured(clicked_last)
clean = measured({60: 1})
print("10 shown, 1 of them relevant (expected precision: 0.1)")
print("  ", one)
print("9 of 10 were seen and not clicked, the clicked item is not shown (expected: 0.0, 0.0, 0.0 and an AUC below 0.5)")
print("   zeros stored    ", stored)
print("   zeros eliminated", clean)
if one["precision"] < 0.2 or stored["precision"] < 0.2:
    sys.exit("precision is now the share of what is shown, or stored zeros are no longer relevant.")
PYTHON
