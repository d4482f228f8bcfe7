"""The optimizers of a model: lazy ones for large tables, dense ones for small parameters, FTRL for the wide part."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from widedeep.kernels.choose import kernels_for
from widedeep.kernels.rules import Ftrl
from widedeep.model.network import Network
from widedeep.model.table import Table
from widedeep.recipe.schema import DeepOptimizer, TrainingSettings, WideOptimizer
from widedeep.training.dense import DenseOptimizer, Group
from widedeep.training.lazy import LazyOptimizer, small_lookups

MEMORY_LEARNING_RATE = 0.01
"""Adam's learning rate for the scales and offsets of crosses from memory, which start as they fit the main effects."""


class FtrlVector:
    """FTRL-Proximal on a small dense parameter (the bias, the weights of the numerics), on summed gradients."""

    def __init__(self, parameter: nn.Parameter, settings: WideOptimizer, *, penalised: bool) -> None:
        self.parameter = parameter
        l1, l2 = (settings.l1, settings.l2) if penalised else (0.0, 0.0)
        self._rule = Ftrl(settings.learning_rate, settings.beta, l1, l2)
        # FTRL computes a weight from z alone, from a start at zero. Another start is added as an offset.
        self.start = parameter.detach().clone()
        self.states = {"z": torch.zeros_like(parameter.data), "n": torch.zeros_like(parameter.data)}

    def step(self, batch_weight: float) -> None:
        gradient = self.parameter.grad
        if gradient is None or not self.parameter.numel():
            return
        moved = self.parameter.detach() - self.start
        z, n = self.states["z"], self.states["n"]
        summed = gradient * batch_weight
        kernels = kernels_for(moved.device)
        kernels.update_numbers(self._rule, moved.view(-1), z.view(-1), n.view(-1), summed.view(-1))
        with torch.no_grad():
            torch.add(self.start, moved, out=self.parameter.data)

    def rehearse(self) -> None:
        """Update one number, so that kernels are compiled now and not in the first step."""
        numbers = [torch.zeros(1, device=self.start.device) for _ in range(4)]
        kernels_for(self.start.device).update_numbers(self._rule, *numbers)


class Optimizers:
    """All optimizers of a model, stepped together after one backward pass of the mean loss."""

    def __init__(self, network: Network, settings: TrainingSettings) -> None:
        self.lazy: dict[str, LazyOptimizer] = {}
        self.vectors: dict[str, FtrlVector] = {}
        self.dense: dict[str, DenseOptimizer] = {}
        self.dense_tables: list[Table] = []
        self._rates: dict[str, float] = {}
        wide = network.wide
        if wide is not None:
            self._add_wide(network, settings)
        if network.cross_memory is not None:
            self._rates["memory"] = MEMORY_LEARNING_RATE
            self.dense["memory"] = DenseOptimizer("adam", [Group(list(network.cross_memory.parameters()))])
        tables = network.embedding_tables()
        groups: list[Group] = []
        for table in tables:
            # Row-wise AdaGrad changes no row without a gradient: lazy updates are exact, whatever the table's size.
            if table.num_rows > settings.dense_rows or settings.deep.optimizer == "rowwise_adagrad":
                self.lazy[f"embeddings.{table.weight.shape[1]}"] = LazyOptimizer(
                    table, settings.deep, settings.deep.embedding_l2
                )
            else:
                self.dense_tables.append(table)
                groups.append(Group([table.weight], settings.deep.embedding_l2))
        tower = list(network.towers.parameters())
        groups.append(Group([p for p in tower if p.dim() > 1], settings.deep.l2))
        undecayed = [p for p in tower if p.dim() <= 1] + ([network.bias] if wide is None else [])
        groups.append(Group(undecayed))
        self._add_dense("deep", settings.deep, groups)

    def _add_wide(self, network: Network, settings: TrainingSettings) -> None:
        wide = network.wide
        assert wide is not None
        table, wide_settings = wide.weights, settings.wide
        if wide_settings.optimizer == "ftrl":
            # FTRL changes no weight without a gradient: lazy updates are exact, whatever the table's size.
            if table is not None:
                self.lazy["wide"] = LazyOptimizer(table, wide_settings, wide_settings.l2)
            self.vectors["wide.numeric"] = FtrlVector(wide.numeric, wide_settings, penalised=True)
            self.vectors["bias"] = FtrlVector(network.bias, wide_settings, penalised=False)
            return
        groups = [Group([network.bias]), Group([wide.numeric], wide_settings.l2)]
        if table is not None and table.num_rows > settings.dense_rows:
            self.lazy["wide"] = LazyOptimizer(table, wide_settings, wide_settings.l2)
        elif table is not None:
            self.dense_tables.append(table)
            groups.append(Group([table.weight], wide_settings.l2))
        self._add_dense("wide", wide_settings, groups)

    def _add_dense(self, name: str, settings: WideOptimizer | DeepOptimizer, groups: list[Group]) -> None:
        groups = [group for group in groups if any(p.numel() for p in group.parameters)]
        if not groups:
            return
        assert settings.optimizer != "ftrl", "FTRL has optimizers of its own"
        rule = "adagrad" if settings.optimizer == "rowwise_adagrad" else settings.optimizer  # row-wise: tables only
        self._rates[name], self.dense[name] = settings.learning_rate, DenseOptimizer(rule, groups)

    @torch.no_grad()
    def step(self, scale: float, batch_weight: float) -> None:
        """Update all parameters after `backward` of the mean loss, and clear the gradients.

        `scale` multiplies all learning rates but FTRL's. `batch_weight` is the sum of the batch's row weights.
        """
        for lazy in self.lazy.values():
            lazy.step(scale, batch_weight)
        for vector in self.vectors.values():
            vector.step(batch_weight)
            vector.parameter.grad = None
        for table in self.dense_tables:
            touched = table.touched
            assert touched is not None, "step without a training forward pass"
            table.touched = None
            table.weight.grad = torch.zeros_like(table.weight)
            kernels_for(table.weight.device).add_gradients(
                table.weight.grad, table.weight, touched.lookups, touched.gradient
            )
        for name, optimizer in self.dense.items():
            optimizer.step(self._rates[name] * scale)

    @torch.no_grad()
    def rehearse(self) -> None:
        """Read and update tables of one row, so that kernels are compiled now and not in the first step."""
        for lazy in self.lazy.values():
            lazy.rehearse()
        for vector in self.vectors.values():
            vector.rehearse()
        for table in self.dense_tables:
            small, lookups, out = small_lookups(table)
            kernels_for(small.device).look_up(small, lookups, out)
            kernels_for(small.device).add_gradients(torch.zeros_like(small), small, lookups, out)

    def forget(self) -> None:
        """Drop the gradients and look-ups of a step that failed."""
        for table in [lazy.table for lazy in self.lazy.values()] + self.dense_tables:
            table.touched = None
        for vector in self.vectors.values():
            vector.parameter.grad = None
        for optimizer in self.dense.values():
            optimizer.clear()

    @torch.no_grad()
    def settle(self) -> None:
        """Pay the decay that rows of tables owe, before an evaluation or a best checkpoint."""
        for lazy in self.lazy.values():
            lazy.settle()

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor of the optimizers' states, for a checkpoint."""
        states = {f"{name}.{key}": state for name, lazy in self.lazy.items() for key, state in lazy.states.items()}
        states |= {f"{name}.{key}": s for name, vector in self.vectors.items() for key, s in vector.states.items()}
        states |= {f"{name}.start": vector.start for name, vector in self.vectors.items()}
        for name, optimizer in self.dense.items():
            for number, state in optimizer.numbered().items():
                states |= {f"{name}.{number}.{key}": s for key, s in state.items()}
        return states

    def numbers(self) -> dict[str, list[float]]:
        """Name → clock of each lazy optimizer, for a checkpoint."""
        return {name: lazy.clock.tolist() for name, lazy in self.lazy.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Iterable[float]]) -> None:
        """Restore what `tensors` and `numbers` gave. Raises KeyError or ValueError for those of another model."""
        for name, lazy in self.lazy.items():
            lazy.clock.copy_(torch.tensor(list(numbers[name]), dtype=torch.float64))
            for key, state in lazy.states.items():
                _copy(tensors, f"{name}.{key}", state)
        for name, vector in self.vectors.items():
            _copy(tensors, f"{name}.start", vector.start)
            for key, state in vector.states.items():
                _copy(tensors, f"{name}.{key}", state)
        for name, optimizer in self.dense.items():
            loaded: dict[int, dict[str, Tensor]] = {}
            for full_name, tensor in tensors.items():
                owner, _, rest = full_name.partition(".")
                index, _, key = rest.partition(".")
                if owner == name and index.isdigit():
                    loaded.setdefault(int(index), {})[key] = tensor
            optimizer.restore(loaded)


def _copy(tensors: Mapping[str, Tensor], name: str, into: Tensor) -> None:
    tensor = tensors[name]
    if (tensor.shape, tensor.dtype) != (into.shape, into.dtype):
        raise ValueError(f"{name} is of another shape or type")
    into.copy_(tensor)
