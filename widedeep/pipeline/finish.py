"""The end of a training: sets the level of the best epoch's model, measures it and completes the run directory."""

import math
from collections.abc import Mapping

import torch

from widedeep.encoded.store import EncodedStore
from widedeep.evaluation.judgement import LabelTally, ModelWarning, judge_split, judge_training
from widedeep.features.plan import FeaturePlan
from widedeep.features.targets import LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.files import write_json
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.pipeline.reference import write_reference
from widedeep.pipeline.stages import EncodingResult
from widedeep.recipe.data import LabelKind
from widedeep.recipe.schema import Recipe
from widedeep.runs import RunDirectory
from widedeep.scoring.realised import realised_gains
from widedeep.scoring.scorer import Scorer, logit_correction, write_golden_rows
from widedeep.scoring.tally import ScoreTally
from widedeep.table.parts import first_rows
from widedeep.training.checkpoints import load_checkpoint, model_tensors, restore_model, save_checkpoint
from widedeep.training.device import peak_memory_bytes
from widedeep.training.inference import evaluate_with_errors, store_logits
from widedeep.training.level import level_shift
from widedeep.training.loop import Outcome
from widedeep.training.ranks import Ranks
from widedeep.training.split_checkpoints import write_whole

_LABEL_ROWS = 1 << 20
"""Rows whose labels are read at a time."""


def finish_run(
    recipe: Recipe,
    run: RunDirectory,
    plan: FeaturePlan,
    layout: InputLayout,
    network: Network,
    stores: Mapping[str, EncodedStore],
    encoded: EncodingResult,
    outcome: Outcome,
    device: torch.device,
    seconds: float,
) -> None:
    """Set the level of the best epoch's model, measure it, judge it, and mark the run as finished."""
    kind = recipe.data.label.kind
    shift = _set_level(kind, run, layout, network, stores.get("valid"), device, parted=recipe.training.parts > 1)
    held_out = [split for split in ("valid", "test") if split in stores]
    cutoffs = recipe.evaluation.cutoffs
    scores = {split: ScoreTally() for split in held_out}
    measured = {
        split: evaluate_with_errors(
            network, stores[split], layout, kind, device, cutoffs=cutoffs, on_scores=scores[split].add
        )
        for split in held_out
    }
    write_reference(run, plan, stores, encoded, scores.get("valid"))
    if recipe.evaluation.golden_rows:
        scorer = Scorer(recipe, plan, network, device)
        scorer.read_as(run)
        write_golden_rows(scorer, run, first_rows(encoded.ingested.path, recipe.evaluation.golden_rows))
    gains = realised_gains(recipe, run, plan, network, stores[held_out[-1]], device) if held_out else None
    train_mean = _train_mean(recipe, stores["train"])
    warnings = _judged(kind, run, {split: metrics for split, (metrics, _) in measured.items()}, stores, train_mean)
    write_json(
        run.metrics_path,
        {
            "metrics": {split: metrics for split, (metrics, _) in measured.items()},
            "errors": {split: errors for split, (_, errors) in measured.items()},
            "warnings": [warning.to_json() for warning in warnings],
            "crosses": gains,
            "level_shift": shift,
            "train_label_mean": train_mean,
            "unknown_values": {
                name: {**exposure.to_json(), "shown": exposure.shown(recipe.training.unknown_share)}
                for name, exposure in encoded.exposures.items()
            },
            **({} if encoded.dropped is None else {"dropped_values": encoded.dropped}),
            "rows": {split: store.rows for split, store in stores.items()},
            "parameters": network.num_parameters(),
            "best_epoch": outcome.best_epoch,
            "epochs": outcome.epochs,
            "stopped": outcome.stopped,
            "steps": outcome.steps,
            "rows_per_second": round(outcome.rows_per_second, 1),
            "seconds": round(seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(),
        },
    )
    run.pin()
    run.finish()


def _set_level(
    kind: LabelKind,
    run: RunDirectory,
    layout: InputLayout,
    network: Network,
    valid: EncodedStore | None,
    device: torch.device,
    *,
    parted: bool,
) -> float:
    """Load the best checkpoint into the network and shift its bias to the level of the valid rows; gives the shift.

    The checkpoint holds the shift, so that a finish that is resumed does not shift the bias twice. If training was
    `parted`, tables may be too large for memory: they stay in the checkpoint's file.
    """
    tensors, state = load_checkpoint(run.best_path)
    restore_model(network, tensors, run.best_path, in_place=not parted)
    if kind != "binary" or valid is None:
        return 0.0
    if "level_shift" not in state:
        columns = [name for name in (LABEL_COLUMN, WEIGHT_COLUMN) if name in valid.columns]
        rows = valid.read(0, valid.rows, columns)
        logits = store_logits(network, valid, layout, device)
        state["level_shift"] = level_shift(logits, rows[LABEL_COLUMN], rows.get(WEIGHT_COLUMN))
        with torch.no_grad():
            network.bias.add_(state["level_shift"])
        if parted:
            write_whole(run.best_path, model_tensors(network), state, {}, Ranks())
        else:
            save_checkpoint(run.best_path, model_tensors(network), state)
    return float(state["level_shift"])


def _judged(
    kind: LabelKind,
    run: RunDirectory,
    metrics: Mapping[str, dict[str, float | None]],
    stores: Mapping[str, EncodedStore],
    train_mean: float | None,
) -> list[ModelWarning]:
    """Warnings of the training and of each split.

    Valid rows are compared with their own positive rate, test rows with that of train, which is known at serving.
    """
    warnings = list(judge_training([event["train_loss"] for event in run.epochs()]))
    for split, figures in metrics.items():
        positives = _label_tally(stores[split]).positives
        warnings += judge_split(kind, split, figures, positives, train_mean if split == "test" else None)
    return warnings


def _train_mean(recipe: Recipe, store: EncodedStore) -> float | None:
    """Weighted mean of the train rows' label; for a binary label the mean before `keep_negatives` dropped rows."""
    mean = _label_tally(store).mean
    if mean is None or not 0.0 < mean < 1.0 or recipe.data.label.kind == "regression":
        return mean
    return 1.0 / (1.0 + (1.0 - mean) / mean * math.exp(-logit_correction(recipe)))


def _label_tally(store: EncodedStore) -> LabelTally:
    tally, columns = LabelTally(), [name for name in (LABEL_COLUMN, WEIGHT_COLUMN) if name in store.columns]
    for start in range(0, store.rows, _LABEL_ROWS):
        block = store.read(start, min(_LABEL_ROWS, store.rows - start), columns)
        tally.add(block[LABEL_COLUMN], block.get(WEIGHT_COLUMN))
    return tally
