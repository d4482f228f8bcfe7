"""`training.precision`: what multiplies in bfloat16, what stays float32, and which of them a run goes on in."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_hook

from widedeep.errors import ArtefactError, Interrupted
from widedeep.pipeline.experiment import Asked, TrainResult, train
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.scoring.scorer import Scorer
from widedeep.training import device, loop
from widedeep.training.device import choose_precision
from widedeep.training.loop import Trainer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def processor(monkeypatch: pytest.MonkeyPatch, *, amx: bool = False, avx512: bool = False, vendor: str = "") -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(device, "vendor", lambda: vendor)


def trained(project: Path, *overrides: str, resume: bool = False) -> TrainResult:
    small = ["model.deep.hidden=[16, 8]", "training.epochs=1", *overrides]
    return train(load_recipe(project / "small.yaml", small), project, Reporter(), Asked(resume=resume))


def manifest(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return read


def outputs_while_scoring(run: Path) -> set[torch.dtype]:
    """The types that the layers give while a run is loaded, which scores its golden rows."""
    seen = set()

    def see(layer: torch.nn.Module, _given: Any, output: Any) -> None:
        if isinstance(layer, torch.nn.Linear):
            seen.add(output.dtype)

    hook = register_module_forward_hook(see)
    try:
        Scorer.load(run)
    finally:
        hook.remove()
    return seen


@pytest.mark.skipif(not torch._C._has_mkldnn, reason="this build of torch has no oneDNN")
@pytest.mark.parametrize(
    ("processor_facts", "precision"),
    [
        ({"amx": True, "avx512": True, "vendor": "GenuineIntel"}, "bfloat16"),
        ({"avx512": True, "vendor": "AuthenticAMD"}, "bfloat16"),
        ({"avx512": True, "vendor": "GenuineIntel"}, "float32"),
        ({"vendor": "AuthenticAMD"}, "float32"),
    ],
)
def test_auto_is_bfloat16_on_processors_that_were_seen_to_gain_by_it(
    processor_facts: dict[str, Any], precision: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, **processor_facts)
    recipe = load_recipe(project / "small.yaml").recipe
    assert choose_precision(recipe, CPU) == precision
    assert choose_precision(recipe, CUDA) == "bfloat16"


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_recipe_may_ask_for_either_on_any_processor(
    wanted: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch)
    recipe = load_recipe(project / "small.yaml", [f"training.precision={wanted}"]).recipe
    assert choose_precision(recipe, CPU) == wanted
    assert choose_precision(recipe, CUDA) == wanted


@pytest.mark.parametrize("kind", ["wide", "fm"])
def test_a_model_without_layers_is_float32(kind: str, project: Path) -> None:
    overrides = [f"model.kind={kind}", "model.embeddings.dim=8", "training.precision=bfloat16"]
    recipe = load_recipe(project / "small.yaml", overrides).recipe
    assert choose_precision(recipe, CPU) == "float32"


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("wide", "fm")])
def test_every_kind_learns_in_bfloat16_with_float32_weights_and_scores_in_float32(kind: str, project: Path) -> None:
    one_width = ["model.embeddings.dim=8"]
    extra = {"finalmlp": ["model.finalmlp={heads: 2}"]}.get(kind, [])
    losses = {}
    for precision in ("float32", "bfloat16"):
        overrides = [f"model.kind={kind}", f"training.precision={precision}", *one_width, *extra]
        result = trained(project, *overrides, "training.epochs=3")
        assert manifest(result.run)["precision"] == precision
        for file in ("best", "last", "best_state"):
            path = result.run / "checkpoints" / f"{file}.safetensors"
            halved = [name for name, tensor in load_file(path).items() if tensor.dtype == torch.bfloat16]
            assert not halved
        assert outputs_while_scoring(result.run) == {torch.float32}
        losses[precision] = result.metrics["valid"]["log_loss"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]


def test_equal_runs_in_bfloat16_give_equal_bytes(project: Path) -> None:
    weights = [
        (trained(project, "training.precision=bfloat16").run / "checkpoints" / "best.safetensors").read_bytes()
        for _ in range(2)
    ]
    assert weights[0] == weights[1]


def test_a_run_goes_on_in_the_precision_that_it_began_in_on_any_processor(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    step = Trainer._step

    def stopping(self: Trainer, batch: Any) -> None:
        seen.append(self.precision)
        if len(seen) == 4:
            self._leave(2)
        step(self, batch)

    monkeypatch.setattr(loop.Trainer, "_step", stopping)
    processor(monkeypatch, amx=True)
    with pytest.raises(Interrupted):
        trained(project)
    processor(monkeypatch)
    result = trained(project, resume=True)
    assert set(seen) == {"bfloat16"}
    assert manifest(result.run)["precision"] == "bfloat16"


def test_a_manifest_with_another_precision_is_damaged(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_self: Trainer, **_settings: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", stopped)
        with pytest.raises(KeyboardInterrupt):
            trained(project)
    (run,) = [path for path in (project / "runs" / "small").iterdir() if not path.is_symlink()]
    (run / "manifest.json").write_text(json.dumps(manifest(run) | {"precision": "float64"}))
    with pytest.raises(ArtefactError, match="`precision` must be float32 or bfloat16, is 'float64'"):
        trained(project, resume=True)
