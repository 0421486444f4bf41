"""Specs of campaigns: what a TOML file means, and what is said about one that makes no sense."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py.campaigns._records import Limits, QueryKind, canonical_json
from mipverify_py.campaigns._spec import CampaignSpec, Group, RunSettings, settings_of
from mipverify_py.campaigns._spec_data import DataSource, Indices
from mipverify_py.campaigns._spec_file import read_spec
from mipverify_py.campaigns._spec_questions import DistanceQuestion, VerifyQuestion
from mipverify_py.data import read_digits
from onnx_models.errors import InputError, MipverifyError
from onnx_models.importer import load_onnx, load_onnx_bytes
from onnx_models.zoo import load_zoo, zoo_path

MODEL, OTHER = "digits_small_standard", "digits_small_adversarial"
HEAD = f"models = 'zoo:{MODEL}'\n"
DATA = "[data]\ndataset = 'digits'\nindices = '0:2'\n"
DISTANCE = "[[query]]\nkind = 'distance'\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text)
    return path


def test_every_pair_of_model_and_input_is_asked_every_question(tmp_path: Path) -> None:
    text = (
        "models = 'zoo:digits_small_*'\nseed = 3\n[data]\ndataset = 'digits'\nindices = '7,0:2'\n"
        "[[query]]\nkind = 'distance'\nnorms = ['linf', 'l1']\n[[query]]\nkind = 'verify'\neps = [0.05, 0.1]\n"
    )
    spec = read_spec(written(tmp_path, text))
    queries = spec.queries()
    found = Counter(
        (q.configuration, q.input.index, q.kind, q.question["norm"], q.question.get("eps")) for q in queries
    )
    asked = [("distance", "linf", None), ("distance", "l1", None), ("verify", "linf", 0.05), ("verify", "linf", 0.1)]
    assert found == Counter(
        (name, index, QueryKind(kind), norm, eps)
        for name in (MODEL, OTHER)
        for index in (7, 0, 1)
        for kind, norm, eps in asked
    )
    assert [q.input.index for q in queries] == [7] * 8 + [0] * 8 + [1] * 8  # so that what is done early is balanced
    assert len({q.key for q in queries}) == len(queries)
    digits = read_digits()
    for query in queries:
        assert query.seed == 3
        assert query.model == load_zoo(query.configuration).digest
        assert (query.input.values == digits.images[query.input.index]).all()
        assert query.question["label"] == query.input.label == digits.labels[query.input.index]
        canonical_json([query.question, query.options])


def test_models_are_kept_with_bytes_that_load_anywhere_and_with_their_cards(tmp_path: Path) -> None:
    shutil.copy(zoo_path(MODEL), tmp_path / "mine.onnx")
    (tmp_path / "mine.json").write_text('{"seed": 7}')
    spec = read_spec(written(tmp_path, f"models = {{ a = 'mine.onnx', b = 'zoo:{OTHER}' }}\n{DATA}{DISTANCE}"))
    mine, bundled = spec.models()
    assert (mine.name, mine.card, bundled.name) == ("a", {"seed": 7}, "b")
    assert bundled.card["training"] == "adversarial"
    for record in (mine, bundled):
        assert load_onnx_bytes(record.onnx, "x").digest == record.digest


def test_external_weights_come_along(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(zoo_path(MODEL))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").stat().st_size > 0
    (record,) = read_spec(written(tmp_path, f"models = '*.onnx'\n{DATA}{DISTANCE}")).models()
    assert load_onnx_bytes(record.onnx, "x").digest == record.digest == load_onnx(zoo_path(MODEL)).digest


def test_groups_take_from_the_top_what_they_leave_out(tmp_path: Path) -> None:
    text = (
        f"[[group]]\nmodels = 'zoo:{MODEL}'\n[[group]]\nmodels = 'zoo:{OTHER}'\n"
        f"data = {{ dataset = 'digits', indices = 5 }}\n[[group.query]]\nkind = 'verify'\neps = 0.1\n{DATA}{DISTANCE}"
    )
    found = [(q.configuration, q.input.index, q.kind.value) for q in read_spec(written(tmp_path, text)).queries()]
    assert found == [(MODEL, 0, "distance"), (MODEL, 1, "distance"), (OTHER, 5, "verify")]


def test_defaults_hold_where_a_query_says_nothing(tmp_path: Path) -> None:
    text = (
        f"{HEAD}{DATA}{DISTANCE}[[query]]\nkind = 'verify'\neps = 0.1\nlabel = 'true'\nengine = 'cuts'\n"
        "[defaults]\nlabel = 'predicted'\nengine = 'duals'\ntargets = [3, 1]\nmargin = 0.5\ndomain = [-1, 2]\n"
    )
    first, second = read_spec(written(tmp_path, text)).queries()[:2]
    assert (first.question["label"], first.options["engine"]) == (None, "duals")
    assert (second.question["label"], second.options["engine"]) == (second.input.label, "cuts")
    for query in (first, second):
        asked = query.question
        assert (asked["targets"], asked["margin"], asked["domain"]) == ([1, 3], 0.5, [-1.0, 2.0])


def test_limits_and_settings_survive_the_record(tmp_path: Path) -> None:
    text = (
        f"{HEAD}{DATA}{DISTANCE}[limits]\ntime_limit = 9\ngap_absolute = 0\ngap_relative = 1e-3\n"
        "[run]\nexecutor = 'dask'\nworkers = 3\nmemory_limit = 1.5\nmax_failures = 2\nrounds = [0.5, 1]\n"
    )
    spec = read_spec(written(tmp_path, text))
    assert spec.limits == Limits(9.0, 0.0, 1e-3)
    assert spec.run == RunSettings("dask", 3, 3 * 2**29, None, 2, (0.5, 1.0))
    assert settings_of(json.loads(canonical_json(spec.record()))) == (spec.limits, spec.run)
    assert str(tmp_path) not in canonical_json(spec.record())


def test_a_scheduler_brings_its_workers_and_files_of_keys_are_not_recorded(tmp_path: Path) -> None:
    run = "[run]\nexecutor = 'dask'\nscheduler = 'tls://x:1'\ntls = ['ca.pem', '/etc/c.pem', 'k.pem']\n"
    spec = read_spec(written(tmp_path, f"{HEAD}{DATA}{DISTANCE}{run}"))
    assert spec.run.tls == (str(tmp_path / "ca.pem"), "/etc/c.pem", str(tmp_path / "k.pem"))
    assert "pem" not in canonical_json(spec.record())
    assert settings_of(spec.record())[1] == RunSettings("dask", scheduler="tls://x:1")
    for more in ("workers = 2\n", "tls = 'ca.pem'\n"):
        with pytest.raises(InputError, match=r"c\.toml"):
            read_spec(written(tmp_path, f"{HEAD}{DATA}{DISTANCE}[run]\nexecutor = 'dask'\nscheduler = 'x'\n{more}"))


def test_files_of_arrays_are_inputs_with_and_without_labels(tmp_path: Path) -> None:
    digits = read_digits()
    np.savez(tmp_path / "mine.npz", x=digits.images[:5], y=digits.labels[:5])
    for labels, expected in (("labels = 'mine.npz:y'\n", int(digits.labels[2])), ("", None)):
        text = f"{HEAD}[data]\nfile = 'mine.npz:x'\n{labels}indices = [2]\n{DISTANCE}"
        (query,) = read_spec(written(tmp_path, text)).queries()
        assert (query.input.dataset, query.input.index, query.input.label) == ("mine", 2, expected)
        assert (query.input.values == digits.images[2]).all()


@given(st.integers(1, 30), st.integers(0, 5), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_larger_sample_contains_the_smaller(size: int, seed: int, more: int) -> None:
    small = Indices(sample=size, seed=seed).resolve(70, "x")
    large = Indices(sample=size + more, seed=seed).resolve(70, "x")
    assert len(small) == len(set(small)) == size
    assert set(small) <= set(large) <= set(range(70))


def test_samples_are_fair_and_depend_on_the_seed() -> None:
    drawn = [Indices(sample=10, seed=seed).resolve(100, "x") for seed in range(400)]
    assert len({tuple(rows) for rows in drawn}) == 400
    counts = np.bincount(np.concatenate(drawn), minlength=100)
    assert 1.5 * 40 > counts.max() > 40 > counts.min() > 0.5 * 40  # binomial: mean 40, standard deviation 6


def test_in_python_without_a_file() -> None:
    questions = (DistanceQuestion(), VerifyQuestion(eps=(0.1,), norms=("l2",)))
    spec = CampaignSpec((Group({"a": f"zoo:{MODEL}"}, DataSource("digits", indices=[3, 1]), questions),))
    assert [(q.input.index, q.question["norm"]) for q in spec.queries()] == [
        (3, "linf"),
        (3, "l2"),
        (1, "linf"),
        (1, "l2"),
    ]


WRONG = {
    "not TOML": ("models = \n", "c.toml: is not TOML"),
    "unknown key at the top": (
        f"model = 'x'\n{DATA}{DISTANCE}",
        "c.toml: there is no key 'model'; did you mean 'models'?",
    ),
    "no models": (f"{DATA}{DISTANCE}", "c.toml: models is missing"),
    "no data": (f"{HEAD}{DISTANCE}", "c.toml: data is missing"),
    "no query": (f"{HEAD}{DATA}", "c.toml: query is missing"),
    "one query as a table": (f"{HEAD}{DATA}[query]\nkind = 'distance'\n", "write each as [[query]]"),
    "no kind": (f"{HEAD}{DATA}[[query]]\neps = 1\n", "c.toml, query number 1: kind is missing"),
    "unknown kind": (f"{HEAD}{DATA}{DISTANCE}[[query]]\nkind = 'dist'\n", "query number 2: kind = 'dist'"),
    "a key of another kind": (f"{HEAD}{DATA}{DISTANCE}eps = 0.1\n", "query number 1: there is no key 'eps'"),
    "no radius": (f"{HEAD}{DATA}[[query]]\nkind = 'verify'\n", "query number 1: eps is missing"),
    "negative radius": (f"{HEAD}{DATA}[[query]]\nkind = 'verify'\neps = [0.1, -1]\n", "eps = [0.1, -1] is not allowed"),
    "a text as a radius": (f"{HEAD}{DATA}[[query]]\nkind = 'verify'\neps = '0.1'\n", "eps = '0.1' is not allowed"),
    "unknown norm": (f"{HEAD}{DATA}{DISTANCE}norms = ['l3']\n", "norms = ['l3']"),
    "a norm twice": (f"{HEAD}{DATA}{DISTANCE}norms = ['l1', 'l1']\n", "each once"),
    "a default that is wrong": (f"{HEAD}{DATA}{DISTANCE}[defaults]\nengine = 'x'\n", "c.toml, defaults: engine = 'x'"),
    "an unknown default": (
        f"{HEAD}{DATA}{DISTANCE}[defaults]\nengin = 'x'\n",
        "c.toml, defaults: there is no key 'engin'",
    ),
    "backend without engine": (
        f"{HEAD}{DATA}{DISTANCE}backend = 'scip'\n",
        "query number 1: backend 'scip' is for engine",
    ),
    "native engine in l1": (
        f"{HEAD}{DATA}{DISTANCE}norms = 'l1'\nengine = 'cuts'\n",
        "digits 0, distance: Engine 'cuts'",
    ),
    "a solver without squares": (
        f"{HEAD}{DATA}{DISTANCE}norms = 'l2'\nengine = 'mip'\n",
        "does not solve",
    ),
    "device": (f"{HEAD}{DATA}{DISTANCE}device = 'gpu'\n", "query number 1: Option device is 'gpu'"),
    "domain": (f"{HEAD}{DATA}{DISTANCE}domain = [1, 0]\n", "domain = [1, 0]"),
    "input outside the domain": (
        f"{HEAD}{DATA}{DISTANCE}domain = [0, 0.5]\n",
        f"{MODEL}, digits 0, distance: The input has",
    ),
    "target": (f"{HEAD}{DATA}{DISTANCE}targets = [12]\n", "Target class 12 is out of range"),
    "no indices": (f"{HEAD}[data]\ndataset = 'digits'\n{DISTANCE}", "c.toml, data: indices are missing"),
    "index out of range": (
        f"{HEAD}[data]\ndataset = 'digits'\nindices = '0:500'\n{DISTANCE}",
        "Index 499 is out of range: digits has the indices 0 to 399",
    ),
    "no indices at all": (
        f"{HEAD}[data]\ndataset = 'digits'\nindices = '5:5'\n{DISTANCE}",
        "c.toml, data: The range '5:5'",
    ),
    "words as indices": (
        f"{HEAD}[data]\ndataset = 'digits'\nindices = 'all'\n{DISTANCE}",
        "c.toml, data: 'all' names no rows",
    ),
    "a sample too large": (
        f"{HEAD}[data]\ndataset = 'digits'\nindices = {{ sample = 9, from = '0:5' }}\n{DISTANCE}",
        "A sample of 9 cannot be drawn from 5 rows",
    ),
    "mnist without a folder": (
        f"{HEAD}[data]\ndataset = 'mnist'\nindices = 0\n{DISTANCE}",
        "data: mnist is not bundled",
    ),
    "no such folder": (
        f"{HEAD}[data]\ndataset = 'mnist'\nfolder = 'absent'\nindices = 0\n{DISTANCE}",
        "absent: there is no such folder",
    ),
    "data set and file": (
        f"{HEAD}{DATA}file = 'x.npy'\n{DISTANCE}",
        "c.toml, data: The data needs a dataset or a file",
    ),
    "no such model": (f"models = 'absent.onnx'\n{DATA}{DISTANCE}", "There is no model file"),
    "no match": (f"models = ['*.onnx']\n{DATA}{DISTANCE}", "c.toml: no model matches '*.onnx'"),
    "no such bundled model": (f"models = 'zoo:absent'\n{DATA}{DISTANCE}", "The zoo has no model 'absent'"),
    "a configuration twice": (f"models = ['zoo:{MODEL}', 'zoo:digits_small_s*']\n{DATA}{DISTANCE}", "is there twice"),
    "two names for one model": (
        f"models = {{ a = 'zoo:{MODEL}', b = 'zoo:{MODEL}' }}\n{DATA}{DISTANCE}",
        "'a' and 'b' are the same model",
    ),
    "one name for two models": (
        f"[[group]]\nmodels = {{ a = 'zoo:{MODEL}' }}\n[[group]]\nmodels = {{ a = 'zoo:{OTHER}' }}\n{DATA}{DISTANCE}",
        "The configuration 'a' is zoo:",
    ),
    "the same twice": (f"{HEAD}{DATA}{DISTANCE}{DISTANCE}", "The spec asks the same twice"),
    "time limit": (
        f"{HEAD}{DATA}{DISTANCE}[limits]\ntime_limit = 0\n",
        "c.toml, limits: time_limit = 0 is not allowed",
    ),
    "rounds": (f"{HEAD}{DATA}{DISTANCE}[run]\nrounds = [0.5]\n", "c.toml, run: rounds is [0.5]"),
    "workers of inline": (
        f"{HEAD}{DATA}{DISTANCE}[run]\nexecutor = 'inline'\nworkers = 2\n",
        "c.toml, run: executor 'inline'",
    ),
    "scheduler without dask": (f"{HEAD}{DATA}{DISTANCE}[run]\nscheduler = 'x'\n", "add executor = 'dask'"),
    "seed": (f"seed = -1\n{HEAD}{DATA}{DISTANCE}", "c.toml: seed = -1 is not allowed"),
    "true as a number": (f"seed = true\n{HEAD}{DATA}{DISTANCE}", "seed = True is not allowed"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MipverifyError) as caught:
        read_spec(written(tmp_path, text)).queries()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_no_specs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_spec(tmp_path)
    with pytest.raises(InputError, match="there is no such file"):
        read_spec(tmp_path / "absent.toml")


def test_a_card_that_is_not_json_is_named(tmp_path: Path) -> None:
    shutil.copy(zoo_path(MODEL), tmp_path / "m.onnx")
    (tmp_path / "m.json").write_text("[1]")
    with pytest.raises(InputError, match=r"m\.json: the card beside the model must be a JSON object"):
        read_spec(written(tmp_path, f"models = 'm.onnx'\n{DATA}{DISTANCE}")).models()
