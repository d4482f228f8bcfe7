"""The command line `widedeep ARGUMENTS`, a `train`, in a process that ends once the first training step is done.

python tests/benchmarks/first_step.py train RECIPE --work DIR
"""

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

LOOP = "widedeep.training.loop"


class LeavingAfterOneStep:
    """An import hook: nothing of the training loop is imported sooner than the command itself would."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The loop's own spec, whose module then leaves the process after its first step."""
        if name != LOOP:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def with_exit(module: ModuleType) -> None:
            execute(module)
            step = module.Trainer._step

            def only_step(trainer: Any, batch: Any) -> None:
                step(trainer, batch)
                os._exit(0)

            module.Trainer._step = only_step

        spec.loader.exec_module = with_exit
        return spec


if __name__ == "__main__":
    sys.meta_path.insert(0, LeavingAfterOneStep())
    from widedeep_cli.main import main

    main()
    sys.exit("no step was done")
