"""Where a step's time goes: the functions that the main thread spends most time in, for one kind of model. To run it:

GOMP_SPINCOUNT=10000 python tests/benchmarks/profile_training.py {wide,deep,wide_deep} {out_of_fold,gradient} [bfloat16]
"""

import cProfile
import pstats
import sys
import tempfile
from pathlib import Path

from training_rows import Contender, Size, draw_store

from widedeep.training.device import Precision, set_threads


def profile(
    kind: str, crosses: str, size: Size, table_rows: int = 200_000, precision: Precision = "float32"
) -> pstats.Stats:
    """Of one epoch over a drawn store (see training_rows.py), the second of two: the first one compiles."""
    set_threads(None)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        contender = Contender(work, *draw_store(work / "store", table_rows, size.rows), size, kind, crosses, precision)
        contender.trained()
        profiler = cProfile.Profile()
        profiler.runcall(contender.trained)
    return pstats.Stats(profiler).sort_stats("tottime")


if __name__ == "__main__":
    profile(*sys.argv[1:3], Size(), precision="bfloat16" if "bfloat16" in sys.argv[3:] else "float32").print_stats(16)
