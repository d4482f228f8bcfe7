"""The benchmark of runs that go on, on a tiny log."""

from pathlib import Path

from going_on import LogSet, lines_of, measured


def test_the_bench_of_going_on_measures_all_ways_and_writes_a_line_for_each(tmp_path: Path) -> None:
    log = LogSet(86_400.0, 2, ("training.epochs=1", "training.threads=1"), rows=1_500, days=3)
    facts = measured("tiny", log, tmp_path)
    assert facts["steps"] == 2
    assert set(facts["all"]) == {"frozen", "cold", "warm"}
    frozen, cold, warm = lines_of("tiny", facts)
    assert frozen.startswith("| tiny | frozen |")
    assert cold.count("|") == warm.count("|") == 9
    assert f"{facts['cpu_seconds']['warm'] / facts['cpu_seconds']['cold']:.2f}" in warm
