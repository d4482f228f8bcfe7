"""Hands a trained network's weights and the state of its optimizers on to a network whose tables have other rows."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from widedeep.features.fields import UNKNOWN
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.model.table import Table
from widedeep.recipe.schema import WideOptimizer
from widedeep.training.lazy import LazyOptimizer
from widedeep.training.optimizers import Optimizers

_OF_LAZY = {"m": "exp_avg", "v": "exp_avg_sq", "n": "sum"}
"""What torch calls the states of our lazy rules: a table that grows past `dense_rows`, or shrinks to it, changes from
one to the other."""


class _Range(NamedTuple):
    """A range of rows of a new table."""

    known: slice | Tensor
    """The rows of the old table that it begins with."""
    start: int
    added: int
    """Where these end, and rows of new values begin."""
    end: int
    unknown: int
    """The row of unknown values in the old table."""


@torch.no_grad()
def carry_over(
    old: Network,
    old_optimizers: Optimizers,
    new: Network,
    optimizers: Optimizers,
    shift: float,
    *,
    layout: InputLayout,
    kept: Mapping[str, NDArray[np.int64]],
) -> None:
    """Give `new` the weights of `old`, and its optimizers the state of the old ones. Both were built alike.

    `layout` is that of one of them, and `kept` says for columns of which values were dropped which indices stayed.
    Every table of `new` begins its ranges with the rows of the old ones that stayed. The rows that follow are for
    values that were unknown so far: they start as the row for unknown values, so that no score changes, and without any
    state, as rows of a fresh training. `shift` was added to the old bias after its training.
    """
    old_state, state = old.state_dict(), new.state_dict()
    tables = {f"{name}.weight" for name, module in new.named_modules() if isinstance(module, Table)}
    for name, tensor in state.items():
        if name not in tables:
            tensor.copy_(old_state[name])
    _carry_tables(old, old_optimizers, new, optimizers, layout, kept)
    for name, vector in optimizers.vectors.items():
        before = old_optimizers.vectors[name]
        vector.start.copy_(before.start)
        if name == "bias":
            vector.start.add_(shift)
        for key, tensor in vector.states.items():
            tensor.copy_(before.states[key])
    _carry_parameters(old, old_optimizers, new, optimizers)


def _carry_tables(
    old: Network,
    old_optimizers: Optimizers,
    new: Network,
    optimizers: Optimizers,
    layout: InputLayout,
    kept: Mapping[str, NDArray[np.int64]],
) -> None:
    pairs = [pair for pair in zip(old.modules(), new.modules(), strict=True) if isinstance(pair[1], Table)]
    for before, table in pairs:
        assert isinstance(before, Table)
        assert isinstance(table, Table)
        ranges = _ranges(before, table, layout, kept)
        _extend(ranges, before.weight, table.weight, unknown=True)
        states, steps = _states(old_optimizers, before)
        lazy = _lazy(optimizers, table)
        if lazy is None:
            _set_dense_states(optimizers, ranges, table, states, steps)
            continue
        lazy.clock[0] = steps
        for key, tensor in lazy.states.items():
            if key == "decay_received":
                tensor.fill_(lazy.clock[1])  # the old table was settled: no row owes decay
            elif key in states:
                _extend(ranges, states[key], tensor)
        if lazy.settings.optimizer == "ftrl":
            assert isinstance(lazy.settings, WideOptimizer)
            _explain_by_z(ranges, table, lazy.states["z"], lazy.settings)


def _ranges(before: Table, table: Table, layout: InputLayout, kept: Mapping[str, NDArray[np.int64]]) -> list[_Range]:
    ranges = []
    for (old_start, old_size), (start, size), reader in zip(before.ranges, table.ranges, table.readers, strict=True):
        columns = layout.index_columns if reader.pooling is None else layout.list_columns
        stayed = kept.get(columns[reader.position].name)
        known: slice | Tensor = slice(old_start, old_start + old_size)
        if stayed is not None:
            known = torch.from_numpy(stayed).to(before.weight.device) + old_start
        added = start + (old_size if stayed is None else len(stayed))
        ranges.append(_Range(known, start, added, start + size, old_start + UNKNOWN))
    return ranges


def _extend(ranges: Sequence[_Range], values: Tensor, into: Tensor, *, unknown: bool = False) -> None:
    for known, start, added, end, of_unknown in ranges:
        into[start:added] = values[known].to(into.device)
        into[added:end] = values[of_unknown].to(into.device) if unknown else 0.0


def _explain_by_z(ranges: Sequence[_Range], table: Table, z: Tensor, settings: WideOptimizer) -> None:
    """FTRL takes a weight from z alone: set the z of new rows, whose n is 0, to that which gives their weight."""
    for _, _, start, end, _ in ranges:
        added = slice(start, end)
        weight = table.weight[added]
        z[added] = -weight * (settings.beta / settings.learning_rate + settings.l2) - weight.sign() * settings.l1


def _lazy(optimizers: Optimizers, table: Table) -> LazyOptimizer | None:
    return next((lazy for lazy in optimizers.lazy.values() if lazy.table is table), None)


def _states(optimizers: Optimizers, table: Table) -> tuple[dict[str, Tensor], float]:
    """A table's states by the names of the lazy rules, and its number of steps."""
    lazy = _lazy(optimizers, table)
    if lazy is not None:
        return lazy.states, float(lazy.clock[0])
    state: dict[str, Tensor] = next(
        (o.state[table.weight] for o in optimizers.dense.values() if table.weight in o.state), {}
    )
    states = {ours: state[theirs] for ours, theirs in _OF_LAZY.items() if theirs in state}
    return states, float(state["step"]) if "step" in state else 0.0


def _set_dense_states(
    optimizers: Optimizers, ranges: Sequence[_Range], table: Table, states: dict[str, Tensor], steps: float
) -> None:
    states = {key: tensor for key, tensor in states.items() if key in _OF_LAZY}  # a settled table owes no decay
    for optimizer in optimizers.dense.values():
        if states and any(table.weight is p for group in optimizer.param_groups for p in group["params"]):
            extended = {_OF_LAZY[key]: torch.zeros_like(table.weight) for key in states}
            for key, tensor in states.items():
                _extend(ranges, tensor, extended[_OF_LAZY[key]])
            optimizer.state[table.weight] = {"step": _step_tensor(optimizer, table.weight, steps), **extended}


def _step_tensor(optimizer: torch.optim.Optimizer, parameter: Tensor, steps: float) -> Tensor:
    on_device = optimizer.param_groups[0].get("capturable", False) or optimizer.param_groups[0].get("fused", False)
    return torch.tensor(steps, dtype=torch.float32, device=parameter.device if on_device else "cpu")


def _carry_parameters(old: Network, old_optimizers: Optimizers, new: Network, optimizers: Optimizers) -> None:
    before = dict(old.named_parameters())
    for name, optimizer in optimizers.dense.items():
        known = old_optimizers.dense[name]
        for parameter_name, parameter in new.named_parameters():
            old_parameter: nn.Parameter = before[parameter_name]
            if any(parameter is p for group in optimizer.param_groups for p in group["params"]):
                state = known.state.get(old_parameter, {})
                if state:
                    optimizer.state[parameter] = {
                        key: value.to(parameter.device, copy=True)
                        if key != "step"
                        else _step_tensor(optimizer, parameter, float(value))
                        for key, value in state.items()
                    }
