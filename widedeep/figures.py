"""How numbers read, in a terminal and on a page: figures, gains, durations, speeds, counts by field."""

from collections.abc import Mapping


def figure(value: float | int | str | None) -> str:
    """A figure as people read it: four decimals from 0.01 to 9999, else four significant digits; – for None."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.4g}"


def gain_cell(value: float, low: float | None = None) -> str:
    """A gain in thousandths, with ± half the 95% interval if its lower end is given: `8.85 ±0.46`."""
    shown = f"{1000.0 * value:.3g}"
    return shown if low is None else f"{shown} ±{1000.0 * (value - low):.2g}"


def duration(seconds: float) -> str:
    """Seconds as `8.3 s`, `4:07` or `2:10:00`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def rate(speed: float, unit: str) -> str:
    """A speed in `unit` a second; bytes in MB."""
    return f"{speed / 1e6:,.1f} MB/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s"


def odd_value_lists(missing: Mapping[str, int], unseen: Mapping[str, int]) -> dict[str, list[str]]:
    """Rows with a missing or an unseen value, by field, as `field 1,234`; no list where there is
    nothing to say."""
    kinds = {"missing values": missing, "unseen values": unseen}
    lists = {kind: [f"{name} {rows:,}" for name, rows in found.items() if rows] for kind, found in kinds.items()}
    return {kind: items for kind, items in lists.items() if items}
