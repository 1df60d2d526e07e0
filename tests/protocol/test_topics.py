import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_protocol import ConfigurationError, DeviceTopic, Topics, WorkerTopic, check_name

TOPICS = Topics("demo")


def test_topics_are_those_of_the_protocol() -> None:
    assert TOPICS.coordinator_status == "pfedfrz/v1/demo/coordinator/status"
    assert TOPICS.round == "pfedfrz/v1/demo/round"
    assert TOPICS.control == "pfedfrz/v1/demo/control"
    assert TOPICS.metrics == "pfedfrz/v1/demo/metrics"
    assert TOPICS.device("d1", "event") == "pfedfrz/v1/demo/device/d1/event"
    assert TOPICS.model_chunk(3, 0) == "pfedfrz-bin/v1/demo/model/3/0"
    assert TOPICS.bundle == "pfedfrz/v1/demo/bundle"
    assert TOPICS.bundle_chunk("a1" * 32, 2) == f"pfedfrz-bin/v1/demo/bundle/{'a1' * 32}/2"
    assert TOPICS.update_chunk("d1", 4, 2) == "pfedfrz-bin/v1/demo/device/d1/update/4/2"


def test_filters_for_access_lists_hold_what_they_should_and_no_more() -> None:
    assert TOPICS.everything == "pfedfrz/v1/demo/#"
    assert TOPICS.every_model_chunk == "pfedfrz-bin/v1/demo/model/#"
    assert TOPICS.every_bundle_chunk == "pfedfrz-bin/v1/demo/bundle/#"
    assert TOPICS.updates_of("d1") == "pfedfrz-bin/v1/demo/device/d1/update/#"
    assert TOPICS.updates_of("+") == "pfedfrz-bin/v1/demo/device/+/update/#"


def test_what_is_built_is_understood() -> None:
    assert TOPICS.parse_device(TOPICS.device("d1", "event")) == DeviceTopic("d1", "event")
    assert TOPICS.parse_model_chunk(TOPICS.model_chunk(3, 17)) == (3, 17)
    assert TOPICS.parse_bundle_chunk(TOPICS.bundle_chunk("a1" * 32, 5)) == ("a1" * 32, 5)
    assert TOPICS.parse_update_chunk(TOPICS.update_chunk("d1", 4, 2)) == ("d1", 4, 2)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "pfedfrz/v1/other/device/d1/event",
        "pfedfrz/v1/demo/device/d1",
        "pfedfrz/v1/demo/device/../event",
        "pfedfrz/v1/demo/device//event",
        "pfedfrz-bin/v1/demo/model/1",
        "pfedfrz-bin/v1/demo/model/-1/0",
        "pfedfrz-bin/v1/demo/model/1/0/0",
        "pfedfrz-bin/v1/demo/model/9999999999/0",
        "pfedfrz-bin/v1/demo/model/²/0",
        "pfedfrz-bin/v1/demo/bundle/1/0",
        f"pfedfrz-bin/v1/demo/bundle/{'A1' * 32}/0",
        f"pfedfrz-bin/v1/demo/bundle/{'a1' * 32}",
        f"pfedfrz-bin/v1/demo/bundle/{'a1' * 32}/-1",
        f"pfedfrz-bin/v1/other/bundle/{'a1' * 32}/0",
        "pfedfrz-bin/v1/demo/device/d1/upload/1/0",
        "pfedfrz-bin/v1/demo/device/d 1/update/1/0",
    ],
)
def test_every_other_topic_is_nobody_s(topic: str) -> None:
    assert TOPICS.parse_device(topic) is None
    assert TOPICS.parse_model_chunk(topic) is None
    assert TOPICS.parse_bundle_chunk(topic) is None
    assert TOPICS.parse_update_chunk(topic) is None


@given(st.text(max_size=80))
def test_parsing_never_raises(topic: str) -> None:
    for text in (topic, f"pfedfrz/v1/demo/device/{topic}", f"pfedfrz-bin/v1/demo/model/{topic}"):
        TOPICS.parse_device(text)
        TOPICS.parse_model_chunk(text)
        TOPICS.parse_bundle_chunk(text)
        TOPICS.parse_update_chunk(text)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", ".hidden", "x" * 65, "ä"])
def test_a_name_that_is_no_topic_level_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="device"):
        check_name("device", name)
    with pytest.raises(ConfigurationError, match="federation"):
        Topics(name)


def test_topics_of_workers_are_understood_and_nothing_else_is() -> None:
    assert TOPICS.orders == "pfedfrz/v1/demo/work/order"
    assert TOPICS.shared_orders == "$share/workers/pfedfrz/v1/demo/work/order"
    assert TOPICS.update_chunks("d1", 4) == "pfedfrz-bin/v1/demo/device/d1/update/4/+"
    assert TOPICS.parse_worker(TOPICS.worker("w1", "event")) == WorkerTopic("w1", "event")
    assert TOPICS.parse_sum_chunk(TOPICS.sum_chunk("w1", 3, 0, 17)) == ("w1", 3, 0, 17)


@pytest.mark.parametrize(
    "topic",
    [
        "pfedfrz/v1/demo/worker/w1",
        "pfedfrz/v1/demo/worker/../event",
        "pfedfrz/v1/other/worker/w1/event",
        "pfedfrz-bin/v1/demo/worker/w1/sum/1/2",
        "pfedfrz-bin/v1/demo/worker/w1/sum/1/2/x",
        "pfedfrz-bin/v1/demo/worker/w1/sum/-1/2/3",
        "pfedfrz-bin/v1/demo/worker/w1/sums/1/2/3",
        "pfedfrz-bin/v1/demo/worker/w 1/sum/1/2/3",
    ],
)
def test_other_topics_are_no_worker_s(topic: str) -> None:
    assert TOPICS.parse_worker(topic) is None
    assert TOPICS.parse_sum_chunk(topic) is None


@given(st.text(max_size=80))
def test_parsing_topics_of_workers_never_raises(topic: str) -> None:
    for text in (topic, f"pfedfrz/v1/demo/worker/{topic}", f"pfedfrz-bin/v1/demo/worker/{topic}"):
        TOPICS.parse_worker(text)
        TOPICS.parse_sum_chunk(text)
