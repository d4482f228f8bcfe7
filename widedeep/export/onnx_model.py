"""The network through torch's exporters: as ONNX, and as a program of torch's own (.pt2)."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from widedeep.errors import ArtefactError
from widedeep.export.graph import Inputs, ServedNetwork
from widedeep.model.layout import InputLayout

OPSET, IR_VERSION = 20, 10
"""Versions of ONNX's operators and of its file format. Both are read by onnxruntime from 1.18 on (May 2024)."""
_BY_TORCH = f"torch {torch.__version__} cannot export the model"
TRACED_ROWS = 5
"""Rows of the batch that the network is traced with."""
_MOST_BYTES_INSIDE = 1 << 30
"""Of larger models the weights lie in a file of their own: a file of ONNX holds at most 2 GiB."""


def traced_inputs(layout: InputLayout) -> Inputs:
    """Inputs to trace with. No size that varies equals another one by chance: torch would take them for one size."""
    num_single, num_numerics = len(layout.index_columns), len(layout.numeric_columns)
    values, bounds, weights = [], [], []
    for number, column in enumerate(layout.list_columns):
        size = 2 * TRACED_ROWS + 1 + 2 * number
        values.append(torch.zeros(size, dtype=torch.int64))
        bounds.append(torch.tensor([*range(TRACED_ROWS), size]))
        if column.weights is not None:
            weights.append(torch.ones(size))
    return Inputs(
        torch.zeros(TRACED_ROWS, num_single, dtype=torch.int64) if num_single else None,
        torch.zeros(TRACED_ROWS, num_numerics) if num_numerics else None,
        values,
        bounds,
        weights,
    )


def traced(network: ServedNetwork, layout: InputLayout) -> torch.export.ExportedProgram:
    """The network for batches of any size. Raises ArtefactError if this torch cannot trace it."""
    inputs = traced_inputs(layout)
    any_size: Any = torch.export.Dim.DYNAMIC
    shapes = tuple(
        [{0: any_size} for _ in of] if isinstance(of, list) else None if of is None else {0: any_size} for of in inputs
    )
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(network, tuple(inputs), dynamic_shapes=shapes)
    except Exception as error:  # whatever a part of the exporter raises
        raise _refused(_BY_TORCH, error) from error


def write_onnx(program: torch.export.ExportedProgram, path: Path, producer: str) -> None:
    """Write the traced network as ONNX. Raises ArtefactError if this torch cannot write it."""
    try:
        with _quiet():
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, output_names=["score"], verbose=False
            )
    except Exception as error:  # whatever a part of the exporter raises
        raise _refused(_BY_TORCH, error) from error
    assert exported is not None
    model: Any = exported.model  # of onnx_ir, which comes with onnxscript
    model.producer_name, model.producer_version = "widedeep", producer
    model.ir_version = IR_VERSION
    model.metadata_props.clear()
    # The exporter notes from which lines of which files each part comes, as they lie on this machine.
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for given in (*model.graph.inputs, *model.graph.outputs):
        given.metadata_props.clear()
        sizes, name = list(given.shape), given.name
        sizes[0] = "batch" if name in ("indices", "numerics", "score") else name.replace("weights", "values")
        given.shape = type(given.shape)(sizes)
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    with _quiet():
        exported.save(path, external_data=size > _MOST_BYTES_INSIDE)


def read_onnx(path: Path) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]:
    """A written ONNX model, by onnxruntime: name of an input → its values, to scores [B].

    It raises ArtefactError for a model that onnxruntime does not take, as does what it returns.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # of classes of its own, for each kind of fault
        raise _refused(f"onnxruntime {onnxruntime.__version__} cannot load the exported model", error) from error

    def run(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        try:
            scores: NDArray[Any] = session.run(["score"], dict(inputs))[0]
        except Exception as error:
            raise _refused(f"onnxruntime {onnxruntime.__version__} cannot run the exported model", error) from error
        return scores

    return run


def write_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write the traced network as torch's own program, which `torch.export.load` reads."""
    with _quiet(), path.open("wb") as file:
        torch.export.save(program, file)


def read_program(path: Path) -> Callable[[Inputs], Tensor]:
    """A written program: inputs → scores [B]."""
    with _quiet(), path.open("rb") as file:
        module = torch.export.load(file).module()

    def run(inputs: Inputs) -> Tensor:
        with torch.inference_mode():
            scores: Tensor = module(*inputs)
        return scores

    return run


def _refused(what: str, error: Exception) -> ArtefactError:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ArtefactError(f"{what}: {said[:300]}")


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter tells its developers stays away from stderr."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
