"""A training step as one CUDA graph: at small batches, launching kernels takes most of a step's time.

A graph replays the same kernels on the same addresses. It therefore serves full batches at one learning-rate scale,
without lists (whose lengths vary) and without row weights (whose sum varies). Kernels are launched one by one for every
other batch, and for the first steps at each scale.
"""

from collections.abc import Callable

import torch

from widedeep.reporting import Reporter
from widedeep.training.feed import DeviceBatch

WARM_UP_STEPS = 3
"""Steps at one scale before a step is captured: they allocate optimizer state and compile kernels, which a capture may
not do."""


class CapturedStep:
    """Calls `step(batch, scale)`, captured in a graph if possible. `step` must not wait for the device."""

    def __init__(
        self,
        step: Callable[[DeviceBatch, float], None],
        forget: Callable[[], None],
        batch_size: int,
        reporter: Reporter,
    ) -> None:
        """`forget` drops what a step has left behind that failed half-way."""
        self._step, self._forget, self._batch_size, self._reporter = step, forget, batch_size, reporter
        self._scale, self._steps_at_scale = 0.0, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: DeviceBatch | None = None
        self._side: torch.cuda.Stream | None = None
        self._gave_up = False

    def __call__(self, batch: DeviceBatch, scale: float) -> None:
        if self._gave_up or not can_be_captured(batch, self._batch_size):
            self._step(batch, scale)
            return
        if scale != self._scale:
            self._scale, self._steps_at_scale, self._graph = scale, 0, None
        if self._graph is None and self._steps_at_scale < WARM_UP_STEPS:
            self._steps_at_scale += 1
            self._aside(batch, scale)
            return
        if self._inputs is None:
            self._inputs = DeviceBatch(
                batch.indices.clone(),
                batch.numerics.clone(),
                batch.label.clone(),
                None,
                batch.weight_sum,
                folds=None if batch.folds is None else batch.folds.clone(),
            )
        if self._graph is None and not self._capture(self._inputs, scale):
            self._step(batch, scale)
            return
        for target, source in zip(self._inputs.tensors(), batch.tensors(), strict=True):
            target.copy_(source)
        assert self._graph is not None
        self._graph.replay()

    def _aside(self, batch: DeviceBatch, scale: float) -> None:
        """A step on a side stream, as CUDA graphs require for their warm-up."""
        self._side = self._side or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream()
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            self._step(batch, scale)
        current.wait_stream(self._side)

    def _capture(self, inputs: DeviceBatch, scale: float) -> bool:
        try:
            graph = torch.cuda.CUDAGraph()
            # Other threads copy batches at the same time, which a capture in the strict mode would refuse.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step(inputs, scale)
        except RuntimeError as error:
            self._gave_up = True
            self._forget()
            self._reporter.note(f"the training step cannot be captured in a CUDA graph and goes on without ({error})")
            return False
        self._graph = graph
        return True


def can_be_captured(batch: DeviceBatch, batch_size: int) -> bool:
    """Whether the batch has the shapes and the sum of weights that all full batches have."""
    return len(batch) == batch_size and not batch.bags and batch.weight is None
