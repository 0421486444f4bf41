"""Files that are no store, damaged, newer, out of reach or gone; and what a damaged row is called."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mipverify_py.campaigns import CampaignError, Store, load_campaign
from mipverify_py.campaigns._schema import APPLICATION_ID
from tests.helpers.campaigns import REPOSITORY, answer, completion, dump, filled_store, image, run

READ_ONLY = pytest.mark.parametrize("read_only", [False, True])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with three queries, two of them answered."""
    made = tmp_path / "campaign.sqlite"
    filled_store(made, 3, decided=2).close()
    return made


def test_a_closed_store_is_one_file(path: Path) -> None:
    assert [entry.name for entry in path.parent.iterdir()] == ["campaign.sqlite"]
    assert path.stat().st_nlink == 1


def test_create_does_not_touch_a_file_that_is_there(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(CampaignError, match="there is a file of this name"):
        Store.create(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["campaign.sqlite"]


def test_create_goes_on_after_one_that_was_killed_half_way(tmp_path: Path) -> None:
    (tmp_path / ".campaign.sqlite.part").write_bytes(b"SQLite format 3\x00 and then nothing")
    with filled_store(tmp_path / "campaign.sqlite") as store:
        assert store.summary().total == 3


def test_no_store_can_be_made_in_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match=r"cannot be locked for writing \(No such file"):
        Store.create(tmp_path / "missing" / "campaign.sqlite")


@READ_ONLY
def test_a_missing_store_is_not_made_by_opening(tmp_path: Path, *, read_only: bool) -> None:
    with pytest.raises(CampaignError, match=r"^campaign\.sqlite: "):
        Store.open(tmp_path / "campaign.sqlite", read_only=read_only)
    assert list(tmp_path.iterdir()) == []


def _other_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmark (title TEXT)")
    connection.commit()
    connection.close()


def _newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 99")
    connection.close()


STRANGE = {
    "empty": (lambda path: path.write_bytes(b""), "no store of a campaign"),
    "text": (lambda path: path.write_text("configuration,lower\n" * 500), "no store of a campaign"),
    "other program": (_other_program, "an SQLite file of another program"),
    "newer": (_newer, "version 99 of the schema.*Use the newer mipverify-py"),
}


@READ_ONLY
@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_store_is_named_and_left_as_it_is(tmp_path: Path, name: str, *, read_only: bool) -> None:
    make, message = STRANGE[name]
    path = tmp_path / "campaign.sqlite"
    make(path)
    before = path.read_bytes()
    with pytest.raises(CampaignError, match=message):
        Store.open(path, read_only=read_only)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["campaign.sqlite"]


@READ_ONLY
def test_a_folder_is_no_store(tmp_path: Path, *, read_only: bool) -> None:
    with pytest.raises(CampaignError):
        Store.open(tmp_path, read_only=read_only)


@READ_ONLY
def test_what_is_no_file_is_no_store(tmp_path: Path, *, read_only: bool) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for name in ("loop", "pipe", "zero\0byte", "x" * 300):
        with pytest.raises(CampaignError, match=name[:8]):
            Store.open(tmp_path / name, read_only=read_only)
        if name != "pipe":
            with pytest.raises(CampaignError, match=name[:8]):
                Store.create(tmp_path / name)


@pytest.mark.parametrize("name", ["with space", "a?b=c#d%41", "'quotes\"", "new\nline", os.fsdecode(b"no text \xff")])
def test_a_store_may_have_any_name(tmp_path: Path, name: str) -> None:
    filled_store(tmp_path / name, 2, decided=1).close()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    with Store.open(tmp_path / name) as store:
        assert store.summary().decided == 1
    assert load_campaign(tmp_path / name).input(1).shape == (1, 2, 3)


def test_a_loaded_campaign_knows_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    campaign = load_campaign(path.name)
    monkeypatch.chdir("/")
    assert campaign.input(1).shape == (1, 2, 3)


@READ_ONLY
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_file_that_was_cut_short_is_refused(path: Path, share: float, *, read_only: bool) -> None:
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(CampaignError, match="damaged"):
        Store.open(path, read_only=read_only)


def test_damage_in_the_middle_is_an_error_and_no_answer(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(CampaignError, match="damaged"), Store.open(path, read_only=True) as store:
        store.queries()


def _damage(path: Path, table: str, column: str, value: object) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"DROP TRIGGER {table}_is_not_changed")
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT max(rowid) FROM {table})", (value,))
    connection.commit()
    connection.close()


def test_a_damaged_input_is_named(path: Path) -> None:
    _damage(path, "input", "data", b"no zlib")
    with Store.open(path) as store:
        with pytest.raises(CampaignError, match="Input 2 of data set toy is damaged"):
            store.queries()
        with pytest.raises(CampaignError, match=r"Input 2 of data set toy \(row 3\) is damaged"):
            store.input(3)
        np.testing.assert_array_equal(store.input(2), image(1))
        assert store.summary().total == 3  # what needs no pixel values goes on


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("input", "checksum", "0" * 64, "its checksum differs"),
        ("input", "shape", "[7, 7]", "Input 2 of data set toy is damaged"),
        ("model", "onnx", b"other bytes", "Model small is damaged"),
        ("model", "card", "{", "Model small is damaged"),
        ("query", "question", "{", "Query 3 is damaged"),
    ],
)
def test_other_damage_is_named(path: Path, table: str, column: str, value: object, message: str) -> None:
    _damage(path, table, column, value)
    with Store.open(path, read_only=True) as store, pytest.raises(CampaignError, match=message):
        _ = store.models(), store.queries()


def test_a_damaged_example_is_named(path: Path) -> None:
    _damage(path, "finding", "checksum", "0" * 64)
    campaign = load_campaign(path)
    assert campaign.point(1) is not None
    with pytest.raises(CampaignError, match="The example of query 2 is damaged"):
        campaign.point(2)


@pytest.mark.parametrize("replace", [False, True])
def test_a_store_that_is_removed_or_replaced_is_noticed(path: Path, *, replace: bool) -> None:
    other = path.with_name("other.sqlite")
    filled_store(other, 1).close()
    with Store.open(path) as store:
        stored = store.queries()[2]
        if replace:
            other.replace(path)
        else:
            path.unlink()
        with pytest.raises(CampaignError, match="removed or replaced while it was open"):
            store.record(completion(stored, answer()))


def test_a_store_open_for_reading_takes_nothing(path: Path) -> None:
    with Store.open(path, read_only=True) as store, pytest.raises(CampaignError, match="for reading only"):
        store.note("run", "begins")


def test_closing_twice_is_closing_once(path: Path) -> None:
    store = Store.open(path)
    store.close()
    store.close()
    Store.open(path).close()


def _mounts() -> bool:
    """Whether a process of ours may mount file systems in a name space of its own."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return done.returncode == 0


def in_small_file_system(folder: Path, program: str, *, size: str, prepare: str = "true") -> str:
    """Runs a Python program with a file system of `size` mounted at `folder`, seen by it alone; what it printed."""
    if not _mounts():
        pytest.skip("needs name spaces in which an ordinary user may mount file systems")
    script = f'mount -t tmpfs -o size={size} none "$1" && {prepare} && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(folder), sys.executable, program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


READ_ONLY_FOLDER = """
import sys
from mipverify_py.campaigns import CampaignError, Store, load_campaign
path = sys.argv[1] + "/campaign.sqlite"
for write in (Store.open, Store.create):
    try:
        write(path)
    except CampaignError as error:
        print(error)
with Store.open(path, read_only=True) as store:
    print(store.summary().decided, store.input(1).shape)
print(load_campaign(path).point(1).shape)
"""


def test_a_store_in_a_folder_that_is_read_only_can_be_read(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    prepare = f'cp "{path}" "$1" && mount -o remount,ro "$1"'
    lines = in_small_file_system(folder, READ_ONLY_FOLDER, size="4m", prepare=prepare).splitlines()
    assert len(lines) == 4
    for line in lines[:2]:
        assert "cannot be locked for writing (Read-only file system)" in line and "read_only=True" in line
        assert str(tmp_path) not in line
    assert lines[2:] == ["2 (1, 2, 3)", "(1, 2, 3)"]


FULL = """
import os, sqlite3, sys
import numpy as np
from mipverify_py.campaigns import Finding, Store, StoreFullError
from tests.helpers.campaigns import answer, completion, filled_store
path = sys.argv[1] + "/campaign.sqlite"
store = filled_store(path, 3)
stored = store.queries()[0]
def attempt():
    return completion(stored, answer(findings=(Finding("exact", 0.1, 5, np.random.random((4, 28, 28))),)))
recorded = 0
while True:
    try:
        store.record(attempt())
    except StoreFullError as error:
        print(error)
        break
    recorded += 1
    assert recorded < 1000
try:
    store.record(attempt())
except StoreFullError:
    print("again")
assert store.queries()[0].attempts == recorded, "what it says while it is full"
store.close()
store = Store.open(path, read_only=True)
assert store.queries()[0].attempts == recorded, "what a reader finds"
store.close()
GIVE_ROOM
connection = sqlite3.connect(path)
assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
connection.close()
with Store.open(path) as store:
    assert store.queries()[0].attempts == recorded, "what it has when it is opened again"
    assert store.record(attempt())
print(recorded)
"""


def _check_full(lines: list[str]) -> None:
    assert (
        lines[0].startswith("campaign.sqlite: the store cannot grow (") and "All that was recorded before" in lines[0]
    )
    assert lines[1] == "again" and int(lines[2]) > 5


def test_a_full_disk_stops_cleanly(tmp_path: Path) -> None:
    program = FULL.replace("GIVE_ROOM", 'os.system(f"mount -o remount,size=64m {sys.argv[1]}")')
    _check_full(in_small_file_system(tmp_path, program, size="1m").splitlines())


def test_a_limit_of_file_size_stops_cleanly(tmp_path: Path) -> None:
    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))\n"
    )
    room = "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))"
    _check_full(run(limit + FULL.replace("GIVE_ROOM", room), tmp_path).splitlines())


def test_no_room_for_a_new_store(tmp_path: Path) -> None:
    program = """
import os, sys
from mipverify_py.campaigns import Store, StoreFullError
with open(sys.argv[1] + "/filler", "wb", buffering=0) as filler:
    try:
        while True:
            assert filler.write(bytes(4096))
    except OSError:
        pass
try:
    Store.create(sys.argv[1] + "/campaign.sqlite")
except StoreFullError as error:
    print(error)
print(os.listdir(sys.argv[1]))
"""
    lines = in_small_file_system(tmp_path, program, size="64k").splitlines()
    assert lines[0].startswith("campaign.sqlite: there is no room for a store")
    assert lines[1] == "['filler']"


def test_a_store_is_the_same_read_by_another_program(path: Path) -> None:
    rows = dump(path)
    assert len(rows["query"]) == 3 and len(rows["attempt"]) == 2 and len(rows["finding"]) == 2
