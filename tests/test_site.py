"""The site of the documentation: every page is in its navigation, and every link between pages leads somewhere."""

import posixpath
import re
from pathlib import Path

import pytest
import yaml
from site_pages import anchor, in_site, site_pages

ROOT = Path(__file__).parents[1]
PAGES = site_pages()


def prose_of(origin: str) -> str:
    """A page as the site shows it, without its blocks of code."""
    text = in_site((ROOT / origin).read_text(encoding="utf-8"), origin)
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def places(navigation: object) -> list[str]:
    if isinstance(navigation, str):
        return [navigation]
    parts = navigation.values() if isinstance(navigation, dict) else navigation
    return [place for part in parts for place in places(part)]


ANCHORS = {
    place: {anchor(heading) for heading in re.findall(r"^#+ (.*)$", prose_of(origin), flags=re.MULTILINE)}
    for origin, place in PAGES.items()
}


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    assert sorted(places(settings["nav"])) == sorted(PAGES.values()), "mkdocs.yml: nav lists the pages of the site"


@pytest.mark.parametrize("origin", PAGES)
def test_every_link_between_pages_of_the_site_leads_to_a_page_and_a_heading(origin: str) -> None:
    folder = posixpath.dirname(PAGES[origin])
    links = re.findall(r"\]\(([^()\s:#]*)(?:#([^()\s]*))?\)", prose_of(origin))
    targets = [(posixpath.normpath(posixpath.join(folder, to)) if to else PAGES[origin], head) for to, head in links]

    assert [
        (place, head) for place, head in targets if place not in ANCHORS or (head and head not in ANCHORS[place])
    ] == []


def test_a_page_named_by_its_path_becomes_a_link_with_its_title() -> None:
    assert (
        in_site("See `docs/crosses.md`, `docs/gone.md`.", "README.md") == "See [Crosses](crosses.md), `docs/gone.md`."
    )
    assert in_site("`tests/benchmarks/results/gpu.md`", "README.md") == "[`gpu.md`](results/gpu.md)"


def test_links_out_of_docs_lead_to_where_the_site_has_the_page() -> None:
    text = "[quality.md](../tests/benchmarks/results/quality.md#adult), [crosses](crosses.md), <https://a.org/docs/crosses.md>"

    shown = in_site(text, "docs/figures.md")

    assert shown == "[quality.md](results/quality.md#adult), [crosses](crosses.md), <https://a.org/docs/crosses.md>"


def test_code_in_blocks_stays_as_it_is() -> None:
    text = "```sh\ncat `docs/crosses.md` # [a](../recipes/DATA.md)\n```\n"

    assert in_site(text, "docs/figures.md") == text
