"""What the site adds to docs/: the pages that lie elsewhere in the repository, and links between all of them.

MkDocs calls the functions `on_…` (`hooks` in mkdocs.yml). Files keep the places and links that a code host shows; only
the copies in the site are changed.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

_PROJECT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "recipes/DATA.md": "data.md",
}
_RESULTS = "tests/benchmarks/results"
_LINK = re.compile(r"(?<=\]\()([^()\s:#]+)(#[^()\s]*)?(?=\))")
_NAMED_PAGE = re.compile(r"(?<!\[)`([\w./-]+\.md)`")
_FENCE = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)


def site_pages() -> dict[str, str]:
    """Where each page lies in the site (values) by its path in the repository (keys), both with forward slashes."""
    pages = {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    results = {f"{_RESULTS}/{path.name}": f"results/{path.name}" for path in sorted((ROOT / _RESULTS).glob("*.md"))}
    return pages | _PROJECT_PAGES | results


def in_site(text: str, origin: str) -> str:
    """The Markdown of a page as the site shows it.

    Links lead to the places of pages in the site, and a page that is named by its path (`docs/recipe.md`) becomes a
    link with its title, a page of measurements one with its name. Blocks of code stay as they are.

    Args:
        text: the page, as it lies in the repository.
        origin: its path there.
    """
    pages = site_pages()
    folder = posixpath.dirname(pages[origin]) or "."

    def moved(match: re.Match[str]) -> str:
        target = pages.get(posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[1])))
        return match[0] if target is None else posixpath.relpath(target, folder) + (match[2] or "")

    def named(match: re.Match[str]) -> str:
        if match[1] not in pages:
            return match[0]
        text = f"`{posixpath.basename(match[1])}`" if match[1].startswith(_RESULTS) else _title(match[1])
        return f"[{text}]({posixpath.relpath(pages[match[1]], folder)})"

    def prose(part: str) -> str:
        return _NAMED_PAGE.sub(named, _LINK.sub(moved, part))

    parts, end = [], 0
    for block in _FENCE.finditer(text):
        parts += [prose(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, prose(text[end:])])


def anchor(heading: str, separator: str = "-") -> str:
    """The anchor of a heading as code hosts make it: that of `data.time` is `datatime`."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", separator)


def _title(path: str) -> str:
    head = (ROOT / path).read_text(encoding="utf-8").partition("\n")[0]
    return head.removeprefix("# ")


def on_config(config: Any) -> Any:
    """Name the anchors of headings as code hosts do, so that a link holds in both."""
    config["mdx_configs"]["toc"]["slugify"] = anchor
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside docs/."""
    from mkdocs.structure.files import File

    for origin, place in site_pages().items():
        if not origin.startswith("docs/"):
            files.append(File.generated(config, place, abs_src_path=str(ROOT / origin)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page to where their targets lie in the site."""
    (origin,) = [origin for origin, place in site_pages().items() if place == page.file.src_uri]
    return in_site(markdown, origin)
