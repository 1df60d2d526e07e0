"""How much may be said."""

from dataclasses import replace

import pytest

from pfedfrz_coordinator.quotas import QuotaPolicy, Quotas
from pfedfrz_protocol import ConfigurationError


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_and_then_the_rate_for_each_sender_by_itself() -> None:
    clock = Clock()
    quotas = Quotas(QuotaPolicy(messages_per_s=2, burst_messages=5), clock)
    assert [quotas.take("a", 10) for _ in range(7)] == [True] * 5 + [False] * 2
    assert quotas.take("b", 10)
    clock.now_s += 1.0
    assert [quotas.take("a", 10) for _ in range(3)] == [True, True, False]
    clock.now_s += 1e9
    assert [quotas.take("a", 10) for _ in range(6)] == [True] * 5 + [False]


def test_all_strangers_share_one_larger_quota() -> None:
    quotas = Quotas(QuotaPolicy(burst_messages=2, strangers_burst=6), Clock())
    assert [quotas.take("", 10) for _ in range(8)] == [True] * 6 + [False] * 2


def test_everything_is_counted_and_told_once() -> None:
    quotas = Quotas(QuotaPolicy(messages_per_s=1, burst_messages=1), Clock())
    for _ in range(3):
        quotas.take("a", 100)
    quotas.count("a", 1000)
    quotas.count_ignored("a")
    traffic = quotas.drain()
    assert {name: replace(t) for name, t in traffic.items()} == {
        "a": type(traffic["a"])(messages=4, payload_bytes=1300, ignored=3)
    }
    assert quotas.drain() == {}


def test_an_upload_may_come_a_few_times_and_not_for_ever() -> None:
    quotas = Quotas(QuotaPolicy(resent_share=3), Clock())
    assert quotas.upload_limit(1000, 50) == 4050


@pytest.mark.parametrize("wrong", ["messages_per_s", "burst_messages"])
def test_a_quota_of_nothing_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"\[quotas\] {wrong} = 0 is too small"):
        QuotaPolicy(**{wrong: 0})
