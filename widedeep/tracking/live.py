"""`python -m widedeep.tracking.live TRACKER PLACE RUN PARENT`: the run of a training under way, written as of now.

The training, process PARENT, starts it. What cannot be written is told on the last line of stderr, exit code 1.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from widedeep.errors import WidedeepError
from widedeep.processes import end_with_parent


def write_as_of_now(name: str, place: str, run: str, parent: str) -> None:
    """Replay the run into the tracker of this name, as `widedeep track --no-pictures` does."""
    signal.signal(signal.SIGTERM, _leave)
    end_with_parent(int(parent))
    os.nice(10)  # the training goes first
    try:
        from widedeep.tracking.places import check_place, check_tracker, make_place
        from widedeep.tracking.replay import read_replay
        from widedeep.tracking.write import writer_to

        tracker = check_tracker(name)
        place = check_place(tracker, place)
        replay = read_replay(Path(run), though_unfinished=True)
        make_place(tracker, place)
        writer_to(tracker, place)(replay)
    except WidedeepError as error:
        sys.exit(" ".join(str(error).split()))


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # by the way of an exception, so that temporary files are removed


if __name__ == "__main__":
    write_as_of_now(*sys.argv[1:])
