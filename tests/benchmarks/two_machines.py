"""Two agents of torchrun, as on two machines, over loopback: one loses its process, all start again, and the run is the
one that a single process makes. `python tests/benchmarks/two_machines.py` ends with code 0 if so.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "widedeep_cli"]
SETTINGS = ["training.parts=6", "training.dense_rows=0", "training.epochs=6", "training.checkpoint_seconds=0.2"]


def main() -> None:
    """Train on one process and on two agents, of which one is hurt, and compare the checkpoints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([*COMMAND, "synth", "-o", "sample", "--rows", "20000"], cwd=folder, check=True)
        words = ["train", "sample/recipe.yaml", "--quiet", *(word for s in SETTINGS for word in ("--set", s))]
        subprocess.run([*COMMAND, *words, "--work", "alone"], cwd=folder, check=True)
        port = _free_port()
        agents = [_agent(folder, number, [*words, "--work", "shared", "--resume"], port) for number in (0, 1)]
        while not list((folder / "shared").glob("runs/sample/*/checkpoints/last-*")):
            if any(process.poll() is not None for process in agents):
                raise SystemExit("an agent of torchrun ended before the first checkpoint")
            time.sleep(0.1)
        (worker,) = _children(agents[1].pid)
        os.kill(worker, signal.SIGKILL)
        codes = [process.wait() for process in agents]
        alone, shared = (_checkpoints(folder / work) for work in ("alone", "shared"))
        print(f"killed process {worker} of the second agent; exit codes {codes}; equal bytes: {alone == shared}")
        if codes != [0, 0] or alone != shared:
            raise SystemExit(1)


def _agent(folder: Path, number: int, words: list[str], port: int) -> subprocess.Popen[bytes]:
    of_agents = ["--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1", "--max-restarts", "2"]
    address = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    command = [sys.executable, "-m", "torch.distributed.run", *of_agents, *address, "-m", "widedeep_cli", *words]
    return subprocess.Popen(command, cwd=folder)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _children(process: int) -> list[int]:
    """The processes that train, which an agent has started."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    return [child for child in children if b"widedeep_cli" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _checkpoints(work: Path) -> dict[str, bytes]:
    (run,) = [path for path in work.glob("runs/sample/*") if not path.is_symlink()]
    return {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}


if __name__ == "__main__":
    main()
