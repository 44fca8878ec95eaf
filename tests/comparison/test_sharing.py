"""Locks, signs of life and claims of processes that share a run, without a run."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from elicit import runs
from elicit.comparison.sharing import presence
from elicit.comparison.sharing.alone import work_alone
from elicit.comparison.sharing.claims import close_claim, open_claim
from elicit.comparison.sharing.locks import Locks
from elicit.comparison.sharing.new_run import publish_new_run
from elicit.comparison.sharing.presence import Presence, Watch, list_processes
from elicit.comparison.sharing.renaming import try_rename
from elicit.errors import ElicitError


@pytest.fixture
def lost_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS: the reply to every renaming is lost, and the request that is sent again finds no source."""
    rename = os.rename

    def rename_twice(source: Path, target: Path) -> None:
        rename(source, target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_twice)


@pytest.fixture
def time_passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of the one that watches."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def pass_seconds(seconds: float) -> None:
        now[0] += seconds

    return pass_seconds


def _take_together(run: Path, name: str, count: int) -> list[Path]:
    """What as many threads get that take a lock at the same moment."""
    barrier, taken = threading.Barrier(count), []

    def take(number: int) -> None:
        locks = Locks(run, f"process{number}")
        barrier.wait()
        taken.append(locks.take_free(name))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [folder for folder in taken if folder is not None]


def test_one_of_many_takes_a_free_lock(tmp_path: Path) -> None:
    for attempt in range(20):
        (holder,) = _take_together(tmp_path, f"lock{attempt}", 8)
        assert Locks(tmp_path, "reader").find_holder(f"lock{attempt}") == holder


def test_one_of_many_takes_over_and_the_former_holder_can_release_nothing(tmp_path: Path) -> None:
    former = Locks(tmp_path, "former")
    holder = former.take_free("name")
    assert holder is not None
    thieves = [Locks(tmp_path, f"thief{i}") for i in range(4)]
    (mine,) = [folder for folder in [thief.take_over(holder) for thief in thieves] if folder is not None]
    former.release(holder)
    assert former.find_holder("name") == mine
    assert former.take_free("name") is None
    thieves[0].release(mine)
    assert former.find_holder("name") is None
    assert former.take_free("name") is not None


@pytest.mark.usefixtures("lost_replies")
def test_a_renaming_whose_reply_is_lost_counts(tmp_path: Path) -> None:
    """And one that another process made does not."""
    locks, other = Locks(tmp_path, "a"), Locks(tmp_path, "b")
    holder = locks.take_free("name")
    assert holder is not None
    assert locks.find_holder("name") == holder
    assert other.take_free("name") is None
    mine = other.take_over(holder)
    assert mine is not None
    assert locks.find_holder("name") == mine
    assert Locks(tmp_path, "c").take_over(holder) is None
    place, link = tmp_path / "place", tmp_path / "link"
    place.mkdir()
    (place / "rows.jsonl").write_text("{}\n")
    assert open_claim(mine, place, link)
    assert (link / "rows.jsonl").read_text() == "{}\n"
    assert not place.exists()
    assert close_claim(mine, place)
    assert (place / "rows.jsonl").read_text() == "{}\n"


def test_a_renaming_that_is_refused_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EACCES, "no", str(source))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        try_rename(tmp_path / "a", tmp_path / "b", proof=tmp_path / "b")


def test_a_sign_that_changes_is_alive_and_one_that_does_not_is_dead(
    tmp_path: Path, time_passes: Callable[[float], None]
) -> None:
    folder = presence.processes_folder(tmp_path)
    folder.mkdir(parents=True)
    watch = Watch(tmp_path, lease=60)
    (folder / "p").write_text("1")
    assert watch.look_at("p") == "unknown"
    for beat in range(2, 40):
        (folder / "p").write_text(str(beat))
        time_passes(14)
        assert watch.look_at("p") == "living"
    lives = []
    for _ in range(5):
        time_passes(14)
        lives.append(watch.look_at("p"))
    assert lives == ["living"] * 4 + ["dead"]
    (folder / "p").write_text("100")  # it was only stopped
    assert watch.look_at("p") == "living"


def test_a_watcher_that_was_stopped_itself_finds_nobody_dead(
    tmp_path: Path, time_passes: Callable[[float], None]
) -> None:
    watch = Watch(tmp_path, lease=60)
    assert watch.look_at("p") == "unknown"
    time_passes(10_000)
    assert watch.look_at("p") == "unknown"


def test_a_process_that_has_ended_need_not_be_waited_for(tmp_path: Path) -> None:
    watch = Watch(tmp_path, lease=60)
    with Presence(tmp_path, alone=False) as sign:
        assert watch.look_at(sign.process) == "unknown"
    assert [watch.look_at(sign.process) for _ in range(2)] == ["dead", "dead"]


def test_a_process_that_ends_leaves_no_sign(tmp_path: Path) -> None:
    with Presence(tmp_path, alone=False) as sign:
        assert list_processes(tmp_path) == [sign.process]
        assert presence.read_process_facts(tmp_path, sign.process)["pid"] == os.getpid()
    assert list_processes(tmp_path) == []


def test_who_lost_a_claim_can_neither_write_nor_make_it_anew_nor_finish(tmp_path: Path) -> None:
    """Rows that it has still to write to an open file go to the old file."""
    former, thief = Locks(tmp_path, "former"), Locks(tmp_path, "thief")
    place, links = tmp_path / "cells" / "m" / "base" / "0", tmp_path
    holder = former.take_free("m@base@0")
    assert holder is not None
    assert open_claim(holder, place, links / "a")
    runs.append_lines(links / "a" / "rows" / "t.jsonl", [{"row": 1}])
    with (links / "a" / "rows" / "t.jsonl").open("ab") as file:
        (links / "a" / "rows" / ".t.jsonl-killed.tmp").touch()
        mine = thief.take_over(holder)
        assert mine is not None
        assert open_claim(mine, place, links / "b")
        runs.append_lines(links / "b" / "rows" / "t.jsonl", [{"row": 2}])
        file.write(b'{"row": 2}\n')
    for write in (
        lambda: runs.append_lines(links / "a" / "rows" / "t.jsonl", [{"row": 3}]),
        lambda: runs.write_json(links / "a" / "status.json", {}),
        lambda: os.makedirs(links / "a" / "scratch" / "deep", exist_ok=True),
        lambda: (links / "a" / "policy").mkdir(parents=True),
    ):
        with pytest.raises((OSError, runs.TargetError)):
            write()
    assert not close_claim(holder, place)
    former.release(holder)
    assert not place.exists()
    assert close_claim(mine, place)
    assert runs.read_lines(place / "rows" / "t.jsonl") == [{"row": 1}, {"row": 2}]
    assert os.listdir(place / "rows") == ["t.jsonl"]
    thief.release(mine)
    assert former.list_holders() == {}


def test_a_claim_is_lost_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former, thief = Locks(tmp_path, "former"), Locks(tmp_path, "thief")
    place = tmp_path / "cells" / "0"
    place.mkdir(parents=True)
    (place / "rows.jsonl").write_text("{}\n")
    holder = former.take_free("name")
    assert holder is not None
    rename = os.rename

    def rename_late(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        mine = thief.take_over(holder)
        assert mine is not None
        assert open_claim(mine, place, tmp_path / "b")
        assert close_claim(mine, place)
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_late)
    assert not open_claim(holder, place, tmp_path / "a")
    assert (place / "rows.jsonl").read_text() == "{}\n"


def test_of_two_that_begin_a_run_one_makes_its_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def prepare(text: str, before: Callable[[], None]) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            before()
            (folder / "spec.yaml").write_text(text)
            (folder / "manifest.json").write_text(text)

        return write

    publish_new_run(run, prepare("second", lambda: publish_new_run(run, prepare("first", lambda: None))))
    assert [(run / name).read_text() for name in ("spec.yaml", "manifest.json")] == ["first", "first"]
    assert os.listdir(tmp_path) == ["run"]


def test_what_was_left_before_a_run_began_does_not_hinder_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "claims" / "held" / "alone").mkdir(parents=True)
    (run / ".lock").touch()
    (run / ".spec.yaml-1.tmp").touch()
    publish_new_run(run, lambda folder: (folder / "spec.yaml").touch())
    assert os.listdir(run) == ["spec.yaml"]


def test_an_ordinary_run_moves_what_the_dead_had_claimed_to_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it refuses while a joined process lives, naming it."""
    locks = Locks(tmp_path, "gone")
    holder = locks.take_free("m@sft@controls@0")
    assert holder is not None
    assert open_claim(holder, tmp_path / "nowhere", tmp_path / "link")
    runs.append_lines(tmp_path / "link" / "rows" / "t.jsonl", [{"row": 1}])
    with (
        Presence(tmp_path, alone=False),
        pytest.raises(ElicitError, match=rf"in use by process {os.getpid()} on "),
        work_alone(tmp_path),
    ):
        pass
    assert locks.find_holder("alone") is None
    assert locks.find_holder("m@sft@controls@0") == holder
    monkeypatch.setattr("elicit.comparison.sharing.alone.LEASE", 0.1)
    with work_alone(tmp_path):
        assert runs.read_lines(tmp_path / "cells/m/sft/controls/0/rows/t.jsonl") == [{"row": 1}]
        assert list(locks.list_holders()) == ["alone"]
    assert not (tmp_path / "claims").exists()


def test_an_ordinary_run_that_was_killed_hinders_the_next_one_on_this_machine_not_at_all(tmp_path: Path) -> None:
    killed = Presence(tmp_path, alone=True)
    with killed:
        assert Locks(tmp_path, killed.process).take_free("alone") is not None
        sign = (presence.processes_folder(tmp_path) / killed.process).read_bytes()
    shutil.copytree(tmp_path, tmp_path / "copy")
    (tmp_path / "copy" / "claims" / "processes" / killed.process).write_bytes(sign)
    before = threading.active_count()
    with work_alone(tmp_path / "copy"):
        assert threading.active_count() == before + 1
    assert not (tmp_path / "copy" / "claims").exists()
