"""Sealing, opening, and the file that the embedded shop keeps its keys in."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.key_file import KeyFile, ring_of_file
from storage.key_ring import (
    KEYS_MAX,
    RELOAD_EVERY_S,
    DataKey,
    KeyRing,
    KeyRingError,
    MissingKeyError,
    TamperedError,
    UnknownKeyError,
    format_keys,
    new_key,
    parse_keys,
    sealed_by,
)
from tests.storage.keys import a_key, a_ring

HERE, ELSEWHERE = b"orders:1", b"orders:2"


@given(clear=st.binary(max_size=2_000), bound_to=st.binary(max_size=40))
def test_what_is_sealed_opens_again(clear: bytes, bound_to: bytes) -> None:
    ring = a_ring("new", "old")
    sealed = ring.seal(clear, bound_to=bound_to)
    assert sealed_by(sealed) == "new"
    assert ring.open(sealed, bound_to=bound_to) == clear
    assert a_ring("old", "new").open(sealed, bound_to=bound_to) == clear


def test_the_same_is_never_sealed_the_same_way() -> None:
    ring = a_ring()
    assert len({ring.seal(b"1 Main St", bound_to=HERE) for _ in range(100)}) == 100


@given(st.data())
def test_any_altered_byte_is_noticed(data: st.DataObject) -> None:
    ring = a_ring("k1", "k2")
    sealed = bytearray(ring.seal(b"1 Main St", bound_to=HERE))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((TamperedError, UnknownKeyError)):
        ring.open(bytes(sealed), bound_to=HERE)


@given(st.binary(max_size=60))
def test_noise_does_not_open(noise: bytes) -> None:
    with pytest.raises((TamperedError, UnknownKeyError)):
        a_ring().open(noise, bound_to=HERE)


def test_a_value_belongs_to_its_row() -> None:
    ring = a_ring()
    with pytest.raises(TamperedError, match="another row"):
        ring.open(ring.seal(b"1 Main St", bound_to=HERE), bound_to=ELSEWHERE)


def test_another_key_of_the_same_id_does_not_open() -> None:
    sealed = a_ring("k1").seal(b"1 Main St", bound_to=HERE)
    other = KeyRing((DataKey("k1", bytes(32)),), random=os.urandom, monotonic=lambda: 0.0)
    with pytest.raises(TamperedError, match="'k1'"):
        other.open(sealed, bound_to=HERE)


def test_a_missing_key_is_named() -> None:
    sealed = a_ring("lost").seal(b"1 Main St", bound_to=HERE)
    with pytest.raises(UnknownKeyError, match=r"'lost'.*k1, k2"):
        a_ring("k1", "k2").open(sealed, bound_to=HERE)
    with pytest.raises(MissingKeyError):
        KeyRing((), random=os.urandom, monotonic=lambda: 0.0)


def test_keys_are_read_as_they_are_written() -> None:
    keys = (a_key("k1"), a_key("A-b_9"), new_key(os.urandom))
    for separator in (",", "\n", " ,\n"):
        assert parse_keys(format_keys(keys, separator), source="here") == keys
    assert parse_keys("", source="here") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("secretsecret", "key 1 has no proper id"),
        (f"{format_keys((a_key(),))},:AAAA", "key 2 has no proper id"),
        ("k1:not-base64!", "key k1 is not 32 bytes"),
        ("k1:" + base64.b64encode(b"short").decode(), "key k1 is not 32 bytes"),
        (format_keys((a_key(), a_key())), "key k1 is there twice"),
        (format_keys(tuple(a_key(f"k{n}") for n in range(KEYS_MAX + 1))), "over 32 keys"),
    ],
)
def test_what_is_no_key_is_refused_without_being_told(text: str, says: str) -> None:
    with pytest.raises(KeyRingError, match=says) as refused:
        parse_keys(text, source="THE_SETTING")
    assert "THE_SETTING" in str(refused.value)
    for secret in ("secretsecret", "not-base64", format_keys((a_key(),))[4:20]):
        assert secret not in str(refused.value)


def _file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "home" / "data-keys", random=os.urandom)


def test_the_first_key_is_made_once(tmp_path: Path) -> None:
    file = _file(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: file.read_or_make(), range(8)))
    assert len(made) == 1
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["data-keys"]


def test_adding_and_retiring_keep_every_key_somewhere(tmp_path: Path) -> None:
    file = _file(tmp_path)
    [first] = file.read_or_make()
    with ThreadPoolExecutor(8) as threads:
        added = set(threads.map(lambda _: file.add(), range(8)))
    keys = file.read()
    assert {key.key_id for key in keys} == added | {first.key_id}
    for key in keys[1:]:
        file.retire(key.key_id)
    assert file.read() == keys[:1]
    assert parse_keys(file.retired_path.read_text(), source="") == keys[1:]
    assert stat.S_IMODE(file.retired_path.stat().st_mode) == 0o600
    with pytest.raises(KeyRingError, match="rotate first"):
        file.retire(keys[0].key_id)
    with pytest.raises(UnknownKeyError, match="nonsense"):
        file.retire("nonsense")


def test_an_empty_or_unreadable_file_is_told_of(tmp_path: Path) -> None:
    file = _file(tmp_path)
    file.path.parent.mkdir()
    file.path.write_text("\n")
    with pytest.raises(KeyRingError, match="holds no key"):
        ring_of_file(file)
    file.path.unlink()
    file.path.mkdir()
    with pytest.raises(KeyRingError, match="cannot be read"):
        ring_of_file(file)


class Process:
    """A ring over a file, with a clock of its own; counts how often it reads."""

    def __init__(self, file: KeyFile) -> None:
        self.file, self.now, self.reads = file, 0.0, 0
        keys, random = file.read_or_make(), os.urandom
        self.ring = KeyRing(keys, random=random, monotonic=lambda: self.now, reload=self._read)

    def _read(self) -> tuple[DataKey, ...]:
        self.reads += 1
        return self.file.read()


def test_a_running_process_opens_by_a_new_key_at_once_and_seals_by_it_soon(tmp_path: Path) -> None:
    file = _file(tmp_path)
    running = Process(file)
    before = running.ring.sealing_id
    fresh = file.add()
    sealed = Process(file).ring.seal(b"1 Main St", bound_to=HERE)
    assert sealed_by(running.ring.seal(b"", bound_to=HERE)) == before
    assert running.ring.open(sealed, bound_to=HERE) == b"1 Main St"
    other = Process(file)
    newest = file.add()
    assert other.ring.sealing_id == fresh
    other.now += RELOAD_EVERY_S
    assert sealed_by(other.ring.seal(b"", bound_to=HERE)) == newest


def test_unknown_keys_do_not_make_it_read_all_the_time(tmp_path: Path) -> None:
    running = Process(_file(tmp_path))
    sealed = a_ring("lost").seal(b"", bound_to=HERE)
    for _ in range(50):
        with pytest.raises(UnknownKeyError):
            running.ring.open(sealed, bound_to=HERE)
    assert running.reads == 1


def test_a_process_goes_on_with_what_it_knows_when_the_file_is_gone(tmp_path: Path) -> None:
    running = Process(_file(tmp_path))
    running.file.path.unlink()
    running.now += RELOAD_EVERY_S
    assert running.ring.open(running.ring.seal(b"x", bound_to=HERE), bound_to=HERE) == b"x"
    running.file.path.write_text("nonsense")
    running.now += RELOAD_EVERY_S
    assert running.ring.open(running.ring.seal(b"x", bound_to=HERE), bound_to=HERE) == b"x"
