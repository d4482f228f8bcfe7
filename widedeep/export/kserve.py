"""What a server of the Open Inference Protocol (KServe v2), such as Triton, reads of an exported model."""

import json
from typing import Any

_CONFIG_TYPES = {"INT64": "TYPE_INT64", "FP32": "TYPE_FP32"}


def inputs_of_plan(plan: dict[str, Any]) -> list[tuple[str, str, list[int]]]:
    """(name, datatype, shape with -1 for what varies) of each of the model's inputs."""
    inputs: list[tuple[str, str, list[int]]] = []
    if plan["indices"]:
        inputs.append(("indices", "INT64", [-1, len(plan["indices"])]))
    if plan["numerics"]:
        inputs.append(("numerics", "FP32", [-1, len(plan["numerics"])]))
    lists = range(len(plan["lists"]))
    inputs += [(f"values_{number}", "INT64", [-1]) for number in lists]
    inputs += [(f"bounds_{number}", "INT64", [-1]) for number in lists]
    weighted = [made for made in plan["lists"] if made["weights"]]
    return inputs + [(f"weights_{number}", "FP32", [-1]) for number in range(len(weighted))]


def config(name: str, plan: dict[str, Any]) -> str:
    """Triton's `config.pbtxt`. Requests hold whole batches: lists vary in length, so that no server can join them."""
    lines = [f"name: {json.dumps(name)}", 'backend: "onnxruntime"', "max_batch_size: 0"]
    for part, tensors in (("input", inputs_of_plan(plan)), ("output", [("score", "FP32", [-1])])):
        entries = [
            f"  {{ name: {json.dumps(tensor)}, data_type: {_CONFIG_TYPES[datatype]}, dims: {json.dumps(shape)} }}"
            for tensor, datatype, shape in tensors
        ]
        lines += [f"{part} [", ",\n".join(entries), "]"]
    return "\n".join(lines) + "\n"
