import pytest

from pfedfrz_protocol import (
    ConfigurationError,
    Group,
    TensorSpec,
    partition_by_patterns,
    uniform_partition,
)

NAMES = ("conv1.weight", "conv1.bias", "fc.weight", "fc.bias")


def test_patterns_put_matching_names_in_the_personal_group_in_model_order() -> None:
    partition = partition_by_patterns(NAMES, ["*.bias", "conv1.*"])
    assert partition.personal == ("conv1.weight", "conv1.bias", "fc.bias")
    assert partition.shared == ("fc.weight",)
    assert partition.group_of("fc.bias") is Group.PERSONAL
    assert partition.group_of("fc.weight") is Group.SHARED
    with pytest.raises(KeyError):
        partition.group_of("nobody")


@pytest.mark.parametrize("patterns", [["conv9.*"], ["conv1.*", "head"], ["*"], [], ["Conv1.*"]])
def test_a_pattern_that_leaves_a_group_empty_is_refused_with_every_name(
    patterns: list[str],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        partition_by_patterns(NAMES, patterns)
    assert all(name in str(caught.value) for name in NAMES)


def test_a_uniform_partition_has_one_group() -> None:
    assert uniform_partition(NAMES, Group.SHARED).personal == ()
    assert uniform_partition(NAMES, Group.PERSONAL).personal == NAMES


def test_elements_of_a_scalar_is_one() -> None:
    assert TensorSpec("s", ()).elements == 1
    assert TensorSpec("m", (3, 5)).elements == 15
