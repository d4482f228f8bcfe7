"""Scores raw rows with an exported model, as widedeep scores them.

It needs NumPy, onnxruntime and xxhash only. A row is a JSON object of the columns that plan.json names; null is a
missing value.

    python score.py < rows.ndjson            prints a score for each row
    python score.py --request < rows.ndjson  prints the rows as a request of the Open Inference Protocol (KServe v2)
    python score.py --check                  scores golden.ndjson again: exit code 1 if a score is another

A service imports it: `Model("the folder").score([{"user": "u7", "price": 3.5}, …])`. A row that cannot be read is
refused with a ValueError.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from encode import Encoder  # the file beside this one


class Model:
    """An exported folder, loaded: rows in, scores out."""

    def __init__(self, folder: str | Path) -> None:
        self.plan = json.loads((Path(folder) / "plan.json").read_text(encoding="utf-8"))
        self.session = onnxruntime.InferenceSession(
            str(Path(folder) / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        self.encode = Encoder(self.plan)

    def score(self, rows: Sequence[dict[str, Any]]) -> "np.ndarray[Any, Any]":
        """Scores [N] float32 of rows (column → text, number, boolean, list of these, or None)."""
        if not rows:
            return np.empty(0, dtype=np.float32)
        scores: np.ndarray[Any, Any] = self.session.run(["score"], self.encode(rows))[0]
        return scores


def main(arguments: Sequence[str]) -> int:
    folder = Path(__file__).resolve().parent
    if arguments == ["--check"]:
        golden = [json.loads(line) for line in (folder / "golden.ndjson").read_text(encoding="utf-8").splitlines()]
        scores = Model(folder).score([row["row"] for row in golden])
        wanted = np.array([row["score"] for row in golden])
        equal = np.abs(scores - wanted) <= 1e-6 * max(1.0, np.abs(wanted).max())
        sys.stdout.write(f"{equal.sum()} of {len(golden)} golden rows have their scores\n")
        return 0 if equal.all() else 1
    if arguments not in ([], ["--request"]):
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        rows = [json.loads(line) for line in sys.stdin.buffer if line.strip()]
        if arguments:
            encoder = Encoder(json.loads((folder / "plan.json").read_text(encoding="utf-8")))
            sys.stdout.write(json.dumps(encoder.request(rows)) + "\n")
        else:
            sys.stdout.writelines(f"{score}\n" for score in Model(folder).score(rows).tolist())
    except ValueError as error:
        sys.stderr.write(f"score.py: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
