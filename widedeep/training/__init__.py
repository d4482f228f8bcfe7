"""The training loop and what it needs: optimizers, schedules, device, checkpoints, events."""
