"""Where the operating system is not one that widedeep runs on, it says so in one sentence."""

import subprocess
import sys

import pytest

WITHOUT_A_MODULE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.modules.pop({module!r}, None)
sys.argv = ["widedeep", *{arguments!r}]
from widedeep_cli.main import main
main()
"""


@pytest.mark.parametrize("module", ["fcntl", "resource"])
@pytest.mark.parametrize("arguments", [["--help"], ["train", "adult"]])
def test_without_the_modules_that_windows_lacks_one_sentence_says_what_to_do(module: str, arguments: list[str]) -> None:
    program = WITHOUT_A_MODULE.format(module=module, arguments=arguments)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("widedeep: error: widedeep runs on Linux and macOS")
    assert f"no module {module}" in line
    assert "WSL" in line
