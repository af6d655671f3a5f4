from __future__ import annotations

from actors.hold_watch import HoldWatch


def test_due_gives_open_holds_in_order_of_expiry_and_only_once() -> None:
    watch = HoldWatch()
    for expires_at, name in [(30.0, b"c"), (10.0, b"a"), (20.0, b"b")]:
        watch.add(expires_at, name, b"pair")
    assert watch.next_expiry == 10.0
    due = watch.due(25.0, lambda watched: None if watched[0] == b"a" else 20.0, limit=10)
    assert due == [(b"b", b"pair")]
    assert watch.due(25.0, lambda _: 1.0, limit=10) == []
    assert watch.next_expiry == 30.0


def test_who_was_given_more_time_is_due_at_the_new_time() -> None:
    watch = HoldWatch()
    watch.add(10.0, b"a", b"pair")
    watch.add(30.0, b"a", b"pair")
    assert watch.due(20.0, lambda _: 30.0, limit=10) == []
    assert watch.due(30.0, lambda _: 30.0, limit=10) == [(b"a", b"pair")]


def test_what_is_put_back_is_due_at_once() -> None:
    watch = HoldWatch()
    watch.put_back([(b"a", b"pair")])
    assert watch.due(1.0, lambda _: 1.0, limit=10) == [(b"a", b"pair")]


def test_due_is_bounded() -> None:
    watch = HoldWatch()
    for number in range(5):
        watch.add(1.0, bytes([number]), b"pair")
    watch.add_written([(1.0, bytes([number]), b"pair") for number in range(5, 10)], now=1.0)
    assert [len(watch.due(2.0, lambda _: 1.0, limit=4)) for _ in range(4)] == [4, 4, 2, 0]
    assert len(watch) == 0


def test_each_written_hold_is_given_once_when_it_is_old_enough() -> None:
    watch = HoldWatch()
    watch.add_written([(600.0, b"old", b"pair")], now=1.0)
    watch.add_written([(600.0, b"new", b"pair"), (60.0, b"newer", b"pair")], now=5.0)
    [old] = watch.written_before(2.0, limit=10)
    assert old.members == [(b"old", b"pair")]
    assert watch.written_before(2.0, limit=10) == []
    assert [one.members for one in watch.written_before(6.0, limit=1)] == [[(b"new", b"pair")]]
    assert [one.members for one in watch.written_before(6.0, limit=1)] == [[(b"newer", b"pair")]]


def test_what_is_settled_is_not_watched_any_more() -> None:
    watch = HoldWatch()
    watch.add_written([(10.0, b"sold", b"pair"), (10.0, b"open", b"pair")], now=1.0)
    [group] = watch.written_before(2.0, limit=10)
    watch.drop(group, {b"sold"})
    assert len(watch) == 1
    assert watch.due(20.0, lambda _: 1.0, limit=10) == [(b"open", b"pair")]
    assert len(watch) == 0


def test_holds_of_one_turn_are_due_each_at_its_own_time() -> None:
    watch = HoldWatch()
    watch.add_written([(30.0, b"late", b"pair"), (10.0, b"soon", b"pair")], now=1.0)
    assert watch.due(20.0, lambda _: 1.0, limit=10) == [(b"soon", b"pair")]
    assert watch.next_expiry == 30.0


def test_compacting_keeps_what_is_open() -> None:
    watch = HoldWatch()
    for number in range(20_000):
        watch.add(float(number), number.to_bytes(4), b"pair")
    watch.compact(lambda watched: 0.0 if watched[0][-1] == 0 else None)
    assert 0 < len(watch) < 100
    assert watch.next_expiry == 0.0
