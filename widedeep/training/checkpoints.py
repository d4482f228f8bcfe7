"""Checkpoints: tensors and the progress of training as JSON, in one safetensors file that is replaced as a whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from widedeep.errors import ArtefactError
from widedeep.files import check_readable, plain_name, replacing_file


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write atomically. `state` goes into the file's header as JSON; equal inputs give equal bytes."""
    host_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing_file(path) as temporary:
        save_file(host_tensors, temporary, metadata={"state": json.dumps(dict(state), sort_keys=True, allow_nan=False)})


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors (on the CPU) and the state. Raises ArtefactError for a missing, truncated or foreign file."""
    check_readable(path)
    try:
        with plain_name(path) as name, safe_open(name, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            return {tensor: file.get_tensor(tensor) for tensor in file.keys()}, state  # noqa: SIM118 - no mapping
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no checkpoint is here; train again, or with --resume") from error
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise ArtefactError(
            f"{path}: not a checkpoint of widedeep, or a damaged one ({error}); restore it from a copy or train again"
        ) from error


def model_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers of the network; names have the prefix `model.`."""
    return {f"model.{name}": tensor for name, tensor in network.state_dict().items()}


def restore_model(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, in_place: bool = True) -> None:
    """Load what `model_tensors` gave, into the network's own memory or, if not `in_place`, as it is.

    Raises ArtefactError if names, shapes or types are those of another model.
    """
    network.load_state_dict(check_model(network, tensors, path), assign=not in_place)


def check_model(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """What `restore_model` loads, for a network that may be on the meta device. Raises what it raises."""
    expected = network.state_dict()
    saved = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    if missing := sorted(expected.keys() - saved.keys()):
        raise ArtefactError(f"{path}: checkpoint of another model: it lacks {missing[0]} (and {len(missing) - 1} more)")
    if unknown := sorted(saved.keys() - expected.keys()):
        raise ArtefactError(
            f"{path}: checkpoint of another model: it has {unknown[0]}, which this recipe's model lacks"
        )
    for name, tensor in expected.items():
        if saved[name].shape != tensor.shape:
            shapes = f"{tuple(saved[name].shape)}, in the recipe's model {tuple(tensor.shape)}"
            raise ArtefactError(f"{path}: checkpoint of another model: {name} has shape {shapes}")
        if saved[name].dtype != tensor.dtype:
            types = f"{saved[name].dtype}, in the recipe's model {tensor.dtype}"
            raise ArtefactError(f"{path}: checkpoint of another model: {name} is of type {types}")
    return saved


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's random generators (used by dropout), as tensors."""
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what `random_state` gave. If the checkpoint was written on a CPU, the CUDA generator stays as it is."""
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
