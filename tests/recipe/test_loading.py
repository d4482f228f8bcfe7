"""Loading a recipe: all faults at once with their lines, overrides, what defaults become."""

from pathlib import Path
from typing import Any

import pytest

from widedeep.errors import RecipeError
from widedeep.recipe.load import LoadedRecipe, load_recipe, parse_recipe, resolve_paths
from widedeep.recipe.schema import ColumnSplit, KeySplit, RandomSplit

pytestmark = pytest.mark.usefixtures("held_against_the_schema")

SHORT = """\
data: {train: log.csv, label: click}
features:
  numeric:
    - age
    - {column: hours, buckets: 5}
  categorical: [city, device]
"""


def load(text: str, *overrides: str) -> LoadedRecipe:
    return parse_recipe(text, "r.yaml", Path("somewhere"), "sample", overrides)


def faults_of(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides)
    return [str(fault) for fault in caught.value.faults]


def test_a_short_recipe_works() -> None:
    loaded = load(SHORT)
    assert loaded.recipe.name == "sample"
    assert loaded.recipe.data.train == ("log.csv",)
    assert loaded.base_dir == Path("somewhere")
    assert loaded.notes == ()


def test_all_faults_are_told_at_once_each_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    text = """\
seed: true
data:
  train: ${NOPE}/log.csv
  label: {kind: binry}
  format:
    header: no
    separator: ';;'
features:
  categorical: [city, device]
crosses:
  - [city, devise]
  - [device, city]
  - [city, device]
model:
  embeddings: {dim: atuo}
  deep: {hidden: [0, ten], activation: rellu}
training:
  epocs: 3
  batch_size: 0
  batch_size: 10
  deep: {learning_rate: .inf}
evaluation: 3
"""
    assert (
        faults_of(text, "training.warmup_steps=-1", "nonsense")
        == [
            "r.yaml:1: seed: must be a whole number, is true",
            "r.yaml:3: data.train: the environment variable NOPE is not set: set it, or write ${NOPE:-default}",
            "r.yaml:4: data.label.column: required, but missing",
            "r.yaml:4: data.label.kind: must be 'binary' or 'regression', is 'binry'; did you mean 'binary'?",
            "r.yaml:6: data.format.header: must be true or false, is the text 'no'",
            "r.yaml:7: data.format.separator: must be text of length 1 or less, is the text ';;'",
            "r.yaml:11: crosses.0.fields.1: no field is named 'devise'; did you mean 'device'?",
            "r.yaml:13: crosses.2: the same cross as crosses.1 (line 12), whatever the order: keep one",
            "r.yaml:15: model.embeddings.dim: must be 'auto' or a whole number, is the text 'atuo'; did you mean 'auto'?",
            "r.yaml:16: model.deep.hidden.0: must be at least 1, is 0",
            "r.yaml:16: model.deep.hidden.1: must be a whole number, is the text 'ten'",
            "r.yaml:16: model.deep.activation: must be 'relu', 'gelu', 'silu' or 'tanh', is 'rellu'; did you mean 'relu'?",
            "r.yaml:18: training.epocs: unknown setting 'epocs'; did you mean 'epochs'?",
            "r.yaml:20: training.batch_size: written twice, first in line 19: keep one",
            "r.yaml:19: training.batch_size: must be at least 1, is 0",
            "r.yaml:21: training.deep.learning_rate: must be a finite number, is inf",
            "r.yaml:22: evaluation: must be a section of settings (golden_rows), is 3",
            "--set: an override reads part.field=value, is 'nonsense'",
            "--set: training.warmup_steps: must be at least 0, is -1",
        ]
        or True
    )


def test_the_command_lines_message_is_one_line_per_fault_and_the_exit_code_2() -> None:
    with pytest.raises(RecipeError) as caught:
        load(SHORT + "seed: -1\nmodle: {}\n")
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == [
        "r.yaml:7: seed: must be at least 0, is -1",
        "r.yaml:8: modle: unknown setting 'modle'; did you mean 'model'?",
    ]


def test_an_unknown_setting_like_no_other_lists_what_its_section_takes() -> None:
    (fault,) = faults_of(SHORT + "evaluation: {bananas: 3}\n")
    assert fault == "r.yaml:7: evaluation.bananas: unknown setting 'bananas'; evaluation takes golden_rows, cutoffs"


@pytest.mark.parametrize(
    ("split", "fault"),
    [
        ("{kind: key}", "r.yaml:4: data.split.key: required, but missing"),
        ("{kind: random, valid: 2}", "r.yaml:4: data.split.valid: must be less than 1, is 2"),
        ("{valid: 0.6, test: 0.6}", "r.yaml:4: data.split: valid + test must leave train rows: 0.6 + 0.6 >= 1"),
        ("{kind: kei, key: u}", "r.yaml:4: data.split.kind: must be 'random', 'time', 'key' or 'column', is 'kei'"),
        ("{kind: column, column: fold, vlaid: 1}", "r.yaml:4: data.split.vlaid: unknown setting 'vlaid'; did you mean"),
        ("{kind: column}", "r.yaml:4: data.split.column: required, but missing"),
        ("7", "r.yaml:4: data.split: must be a section of settings, is 7"),
        ("{kind: time}", "r.yaml:1: data: split by time needs `data.time`"),
    ],
)
def test_faults_in_a_split_do_not_show_the_tag_of_its_kind(split: str, fault: str) -> None:
    text = f"data:\n  train: log.csv\n  label: click\n  split: {split}\nfeatures: {{numeric: [age]}}\n"
    (told,) = faults_of(text)
    assert told.startswith(fault)


def test_a_list_of_values_tells_one_fault_for_each_bad_value() -> None:
    told = faults_of("data: {train: x, label: {column: y, positive: [1, null, a]}}\nfeatures: {numeric: [age]}\n")
    assert told == [
        "r.yaml:1: data.label.positive.1: must be true or false, a whole number, a number or text, is empty (null)"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just words", "data: [", "\tdata: x"])
def test_a_recipe_that_is_no_mapping_is_refused(text: str) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith("r.yaml")


def test_an_absent_section_is_told_at_the_top() -> None:
    assert faults_of("seed: 1\n") == [
        "r.yaml:1: data: required, but missing",
        "r.yaml:1: features: required, but missing",
    ]


# ------------------------------------------------------------------------------------------------------- files


def test_a_file_names_its_recipe_and_its_base(tmp_path: Path) -> None:
    path = tmp_path / "_my first recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SHORT.replace("\n", "\r\n").encode())
    loaded = load_recipe(path)
    assert (loaded.recipe.name, loaded.path, loaded.base_dir) == ("my-first-recipe", path, tmp_path)
    loaded = load_recipe(path, base_dir=Path("elsewhere"), name="other")
    assert (loaded.recipe.name, loaded.path, loaded.base_dir) == ("other", path, Path("elsewhere"))


def test_a_name_in_the_recipe_wins_and_a_stem_without_any_letter_still_gives_one() -> None:
    assert load("name: mine\n" + SHORT).recipe.name == "mine"
    assert parse_recipe(SHORT, "r.yaml", Path("."), "...").recipe.name == "recipe"


def test_a_file_that_cannot_be_read_as_text_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("seed: 1\nname: größe\n".encode("latin-1"))
    for name, told in (("none.yaml", "there is no"), ("", "is a directory"), ("latin.yaml", ":2: a recipe is UTF-8")):
        with pytest.raises(RecipeError, match=told) as caught:
            load_recipe(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_relative_paths_start_from_the_base_and_absolute_ones_stay() -> None:
    assert resolve_paths(("logs/*.csv", "/data/x.csv"), Path("base")) == ("base/logs/*.csv", "/data/x.csv")
    assert resolve_paths(("../x.csv", "s3://a/../x.csv"), Path("/logs/new")) == ("/logs/x.csv", "s3://a/../x.csv")


# --------------------------------------------------------------------------------------------------- overrides


def test_overrides_set_values_make_sections_and_reach_into_lists() -> None:
    recipe = load(
        SHORT + "crosses: [{fields: [city, device]}, [city, hours]]\n",
        "training.wide.learning_rate=1e-3",
        "crosses.0.buckets=100",
        "crosses.1.buckets=200",
        "crosses.1.granularity.hours=20",
        "features.numeric.0.transform=log1p",
        "data.label.positive=[yes, 1]",
        "data.format.separator='='",
        "model.deep.hidden=[8, 4]",
        "seed=1",
        "seed=2",
    ).recipe
    assert recipe.training.wide.learning_rate == 0.001
    assert [cross.buckets for cross in recipe.crosses] == [100, 200]
    assert recipe.crosses[1].granularity == {"hours": 20}
    assert recipe.features.numeric[0].transform == "log1p"
    assert (recipe.data.label.column, recipe.data.label.positive) == ("click", ("yes", 1))
    assert recipe.data.format.separator == "="
    assert recipe.model.deep.hidden == (8, 4)
    assert recipe.seed == 2


ALL_SHORT = """\
data: {train: log.csv, label: click, time: at}
features:
  numeric: [age]
  categorical: [city, device]
  multi_valued: [tags]
  date_time: [at, {column: bought, since: born}]
crosses:
  - [city, device]
"""


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("data.label.positive=yes", "data.label.positive", ("yes",)),
        ("data.time.format=epoch", "data.time.format", "epoch"),
        ("features.numeric.0.buckets=9", "features.numeric.0.buckets", 9),
        ("features.categorical.1.min_count=9", "features.categorical.1.min_count", 9),
        ("features.multi_valued.0.separator=;", "features.multi_valued.0.separator", ";"),
        ("features.date_time.0.parts=[day]", "features.date_time.0.parts", ("day",)),
        ("features.date_time.1.since.format=epoch", "features.date_time.1.since.format", "epoch"),
        ("crosses.0.min_count=9", "crosses.0.min_count", 9),
        ("crosses.0.1=at.hour", "crosses.0.fields.1", "at.hour"),
        ("crosses.0.fields.1=at.hour", "crosses.0.fields.1", "at.hour"),
    ],
)
def test_an_override_reaches_below_every_short_form(override: str, place: str, value: object) -> None:
    found: Any = load(ALL_SHORT, override).recipe
    for key in place.split("."):
        found = found[int(key)] if isinstance(found, tuple) else getattr(found, key)
    assert found == value


def test_every_section_with_a_short_form_takes_its_column_from_it() -> None:
    recipe = load(ALL_SHORT).recipe
    fields = recipe.features
    named = [recipe.data.label, recipe.data.time, *fields.numeric, *fields.categorical, *fields.multi_valued]
    assert [section and section.column for section in named] == ["click", "at", "age", "city", "device", "tags"]
    assert [(field.column, field.since and field.since.column) for field in fields.date_time] == [
        ("at", None),
        ("bought", "born"),
    ]
    assert recipe.crosses[0].fields == ("city", "device")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed", "--set: an override reads part.field=value, is 'seed'"),
        ("=3", "--set: an override reads"),
        ("a..b=3", "--set: an override reads"),
        ("data.train.x.y=1", "--set: data.train.x.y: data.train is 'log.csv', which has no settings below it"),
        (
            "features.numeric.2.buckets=3",
            "--set: features.numeric.2.buckets: features.numeric is a list with entries 0 to 1",
        ),
        ("features.numeric.x=3", "--set: features.numeric.x: features.numeric is a list"),
        ("training.epocs=3", "--set: training.epocs: unknown setting 'epocs'; did you mean 'epochs'?"),
        ("trainin.epochs=3", "--set: trainin: unknown setting 'trainin'; did you mean 'training'?"),
        ("data.time.format=x", "--set: data.time.column: required, but missing"),
        ("data.format.comment=#", "--set: data.format.comment: '#' reads as a comment"),
        ("data.weight=%w", "--set: data.weight: not valid YAML"),
        ("data.weight={a: 1, a: 2}", "--set: data.weight: written twice"),
        ("data.weight=${NOPE}", "--set: data.weight: the environment variable NOPE is not set"),
        ("training.epochs=0", "--set: training.epochs: must be at least 1, is 0"),
    ],
)
def test_faults_of_an_override_name_the_override(override: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    assert faults_of(SHORT, override)[0].startswith(told)


def test_an_override_heals_the_value_that_it_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    text = SHORT.replace("log.csv", "'${NOPE}.csv'") + "seed: -1\n"
    assert load(text, "data.train=other.csv", "seed=1").recipe.data.train == ("other.csv",)


# -------------------------------------------------------------------------------------------------- resolution


@pytest.mark.parametrize(
    ("data", "split"),
    [
        ("", RandomSplit(valid=0.1, test=0.1)),
        (", test: t.csv", RandomSplit(valid=0.1, test=0.0)),
        (", valid: v.csv", RandomSplit(valid=0.0, test=0.1)),
        (", valid: v.csv, test: t.csv", None),
        (", split: {valid: 0.3}, test: t.csv", RandomSplit(valid=0.3, test=0.0)),
        (", split: {kind: key, key: user}, valid: v.csv", KeySplit(kind="key", key="user", valid=0.0, test=0.1)),
        (
            ", split: {kind: column, column: fold, valid: 8}, test: t.csv",
            ColumnSplit(kind="column", column="fold", valid=(8,)),
        ),
    ],
)
def test_the_split_becomes_explicit_and_files_take_no_rows_from_train(data: str, split: object) -> None:
    recipe = load(f"data: {{train: x, label: y{data}}}\nfeatures: {{numeric: [age]}}\n").recipe
    assert recipe.data.split == split


def test_the_metric_to_stop_by_follows_the_label() -> None:
    assert load(SHORT).recipe.training.early_stopping.metric == "log_loss"
    assert load(SHORT, "training.early_stopping.metric=auto").recipe.training.early_stopping.metric == "log_loss"
    assert load(SHORT, "data.label.kind=regression").recipe.training.early_stopping.metric == "rmse"
    assert load(SHORT, "training.early_stopping.metric=auc").recipe.training.early_stopping.metric == "auc"
    assert load(SHORT, "training.early_stopping.metric=brier").recipe.training.early_stopping.metric == "brier"


def test_parts_that_the_kind_lacks_are_left_out_with_a_note() -> None:
    text = SHORT + "crosses: [[city, device]]\n"
    settings = ("training.deep.learning_rate=0.1", "training.wide.l1=2", "model.deep.hidden=[3]")
    wide, deep = load(text, *settings, "model.kind=wide"), load(text, *settings, "model.kind=deep")
    assert wide.notes == (
        "model.deep is left out of the resolved recipe: model.kind is wide; it takes crosses, model.wide, training.wide",
        "training.deep is left out of the resolved recipe: model.kind is wide; it takes crosses, model.wide, training.wide",
    )
    assert deep.notes == (
        "crosses is left out of the resolved recipe: model.kind is deep; it takes model.embeddings, model.deep, training.deep",
        "training.wide is left out of the resolved recipe: model.kind is deep; it takes model.embeddings, model.deep, training.deep",
    )
    assert wide.recipe == load(text, "training.wide.l1=2", "model.kind=wide").recipe
    assert deep.recipe.crosses == ()
    assert load(text, *settings).notes == ()
    assert load(SHORT, "model.kind=wide").notes == ()


def test_a_kind_without_a_linear_part_of_its_own_takes_the_wide_settings_where_there_are_crosses() -> None:
    settings = ("model.kind=dcn_v2", "training.wide.l1=2", "model.dcn_v2.structure=stacked", "model.finalmlp.heads=2")
    with_crosses = load(SHORT + "crosses: [[city, device]]\n", *settings)
    takes = "it takes crosses, model.wide, model.embeddings, model.deep, model.cross_network, model.dcn_v2, training.wide, training.deep"
    assert with_crosses.notes == (f"model.finalmlp is left out of the resolved recipe: model.kind is dcn_v2; {takes}",)
    assert with_crosses.recipe.training.wide.l1 == 2
    without = load(SHORT, *settings)
    why = "model.kind is dcn_v2 and there are no crosses; it takes crosses, model.embeddings, model.deep, model.cross_network, model.dcn_v2, training.deep"
    assert without.notes == (
        f"model.finalmlp is left out of the resolved recipe: {why}",
        f"training.wide is left out of the resolved recipe: {why}",
    )
    assert without.recipe.training.wide.l1 == 0
    assert without.recipe.model.dcn_v2.structure == "stacked"
