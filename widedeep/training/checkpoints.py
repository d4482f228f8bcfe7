"""Checkpoints: tensors and the JSON of where training stands, in one safetensors file that is replaced as a whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from widedeep.errors import ArtefactError
from widedeep.files import check_readable, replacing_file


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write atomically. `state` is kept as JSON in the file's header; equal inputs give equal bytes."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing_file(path) as temporary:
        save_file(ready, temporary, metadata={"state": json.dumps(dict(state), sort_keys=True, allow_nan=False)})


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors (on the CPU) and the state. Raises ArtefactError for a missing, truncated or foreign file."""
    check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118 - no mapping
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: there is no checkpoint here; train again, or with --resume") from error
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise ArtefactError(
            f"{path}: not a checkpoint of widedeep, or a damaged one ({error}); restore it from a copy or train again"
        ) from error


def model_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers, under the prefix `model.`."""
    return {f"model.{name}": tensor for name, tensor in network.state_dict().items()}


def restore_model(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load what `model_tensors` gave. Raises ArtefactError when names or shapes are another model's."""
    expected = network.state_dict()
    found = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    if missing := sorted(expected.keys() - found.keys()):
        raise ArtefactError(f"{path}: checkpoint of another model: it lacks {missing[0]} (and {len(missing) - 1} more)")
    if unknown := sorted(found.keys() - expected.keys()):
        raise ArtefactError(
            f"{path}: checkpoint of another model: it has {unknown[0]}, which this recipe does not make"
        )
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)}, the recipe makes {tuple(tensor.shape)}"
            raise ArtefactError(f"{path}: checkpoint of another model: {name} has shape {shapes}")
    network.load_state_dict(found)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """torch's random generators (dropout), as tensors."""
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Take over what `random_state` gave; a checkpoint of another device keeps the fresh cuda generator."""
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
