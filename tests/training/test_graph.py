"""What is captured in a CUDA graph, and what is not; a step that cannot be captured is still done, once."""

import pytest
import torch
from heard import Heard

from widedeep.kernels.lookups import Bag
from widedeep.training.feed import DeviceBatch
from widedeep.training.graph import WARM_UP_STEPS, CapturedStep, can_be_captured


def batch(rows: int, *, weighted: bool = False, lists: bool = False) -> DeviceBatch:
    bag = Bag(torch.zeros(rows, dtype=torch.int32), torch.arange(rows + 1), None)
    return DeviceBatch(
        torch.zeros(2, rows, dtype=torch.int32),
        torch.zeros(1, rows),
        torch.zeros(rows),
        torch.ones(rows) if weighted else None,
        float(rows),
        (bag,) if lists else (),
    )


def test_only_full_batches_of_one_shape_are_captured() -> None:
    assert can_be_captured(batch(8), 8)
    assert not can_be_captured(batch(7), 8)
    assert not can_be_captured(batch(8, weighted=True), 8)
    assert not can_be_captured(batch(8, lists=True), 8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the capture would succeed")
def test_a_step_that_cannot_be_captured_is_done_once_all_the_same_and_the_user_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CapturedStep, "_aside", lambda self, batch, scale: self._step(batch, scale))
    done: list[tuple[int, float]] = []
    forgotten: list[bool] = []
    heard = Heard()
    step = CapturedStep(lambda batch, scale: done.append((len(batch), scale)), lambda: forgotten.append(True), 8, heard)
    batches = [batch(8)] * (WARM_UP_STEPS + 3) + [batch(5)]
    for one in batches:
        step(one, 0.5)
    assert done == [(len(one), 0.5) for one in batches]
    assert forgotten == [True]
    assert len(heard.notes) == 1
    assert "CUDA graph" in heard.notes[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_captured_step_learns_what_the_launched_one_learns() -> None:
    results = []
    generator = torch.Generator("cuda").manual_seed(1)
    labels = [torch.randn(8, device="cuda", generator=generator) for _ in range(10)]
    for captured in (False, True):
        weight = torch.zeros(8, device="cuda")

        def learn(batch: DeviceBatch, scale: float, weight: torch.Tensor = weight) -> None:
            weight.mul_(0.9).add_(batch.label, alpha=scale)

        heard = Heard()
        step = CapturedStep(learn, lambda: None, 8, heard) if captured else learn
        for number, label in enumerate(labels):
            indices, numerics = torch.zeros(2, 8, dtype=torch.int32, device="cuda"), torch.zeros(1, 8, device="cuda")
            step(DeviceBatch(indices, numerics, label, None, 8.0), 0.5 if number < 7 else 0.25)
        assert heard.notes == []
        results.append(weight)
    torch.testing.assert_close(*results)
