"""Building: nothing is trained or answered twice, and an interruption changes nothing of what is built."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from counter_attack._parameters import SETS
from counter_attack.training import ARCHITECTURES, METHODS, Job, TrainingInterruptedError
from counter_attack.ug100 import BuildInterruptedError, BuildPlan, build_ug100, load_ug100
from counter_attack.ug100._build_models import QUICK, QUICK_ATTACK, Grid, TrainingWatch, train_grid
from mipverify_py.campaigns import Store
from mipverify_py.campaigns._spec import RunSettings
from onnx_models.errors import InputError
from tests.counter_attack.training.test_data import write_mnist
from tests.helpers.campaigns_ug100 import tiny_grid

INLINE = RunSettings("inline")
TINY = {"architectures": ("A",), "trainings": ("standard", "adversarial"), "epochs": 2, "indices": "0:2"}


@pytest.fixture
def quick_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The balanced pool in a fraction of its time."""
    monkeypatch.setitem(SETS, "balanced-mnist", {"fgsm": {}, "uniform": {"runs": 5}})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of the tiny grid; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    train_grid(tiny_grid(), folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def after(count: int) -> Callable[[], bool]:
    """False `count` times, then True."""
    asked = iter(range(count))
    return lambda: next(asked, None) is None


def test_the_grid_is_every_architecture_with_every_training() -> None:
    from counter_attack.training import read_training_data

    jobs = Grid(read_training_data("digits"), seed=7).jobs
    assert list(jobs) == [f"digits-{name.lower()}-{method}" for method in METHODS for name in ARCHITECTURES["digits"]]
    assert {job.recipe.seed for job in jobs.values()} == {7}


def test_published_recipes_are_the_default_and_quick_ones_are_asked_for(tmp_path: Path) -> None:
    write_mnist(tmp_path, "train", 40)
    write_mnist(tmp_path, "t10k", 300)
    plan = {"data": "mnist", "path": tmp_path, "indices": "0:2"}
    usual, quick = (BuildPlan(quick=flag, **plan).grid().jobs for flag in (False, True))
    assert usual["mnist-a-standard"].recipe.epochs == 425
    assert usual["mnist-b-adversarial"].recipe.attack_iterations == 200
    assert all(getattr(quick["mnist-c-standard"].recipe, key) == value for key, value in QUICK.items())
    assert quick["mnist-c-standard"].recipe.attack_iterations == 0
    relu = quick["mnist-a-relu"].recipe
    assert all(getattr(relu, key) == value for key, value in {**QUICK, **QUICK_ATTACK}.items())
    assert BuildPlan(quick=True, epochs=3, **plan).grid().jobs["mnist-a-relu"].recipe.epochs == 3


def test_models_that_are_there_are_taken(trained: Path) -> None:
    before, seen = contents(trained), []
    places = train_grid(tiny_grid(), trained, TrainingWatch(on_model=lambda *told: seen.append(told)))
    assert contents(trained) == before
    assert [(name, number, count, job) for name, number, count, job in seen] == [
        ("digits-a-standard", 1, 2, None),
        ("digits-a-adversarial", 2, 2, None),
    ]
    assert all(place.is_file() for place in places.values())
    card = json.loads(places["digits-a-standard"].with_suffix(".json").read_text())
    assert card["fitted"] == {"files": "training"} and card["model"] == "digits-a-standard.onnx"


def test_an_interrupted_training_goes_on_to_the_same_models(trained: Path, tmp_path: Path) -> None:
    stops = 0
    while True:  # 19 batches in an epoch, two of them, two models
        try:
            train_grid(tiny_grid(), tmp_path, TrainingWatch(stop=after(25)))
            break
        except TrainingInterruptedError:
            stops += 1
    assert stops >= 2
    found, expected = contents(tmp_path), contents(trained)
    assert found.keys() == expected.keys()
    for name in found:
        if name.endswith(".onnx"):
            assert found[name] == expected[name]


def test_models_of_another_training_are_refused(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "models"))
    for message, changes in {
        r"differs in epochs \(2 there, 3 asked for\);": {"epochs": 3},
        r"differs in seed \(0 there, 1 asked for\)": {"seed": 1},
        "differs in fitted": {"split": (0, 5)},
    }.items():
        with pytest.raises(InputError, match=message):
            train_grid(tiny_grid(**changes), folder)
    onnx = folder / "digits-a-standard.onnx"
    shutil.copy(folder / "digits-a-adversarial.onnx", onnx)
    with pytest.raises(InputError, match="is not the model that digits-a-standard.json describes"):
        train_grid(tiny_grid(), folder)
    onnx.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match="is no sound JSON"):
        train_grid(tiny_grid(), folder)
    onnx.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="has no card"):
        train_grid(tiny_grid(), folder)


def test_wrong_plans_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    write_mnist(tmp_path, "t10k", 300)
    only_test = {"data": "mnist", "path": tmp_path, "split": (100, 300)}
    for message, plan in {
        "Data set 'svhn' is unknown": lambda: BuildPlan("svhn"),
        "Pool 'weak' is unknown": lambda: BuildPlan(pool="weak"),
        "architectures A, Z are not a choice among A, B, C": lambda: BuildPlan(architectures=("A", "Z")),
        "trainings relu, relu are not a choice": lambda: BuildPlan(trainings=("relu", "relu")),
        "quick already": lambda: BuildPlan(quick=True),
        "Index 400 is out of range": lambda: BuildPlan(indices="0:401"),
        "names no rows": lambda: BuildPlan(indices="some"),
        "1 rows are to be measured and learned from, the first of them 100": lambda: BuildPlan(
            indices="98:101", **only_test
        ),
        "as split, such as": lambda: BuildPlan("mnist", tmp_path),
    }.items():
        with pytest.raises(InputError, match=message):
            build_ug100(plan(), tmp_path / "out", settings=INLINE)
        assert not (tmp_path / "out").exists()
    jobs = BuildPlan(indices="0:100", **only_test).grid()
    assert jobs.fitted == {"files": "test", "first": 100, "stop": 300}
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    write_mnist(tmp_path, "train", 40)
    with pytest.raises(InputError, match="has no test files of mnist"):
        BuildPlan("mnist", tmp_path).grid()


@pytest.mark.usefixtures("quick_pool")
def test_an_interrupted_build_goes_on_and_answers_nothing_twice(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mipverify_py.campaigns._run.SECONDS_BETWEEN_LOOKS", 0.0)  # after every answer
    shutil.copytree(trained, tmp_path / "models")
    plan, seen, stop = BuildPlan(**TINY), [], threading.Event()

    def watch(progress: object) -> None:
        seen.append(progress.decided)
        if progress.decided >= 1:
            stop.set()

    with pytest.raises(BuildInterruptedError, match="training was interrupted|queries were decided"):
        build_ug100(plan, tmp_path, settings=INLINE, watch=watch, stop=stop)
    with pytest.raises(InputError, match="is no complete data set"):
        load_ug100(tmp_path)
    data = build_ug100(plan, tmp_path, settings=INLINE)
    assert data.card["cases"]["decided"] == len(data) == 4
    assert data.card["attacks"] == {"rows": 8, "cases": 4}
    assert data.card["configurations"][0]["model"]["measured_apart"] is True
    with Store.open(tmp_path / "campaign.sqlite", read_only=True) as store:
        queries = store.queries()
    assert [query.attempts for query in queries] == [1] * 8
    assert data.verify().sound
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path}
    again = build_ug100(plan, tmp_path, settings=INLINE)
    assert again.card == data.card
    assert all(path.read_bytes() == content for path, content in before.items())


def test_stopping_after_the_last_model_starts_no_campaign(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "models")
    with pytest.raises(BuildInterruptedError, match="all models are trained"):
        build_ug100(BuildPlan(**TINY), tmp_path, settings=INLINE, training=TrainingWatch(stop=lambda: True))
    assert not (tmp_path / "campaign.sqlite").exists()


def test_one_build_at_a_time(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "models")
    told: list[str] = []

    def again(*_: object) -> None:
        with pytest.raises(InputError, match="another build is at work there"):
            build_ug100(BuildPlan(**TINY), tmp_path, settings=INLINE)
        told.append("refused")

    watch = TrainingWatch(stop=lambda: True, on_model=again)
    with pytest.raises(BuildInterruptedError):
        build_ug100(BuildPlan(**TINY), tmp_path, settings=INLINE, training=watch)
    assert told == ["refused"] * 2


def test_a_watch_is_told_what_is_trained(tmp_path: Path) -> None:
    jobs: list[Job | None] = []
    watch = TrainingWatch(stop=lambda: True, on_model=lambda *told: jobs.append(told[3]))
    with pytest.raises(TrainingInterruptedError):
        train_grid(tiny_grid(), tmp_path, watch)
    assert [job.recipe.epochs for job in jobs] == [2]
