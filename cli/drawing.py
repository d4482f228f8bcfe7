"""Whether what pages are drawn with is installed."""

from importlib.util import find_spec

from widedeep.errors import UsageError

_NEEDED = {"matplotlib": "Matplotlib", "jinja2": "Jinja"}


def require_drawing(command: str) -> None:
    """Raise UsageError if `command`, which writes a page, lacks something to draw with."""
    lacking = [title for module, title in _NEEDED.items() if find_spec(module) is None]
    if lacking:
        raise UsageError(
            f"`{command}` draws with {' and '.join(lacking)}, which is not installed: pip install 'widedeep[report]'"
        )
