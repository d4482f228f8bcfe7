"""The rooms keep their order: each may import those below it, never above, and the light ones stay light."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import widedeep

ROOT = Path(__file__).parents[1]

ROOMS = (
    "commands",
    "cli",
    "api",
    "tracking",
    "report",
    "search",
    "comparison",
    "export",
    "pipeline",
    "discovery",
    "scoring",
    "training",
    "evaluation",
    "model",
    "memory",
    "kernels",
    "encoded",
    "features",
    "suggest",
    "profile",
    "table",
    "source",
    "synth",
    "recipe",
    "workers",
    "ground",
)
"""Top to bottom; `ground` is what lies in widedeep/ itself."""

WITHOUT_TORCH = (
    "api",
    "search",
    "discovery",
    "evaluation",
    "memory",
    "encoded",
    "features",
    "suggest",
    "profile",
    "table",
    "source",
    "synth",
    "recipe",
    "workers",
    "ground",
    "kernels/__init__.py",
)

MOST_MODULES_OF_PREDICT = 81
"""Of ours, for some rows of a CSV; that of `cli/commands/` is one of them."""


def source_files() -> list[Path]:
    return sorted([*ROOT.glob("cli/**/*.py"), *ROOT.glob("widedeep/**/*.py")])


def room_of_file(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "cli":
        return "commands" if parts[1] == "commands" else "cli"
    if parts == ("widedeep", "__init__.py"):
        return "api"  # it hands on what that room makes
    return parts[1] if len(parts) > 2 else "ground"


def room_of_module(module: str) -> str:
    parts = module.split(".")
    if parts[0] in ("cli", "widedeep_cli"):
        return "commands" if parts[1:2] == ["commands"] else "cli"
    if len(parts) == 2 and parts[1] in widedeep.__all__ and parts[1] != "errors":
        return "api"
    return parts[1] if len(parts) > 1 and (ROOT / "widedeep" / parts[1]).is_dir() else "ground"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of every import, those inside functions and type-checking blocks included."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield node.lineno, module
            # `from widedeep import scoring` imports a room, too.
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def test_every_folder_is_a_room_of_the_plan() -> None:
    folders = {path.parent.name for path in ROOT.glob("widedeep/*/__init__.py")}

    assert folders <= set(ROOMS)


def test_a_room_is_small_enough_to_be_read() -> None:
    lines: Counter[str] = Counter()
    for path in source_files():
        lines[room_of_file(path)] += len(path.read_text(encoding="utf-8").splitlines())

    assert {room: number for room, number in lines.items() if number > 4000} == {}


def test_a_room_imports_only_rooms_below_it() -> None:
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in source_files()
        for line, module in imports(path)
        if module.split(".")[0] in ("widedeep", "widedeep_cli", "cli")
        if ROOMS.index(room_of_module(module)) < ROOMS.index(room_of_file(path))
    ]

    assert upward == []


def test_the_command_line_names_itself_by_relative_imports_only() -> None:
    # The folder is called cli, the installed package widedeep_cli: only relative imports are true in both.
    absolute = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.glob("cli/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and not node.level and node.module is not None
        if node.module.split(".")[0] in ("cli", "widedeep_cli")
    ]

    assert absolute == []


def test_no_test_ends_by_the_clock() -> None:
    # On a busy machine such a test fails although nothing is wrong.
    limited = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.glob("tests/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _is_limit_of_time(node)
    ]

    assert limited == []


def _is_limit_of_time(node: ast.AST) -> bool:
    if isinstance(node, ast.Dict):
        return any(isinstance(key, ast.Constant) and key.value == "timeout" for key in node.keys)
    if not isinstance(node, ast.Call):
        return False
    waits = isinstance(node.func, ast.Attribute) and node.func.attr in ("wait", "communicate")
    return any(keyword.arg == "timeout" for keyword in node.keywords) or (waits and bool(node.args))


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_a_light_room_never_names_torch(part: str) -> None:
    heavy = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in source_files()
        if part
        in (room_of_file(path), path.relative_to(ROOT / "widedeep").as_posix() if "cli" not in path.parts else "")
        for line, module in imports(path)
        if module.split(".")[0] == "torch"
    ]

    assert heavy == []


def test_only_the_console_knows_rich() -> None:
    users = {
        path.relative_to(ROOT).as_posix() for path in source_files() for _, m in imports(path) if m.startswith("rich")
    }

    assert users == {"cli/console.py"}


def test_only_the_report_knows_matplotlib_and_jinja() -> None:
    users = {
        room_of_file(path)
        for path in source_files()
        for _, m in imports(path)
        if m.startswith(("matplotlib", "jinja2"))
    }

    assert users == {"report"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["ingest", "--help"], ["train", "--help"], ["report", "--help"]]
)
def test_help_imports_no_heavy_library(arguments: list[str]) -> None:
    program = (
        "import sys; from widedeep_cli.main import dispatch; "
        f"code = dispatch({arguments!r}); "
        "sys.exit(code or ','.join({'torch', 'polars', 'numpy', 'rich', 'matplotlib', 'jinja2'} & set(sys.modules)) or None)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_import_widedeep_costs_no_library() -> None:
    program = (
        "import sys; before = set(sys.modules); import widedeep; "
        "new = {name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names}; "
        "sys.exit(','.join(sorted(new - {'widedeep'})) or None)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def modules_after(command: str, trained: Path, place: Path) -> set[str]:
    """The modules that a process has loaded once it has done `predict` or `train`."""
    arguments = {
        "predict": [str(trained / "runs/small/latest"), str(trained / "new.csv"), "-o", str(place / "s.csv")],
        "train": [str(trained / "small.yaml"), "--work", str(place)],
    }
    program = (
        "import sys; from widedeep_cli.main import dispatch; "
        f"code = dispatch({[command, *arguments[command]]!r}); assert code == 0; print(*sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_predict_loads_what_it_scores_with_and_little_else(trained: Path, tmp_path: Path) -> None:
    modules = modules_after("predict", trained, tmp_path)

    loaded = [name for name in modules if name.split(".")[0] in ("widedeep", "widedeep_cli")]
    rooms = {room_of_module(name) for name in loaded}
    assert rooms & {"pipeline", "profile", "discovery", "evaluation", "comparison", "report"} == set()
    assert len(loaded) <= MOST_MODULES_OF_PREDICT, loaded


@pytest.mark.parametrize("command", ["predict", "train"])
def test_a_command_imports_no_compiler_of_torch(command: str, trained: Path, tmp_path: Path) -> None:
    # They are more modules than torch itself, and come by many ways: a draw on the meta device, torch.optim, torch.arange.
    modules = modules_after(command, trained, tmp_path)

    assert {"torch._dynamo", "torch._inductor", "sympy"} & modules == set()


def test_ingest_and_crosses_import_no_torch() -> None:
    program = "import sys; import widedeep.pipeline.stages; sys.exit('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
