"""`make bench`: training rows per second against the MLP alone, in one run, as a ratio."""

import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F

from widedeep.features.store import EncodedStore
from widedeep.model.network import Network
from widedeep.model.towers.mlp import build_mlp
from widedeep.pipeline.stages import build_crosses
from widedeep.recipe.load import dump_recipe, load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import input_layout
from widedeep.table.synth import write_sample_log
from widedeep.training.device import set_threads
from widedeep.training.loop import Trainer

ROWS, RUNS = 200_000, 3
OVERRIDES = [
    "model.embeddings.dim=16",
    "model.deep.hidden=[400, 400, 400]",
    "training.batch_size=4096",
    "training.epochs=1",
    "data.split={kind: random, valid: 0, test: 0}",
]
RESULTS = Path(__file__).parent / "results" / "bench.md"


def mlp_alone(input_dim: int, settings: object, batch_size: int, steps: int) -> float:
    """Rows per second of forward, backward with the gradient to the inputs, and an Adam step, on ready inputs."""
    tower = build_mlp(input_dim, settings)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(tower.parameters(), fused=True)
    inputs = torch.randn(batch_size, input_dim, requires_grad=True)
    label = torch.randint(0, 2, (batch_size,)).float()
    started = time.perf_counter()
    for _ in range(steps):
        inputs.grad = None
        F.binary_cross_entropy_with_logits(tower(inputs), label).backward()
        optimizer.step()
        optimizer.zero_grad()
    return steps * batch_size / (time.perf_counter() - started)


def test_training_rate_against_the_mlp_alone() -> None:
    set_threads(None)
    rows: list[tuple[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sample_log(folder, ROWS, 1, Reporter())
        recipes = {
            kind: load_recipe(folder / "recipe.yaml", [*OVERRIDES, f"model.kind={kind}"])
            for kind in ("deep", "wide_deep")
        }
        for kind, loaded in recipes.items():
            ratios = []
            encoded = build_crosses(loaded, folder, Reporter())
            from widedeep.features.plan import FeaturePlan

            plan = FeaturePlan.load(encoded.path / "plan")
            for number in range(RUNS):
                layout = input_layout(plan, loaded.recipe)
                network = Network(layout, loaded.recipe.model)
                run = RunDirectory(folder / f"run-{kind}-{number}")
                run.best_path.parent.mkdir(parents=True)
                store = EncodedStore.open(encoded.path / "train")
                trainer = Trainer(loaded.recipe, network, layout, store, None, run, torch.device("cpu"), Reporter())
                ours = trainer.run(resume=False).rows_per_second
                assert network.embeddings is not None
                batch_size = loaded.recipe.training.batch_size
                alone = mlp_alone(
                    network.embeddings.output_dim, loaded.recipe.model.deep, batch_size, ROWS // batch_size
                )
                ratios.append(ours / alone)
            rows.append((kind, ratios))
        report = _report(rows, dump_recipe(recipes["wide_deep"].recipe))
    print(report)
    RESULTS.write_text(report)


def _report(rows: list[tuple[str, list[float]]], recipe: str) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "polars", "numpy"))
    lines = [
        "# make bench",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, {libraries}",
        "",
        f"Sample log of {ROWS:,} rows; each figure is the median of {RUNS} ratios within one run (least to most).",
        "",
        "| row | ratio to the MLP alone |",
        "|---|---|",
    ]
    for kind, ratios in rows:
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| training `{kind}` | {statistics.median(ratios):.2f} {spread} |")
    return "\n".join([*lines, "", "Resolved recipe:", "", "```yaml", recipe.rstrip(), "```", ""])
