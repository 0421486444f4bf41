"""The page as a file: it holds what the store holds, nothing harmful gets in, and nothing foreign is written over."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from counter_attack.report import write_report
from counter_attack.report._cases import cases, findings_of
from counter_attack.report._columns import encoded
from counter_attack.report._gallery import choose
from counter_attack.report._html import tag
from counter_attack.report._pictures import difference_picture, picture, pixels
from counter_attack.report._thesis import tidy_names
from mipverify_py.campaigns import Campaign
from onnx_models.errors import InputError
from tests.helpers.reports import HOSTILE


class _Reader(HTMLParser):
    """Another reader of HTML: its elements, and the texts of scripts and of cells with all digits."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script":
            self.scripts.append((self.elements[-1][1], data))


@pytest.fixture(scope="module")
def text(page_file: Path) -> str:
    return page_file.read_text("utf-8")


@pytest.fixture(scope="module")
def reader(text: str) -> _Reader:
    return _Reader(text)


@pytest.fixture(scope="module")
def data(reader: _Reader) -> dict[str, Any]:
    [packed] = [body for given_, body in reader.scripts if given_.get("id") == "data"]
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def _decoded(column: dict[str, Any]) -> list[Any]:
    if "numbers" in column:
        return [None if value is None else float(value) for value in column["numbers"]]
    return [None if code is None else column["words"][code] for code in column["codes"]]


def test_the_data_are_the_stores(data: dict[str, Any], campaign: Campaign) -> None:
    columns = {name: _decoded(column) for name, column in data["cases"]["columns"].items()}
    stored = campaign.table.set_index("row")
    same = ["configuration", "kind", "norm", "dataset", "index", "label", "state", "verdict", "lower", "upper", "gap"]
    for position, row in enumerate(columns["row"]):
        for name in [*same, "evidence", "stop_reason", "engine", "backend", "attempts", "failures", "seconds"]:
            expected, got = stored.loc[int(row), name], columns[name][position]
            assert (got is None) if pd.isna(expected) else (got == expected), name
    assert len(columns["row"]) == len(stored)


def test_pairs_join_what_is_about_the_same_input(data: dict[str, Any], campaign: Campaign) -> None:
    columns = {name: _decoded(column) for name, column in data["cases"]["columns"].items()}
    found = set()
    for exact, attack in zip(data["pairs"]["exact"], data["pairs"]["attack"], strict=True):
        assert [columns["kind"][exact], columns["kind"][attack]] == ["distance", "attack"]
        places = {(columns["configuration"][i], columns["index"][i]) for i in (exact, attack)}
        assert len(places) == 1
        found |= places
    exact = campaign.table[campaign.table["kind"] == "distance"]
    assert found == set(zip(exact["configuration"], exact["index"], strict=True))


def test_contradictions_and_failures_are_told(text: str, campaign: Campaign, data: dict[str, Any]) -> None:
    assert len(campaign.contradictions) >= 1
    for contradiction in campaign.contradictions:
        assert html.escape(contradiction.detail) in text
    told = dict(zip(*(_decoded(data["cases"]["columns"][name]) for name in ("row", "contradiction")), strict=True))
    rows = {row for contradiction in campaign.contradictions for row in contradiction.rows}
    assert {row for row, detail in told.items() if detail is not None} == rows
    failed = campaign.table[campaign.table["state"] == "failed"]
    assert f"Queries without an answer: {len(failed)}" in text


def test_hostile_names_are_text(text: str, reader: _Reader, campaign: Campaign) -> None:
    assert HOSTILE in set(campaign.table["configuration"])
    assert HOSTILE not in text and "<script>window.harmed" not in text
    assert html.escape(HOSTILE) in text
    assert [given_ for name, given_ in reader.elements if name == "img" or "onerror" in given_] == []


def test_the_policy_forbids_all_but_the_pages_own_scripts(text: str, reader: _Reader) -> None:
    [policy] = [given_["content"] for name, given_ in reader.elements if given_.get("http-equiv")]
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    bodies = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies}
    assert set(rules["script-src"].split()) == hashes and len(hashes) == 2
    assert (rules["default-src"], rules["connect-src"], rules["img-src"]) == ("'none'", "'none'", "data: blob:")
    names = [
        name for name, given_ in reader.elements if "src" in given_ or (name == "link" and given_["href"] != "data:,")
    ]
    assert names == []
    first = [name for name, _ in reader.elements].index("script")
    assert [name for name, given_ in reader.elements[:first] if given_.get("http-equiv")] == ["meta"]


def test_tables_have_captions_and_headers(reader: _Reader) -> None:
    count = {name: sum(one == name for one, _ in reader.elements) for name in ("table", "caption")}
    assert count["table"] == count["caption"] > 5
    assert all(given_.get("scope") in ("col", "row") for name, given_ in reader.elements if name == "th")
    assert ("html", {"lang": "en"}) in reader.elements
    identifiers = [given_["id"] for _, given_ in reader.elements if "id" in given_]
    assert len(identifiers) == len(set(identifiers))


def test_the_same_store_gives_the_same_bytes(store: Path, page_file: Path, tmp_path: Path) -> None:
    again = write_report(store, tmp_path / "again", title="A <b>bold</b> title", gallery=20)
    assert again.read_bytes() == page_file.read_bytes()


def test_only_pages_of_ours_are_written_over(store: Path, page_file: Path, tmp_path: Path) -> None:
    write_report(store, page_file.parent, title="A <b>bold</b> title", gallery=20)
    (tmp_path / "index.html").write_text("<p>Something else.</p>")
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(InputError, match=r"is not a report of ours; .* --force"):
        write_report(store, tmp_path)
    assert (tmp_path / "index.html").read_text() == "<p>Something else.</p>"
    assert write_report(store, tmp_path, gallery=0, force=True).stat().st_size > 100_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "notes.txt"]


def test_unusable_arguments_are_told(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.sqlite: no store"):
        write_report(tmp_path / "none.sqlite", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; give a folder"):
        write_report(store, tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written there"):
        write_report(store, tmp_path / "file" / "below", gallery=0)
    with pytest.raises(InputError, match="at least 0"):
        write_report(store, tmp_path / "out", gallery=-1)


def test_the_gallery_takes_extremes_of_every_configuration(campaign: Campaign) -> None:
    found = cases(campaign)
    findings = findings_of(campaign, found)
    few = choose(found, findings, 20)
    assert len(few) == len({choice.case for choice in few}) == 20
    table = found.table
    for name, members in table[(table["kind"] == "distance") & table["upper"].notna()].groupby("configuration"):
        chosen = {choice.case for choice in few if table["configuration"][choice.case] == name}
        assert {members["upper"].idxmin(), members["upper"].idxmax()} <= chosen
    contradicted = set(table.index[table["contradiction"].notna() & (table["kind"] == "distance")])
    assert contradicted == {choice.case for choice in few if choice.reason == "contradiction"}
    assert choose(found, findings, 0) == []
    everything = choose(found, findings, 10_000)
    seen = table.loc[[choice.case for choice in everything]]
    with_example = table[table["upper"].notna() | (table["verdict"] == "adversarial")]
    assert len(seen) == len(with_example.drop_duplicates(["configuration", "index"]))


def _levels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_pictures_hold_the_pixels() -> None:
    values = np.linspace(0, 1, 6).reshape(1, 2, 3)
    image = pixels(values)
    assert image is not None
    np.testing.assert_array_equal(_levels(picture(image, 0.0, 1.0)), np.rint(255 * values[0]))
    colours = np.random.default_rng(0).random((3, 4, 5))
    image = pixels(colours)
    assert image is not None
    np.testing.assert_array_equal(_levels(picture(image, 0.0, 1.0)), np.rint(255 * np.moveaxis(colours, 0, -1)))
    assert pixels(np.zeros(7)) is None and pixels(np.zeros((2, 4, 4))) is None


def test_the_difference_is_scaled_by_its_largest_entry() -> None:
    change = np.array([[0.0, 0.02], [-0.01, -0.02]])[:, :, None]
    levels = _levels(difference_picture(change)).astype(int)
    assert levels[0, 0].tolist() == [247, 247, 247]
    assert levels[0, 1].tolist() == [179, 88, 6] and levels[1, 1].tolist() == [33, 102, 172]
    assert levels[1, 0].tolist() == [140, 174, 210]  # half-way to blue
    assert (_levels(difference_picture(np.zeros((2, 2, 1)))) == 247).all()


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), max_size=8))
def test_numbers_keep_their_digits(values: list[float | None]) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype="float64")})
    column = json.loads(json.dumps(encoded(frame), allow_nan=False))["columns"]["x"]
    assert _decoded(column) == values


@given(st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=8))
def test_words_come_back(values: list[str | None]) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    assert _decoded(encoded(frame)["columns"]["x"]) == values


@given(st.text(), st.text())
def test_text_never_becomes_markup(inside: str, attribute: str) -> None:
    markup = tag("p", inside, title=attribute)
    assert html.unescape(markup) == f'<p title="{attribute}">{inside}</p>' or "&" in inside + attribute
    assert markup.count("<") == 2 and markup.count(">") == 2


@pytest.mark.parametrize(
    ("configuration", "dataset", "expected"),
    [
        ("A_standard", "mnist", "mnist-A-standard"),
        ("mnist-a-relu", "mnist", "mnist-a-relu"),
        ("digits_conv_standard", "digits", "digits-conv-standard"),
        ("my model", "digits", "digits-my model-other"),
        (
            "a-b-c-d",
            "my-set",
            "my_set-a_b_c_d-other".replace("_", "\N{NON-BREAKING HYPHEN}"),
        ),
    ],
)
def test_configurations_get_three_words(configuration: str, dataset: str, expected: str) -> None:
    assert tidy_names([(configuration, dataset)]) == {configuration: expected}


def test_names_that_would_be_equal_stay_apart() -> None:
    names = tidy_names([("A_standard", "mnist"), ("A-standard", "mnist"), ("mnist-A-standard", "mnist")])
    assert len(set(names.values())) == 3
