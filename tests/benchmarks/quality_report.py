"""results/quality.md, written from results/quality.json: a section for each table that was measured, and above them what
crosses added."""

from collections.abc import Mapping
from typing import Any

from quality_figures import METRICS, PEER
from quality_settings import TABLES

from widedeep.recipe.kinds import KINDS

_NAMES = {"frappe": "Frappe_x1", "adult": "Adult", "movielens-1m": "MovieLens-1M"}
_NAMES |= {"movielens-100k": "MovieLens-100K by time", "planted-log": "planted log"}


def report(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole file; `measured` holds table → what is known of it."""
    parts = [
        "# Quality",
        "Written by `python tests/benchmarks/quality.py TABLE --work DIR`, a section for each TABLE. Valid rows chose "
        "settings and epochs, test rows nothing (of a setting that was changed later, the settings file says so). Figures are means ± deviations over seeds; "
        "times are those of one seed's whole command on half of a shared machine's cores, and no measure of speed.",
        "## What crosses added",
        "Test AUC with crosses minus without, in thousandths, paired by row and seed; 95% intervals for other rows and seeds. "
        "`dcn`, `dcn_v2`, `finalmlp` and `finalnet` get their linear part with the crosses; `deep` takes none.",
        headline(measured),
        *(_section(name, table) for name, table in _in_order(measured).items()),
    ]
    return "\n\n".join(parts) + "\n"


def headline(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """What crosses added to each kind on each data set, as the table in docs/figures.md."""
    tables = _in_order(measured)
    kinds = [kind for kind in KINDS if any(one["kind"] == kind for table in tables.values() for one in table["added"])]
    lines = [_row("", *(_NAMES[name] for name in tables)), _row(*["---"] * (len(tables) + 1))]
    for kind in kinds:
        cells = []
        for table in tables.values():
            added = next((one for one in table["added"] if one["kind"] == kind), None)
            cells.append("" if added is None else _change(added["auc"], 1000, 1))
        lines.append(_row(f"`{kind}`", *cells))
    return "\n".join(lines)


def _in_order(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {name: measured[name] for name in TABLES if name in measured}


def _section(name: str, table: Mapping[str, Any]) -> str:
    best = table["best_auc"]
    paragraphs = [
        f"## {table['title']}",
        "\n".join(f"- {fact}: {value}" for fact, value in table["facts"].items()),
        f"{table['rows']:,} test rows."
        + ("" if best is None else f" The best AUC that any model could reach on them is {best:.4f}."),
        _figures(table),
        _added(table),
    ]
    if table["against_peer"]:
        paragraphs.append(_against_peer(table))
    if table["parts"]:
        paragraphs.append(_parts(table))
    settings = "\n".join(f"- {line}" for line in table["settings"])
    paragraphs.append(f"Beside the recipe's settings (tests/benchmarks/quality/{name}.yaml):\n\n{settings}")
    return "\n\n".join(paragraphs)


def _figures(table: Mapping[str, Any]) -> str:
    published = table["published"]
    head = ["model", "crosses", "test AUC", "test log loss", "valid AUC", "parameters", "time", "seeds"]
    lines = [_row(*head, *(["published AUC"] if published else [])), _row(*["---"] * (len(head) + bool(published)))]
    for one in table["lines"]:
        named = one["kind"] == PEER
        cells = [
            one["kind"] if named else f"`{one['kind']}`",
            "–" if named else "yes" if one["crosses"] else "no",
            _mean(one["test_auc"]),
            _mean(one["test_log_loss"]),
            _mean(one["valid_auc"]),
            f"{one['parameters']:,}" + (" leaves" if named else ""),
            f"{one['seconds']:,.0f} s",
            str(one["seeds"]),
        ]
        if published:
            cells.append("" if one["crosses"] or one["kind"] not in published else f"{published[one['kind']]:.4f}")
        lines.append(_row(*cells))
    return "\n".join(lines)


def _added(table: Mapping[str, Any]) -> str:
    units = "groups of rows" if table["grouped"] else "rows"
    if not table["added"]:
        return f"Crosses: {table['crosses']}"
    lines = [_row("model", "AUC with crosses - without", "log loss with crosses - without"), _row(*["---"] * 3)]
    lines += [_row(f"`{one['kind']}`", *(_change(one[metric], 1, 4) for metric in METRICS)) for one in table["added"]]
    said = f"What crosses added ({table['crosses']}), paired by test row and seed; 95% intervals for other {units} and seeds:"
    return f"{said}\n\n" + "\n".join(lines)


def _against_peer(table: Mapping[str, Any]) -> str:
    lines = [_row("model", "crosses", f"AUC - {PEER}'s", f"log loss - {PEER}'s"), _row(*["---"] * 4)]
    for one in table["against_peer"]:
        cells = (_change(one[metric], 1, 4) for metric in METRICS)
        lines.append(_row(f"`{one['kind']}`", "yes" if one["crosses"] else "no", *cells))
    return f"Against {PEER} on the same rows, likewise:\n\n" + "\n".join(lines)


def _parts(table: Mapping[str, Any]) -> str:
    pair = " and ".join(table["pair"])
    titles = {"seen": f"{pair} seen together in train", "new": f"{pair} not seen together"}
    lines = [_row("model", "crosses", "test rows", "rows", "AUC", "log loss"), _row(*["---"] * 6)]
    for one in table["parts"]:
        cells = (_mean(one[metric]) if metric in one else "–" for metric in METRICS)
        crosses = "yes" if one["crosses"] else "no"
        lines.append(_row(f"`{one['kind']}`", crosses, titles[one["part"]], f"{one['rows']:,}", *cells))
    return "By part of the test rows:\n\n" + "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(figure: Mapping[str, float]) -> str:
    return f"{figure['mean']:.4f} ± {figure['deviation']:.4f}".replace("0.", ".")


def _change(change: Mapping[str, float], factor: float, digits: int) -> str:
    # Plus zero: no `−0.0`.
    rounded = (round(change[end] * factor, digits) + 0.0 for end in ("value", "low", "high"))
    value, low, high = (f"{one:+.{digits}f}".replace("-", "−") for one in rounded)
    return f"{value} ({low} to {high})"
