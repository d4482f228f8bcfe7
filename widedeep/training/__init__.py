"""The training loop, with its optimizers, schedule, device, checkpoints and events."""
