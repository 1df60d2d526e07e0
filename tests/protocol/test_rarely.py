from __future__ import annotations

from pfedfrz_protocol import Rarely


def test_it_is_due_at_powers_of_two_alone() -> None:
    rarely = Rarely()
    due = [n for n in range(1, 1001) if rarely.occurs("flood")]
    assert due == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert rarely.count("flood") == 1000


def test_each_name_is_counted_for_itself() -> None:
    rarely = Rarely()
    assert [rarely.occurs("a") for _ in range(3)] == [True, True, False]
    assert rarely.occurs("b")
    assert (rarely.count("a"), rarely.count("b"), rarely.count("c")) == (3, 1, 0)


def test_asking_for_a_count_is_no_occurrence() -> None:
    rarely = Rarely()
    assert rarely.count("a") == 0
    assert [rarely.occurs("a") for _ in range(4)] == [True, True, False, True]
