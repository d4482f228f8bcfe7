"""What a benchmark was measured on, in words."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "polars", "numpy", "numba", "polars-hash")


def machine_facts() -> dict[str, str]:
    """Machine, system, libraries and commit."""
    return {
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {_memory_gb():.0f} GB of memory",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "commit": _commit(),
    }


def _processor() -> str:
    names = [line.split(":", 1)[1] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return names[0].strip() if names else platform.processor() or "unknown processor"


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" and changes" if git("status", "--short") else "")
