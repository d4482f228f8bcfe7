"""The folder as an MLflow model from code, which holds what scores and nothing else. It takes MLflow 3 to save it.

python mlflow_model.py DIR    saves the model into the new folder DIR, for mlflow.pyfunc.load_model
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import mlflow


class Exported(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Frames of raw rows in, scores out."""

    def load_context(self, context: Any) -> None:
        """Load the folder, wherever MLflow has put it."""
        folder = Path(context.artifacts["folder"])
        sys.path.insert(0, str(folder))  # score.py imports encode.py
        try:
            spec = importlib.util.spec_from_file_location("score", folder / "score.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(folder))
        self.model = module.Model(folder)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Scores [N] of a pandas frame. MLflow would take hints for the frame's schema."""
        rows = model_input.to_dict("records")
        return self.model.score([{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value: Any) -> Any:
    """What JSON would hold: pandas has NaN, NaT and NA for what is missing, and arrays for lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return None if str(value) == "NaT" else value.isoformat()
    return value if isinstance(value, str) or (value == value) is True else None


def save(target: str) -> None:
    """Save the folder that this file lies in."""
    folder = Path(__file__).resolve().parent
    mlflow.pyfunc.save_model(
        path=target,
        python_model=str(folder / "mlflow_model.py"),
        artifacts={"folder": str(folder)},
        pip_requirements=[f"mlflow=={mlflow.__version__}", *(folder / "requirements.txt").read_text().split()],
        metadata={name: json.loads((folder / "export.json").read_text())[name] for name in ("recipe", "run", "kind")},
    )


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    save(sys.argv[1])
else:
    mlflow.models.set_model(Exported())
