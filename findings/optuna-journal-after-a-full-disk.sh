#!/usr/bin/env bash
# optuna 5.0.0, numpy 2.4.6
#
# One would expect: a study in a JournalFileBackend goes on after a process that could not write its last record: the
# journal is a list of whole lines, and its reader passes over an unfinished last line. The class's page offers it for
# shared file systems, for many processes, as an alternative to a database.
# What happens: the next process that WRITES does not end the torn line first. Its record is glued to the fragment and
# lost: the trial that it just made is not there, and an AttributeError about an inner field is raised. The record after
# that puts the broken line in the middle of the file, and now nobody can even read the study: load_study raises
# JSONDecodeError for good, though all lines but one are sound.
# What it costs: a disk or quota that is full for one moment ends a search of days; starting the worker again, what one
# does first, is what breaks the file.
# Instead: before starting again, cut the file after its last newline (as done at the end here); keep a copy. widedeep
# writes each of its states to a new file and renames it, so there is no torn one to go on from.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet optuna==5.0.0 numpy==2.4.6
cd "$work"
cat > search.py <<'PYTHON'
import os
import resource
import sys
import warnings

import optuna

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.CRITICAL)
action = sys.argv[1]
if action == "full":  # as on a full disk: room for 60 bytes more, then OSError
    room = os.path.getsize("search.journal") + 60
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("search.journal"))
    study = (optuna.create_study if action == "first" else optuna.load_study)(study_name="ctr", storage=storage)
    if action != "read":
        study.optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=3)
    print(f"{len(study.trials)} trials")
except Exception as error:
    print(f"{type(error).__name__}: {error}")
PYTHON
step() { printf '  %-44s ' "$1"; venv/bin/python search.py "$2" | tee "$3"; }
venv/bin/python -c "import optuna; print('optuna', optuna.__version__)"
step "three trials:" first first
step "three more, and the disk fills up:" full full
step "there is room again; the study is read:" read read
step "the worker starts again (expected: 6 trials):" run again
step "and again:" run twice
step "the study is read:" read lost
cp search.journal broken.journal
venv/bin/python - <<'PYTHON'
import json

def sound(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True

lines = open("broken.journal").read().splitlines(keepends=True)
bad = [number for number, line in enumerate(lines) if not sound(line)]
print(f"  {len(bad)} of {len(lines)} lines is broken; the file is cut before it")
open("search.journal", "w").writelines(lines[: bad[0]] if bad else lines)
PYTHON
step "the worker starts again:" run mended
if grep -q trials lost || ! grep -q trials read; then
    echo "A journal with a torn last line is no longer broken by whoever goes on with it." >&2
    exit 1
fi
