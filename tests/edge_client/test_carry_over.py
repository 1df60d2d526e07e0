"""What is a device's own goes on by name and shape, and never into what is sent."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import make_bundle

from pfedfrz_edge.carry_over import carry_over
from pfedfrz_protocol import Group, Parameters

NAMES = ("a", "b", "c", "d")
SHAPES = ((2,), (3,), (2, 2))
GROUPS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(SHAPES))


def filled(shapes: dict[str, tuple[int, ...]], value: float) -> Parameters:
    return {name: np.full(shape, value, np.float32) for name, shape in shapes.items()}


@given(GROUPS, GROUPS, GROUPS, GROUPS, GROUPS)
def test_every_weight_is_from_where_it_is_said_to_be(
    personal: dict[str, tuple[int, ...]],
    shared: dict[str, tuple[int, ...]],
    earlier: dict[str, tuple[int, ...]],
    new_personal: dict[str, tuple[int, ...]],
    new_shared: dict[str, tuple[int, ...]],
) -> None:
    new_shared = {n: s for n, s in new_shared.items() if n not in new_personal}
    bundle = make_bundle(1, personal=new_personal, shared=new_shared)
    before = {"own": filled(personal, 100), "shared": filled(shared, 200)}
    back = filled(earlier, 300)
    found = carry_over(bundle, before["own"], before["shared"], back)
    assert {n: w.shape for n, w in found.weights.items()} == new_personal
    assert sorted((*found.carried, *found.received, *found.fresh)) == sorted(new_personal)
    initial = bundle.initial_weights(Group.PERSONAL)
    for name, shape in new_personal.items():
        weight = found.weights[name]
        if personal.get(name) == shape:
            assert name in found.carried
            np.testing.assert_array_equal(weight, 100)
        elif earlier.get(name) == shape:
            assert name in found.carried
            np.testing.assert_array_equal(weight, 300)
        elif shared.get(name) == shape:
            assert name in found.received
            np.testing.assert_array_equal(weight, 200)
        else:
            assert name in found.fresh
            np.testing.assert_array_equal(weight, initial[name])
    assert set(found.left) == {n for n, s in personal.items() if new_personal.get(n) != s}
    for name in found.left:
        assert name in found.line or len(found.left) > 6


def test_what_was_personal_and_is_shared_now_is_carried_nowhere() -> None:
    bundle = make_bundle(1, personal={"front": (2,)}, shared={"head": (3,)})
    own = filled({"front": (2,), "head": (3,)}, 100)
    found = carry_over(bundle, own, {}, {})
    assert set(found.weights) == {"front"}
    assert found.left == ("head",)
    assert "head" in found.line
    assert not np.isin(bundle.initial_weights(Group.SHARED)["head"], 100).any()


def test_ditto_s_own_copies_go_on() -> None:
    before = make_bundle(1, "ditto", personal={}, shared={"head": (3,)})
    after = make_bundle(2, "ditto", personal={}, shared={"head": (3,), "tail": (2,)})
    own = {name: weight + 1 for name, weight in before.initial_personal().items()}
    found = carry_over(after, own, {}, {})
    assert len(found.carried) == len(found.fresh) == 1
    np.testing.assert_array_equal(found.weights[found.carried[0]], own[found.carried[0]])


def test_the_line_names_no_more_than_a_few() -> None:
    many = {f"w{number}": (2,) for number in range(40)}
    line = carry_over(make_bundle(1, personal={}, shared={"s": (1,)}), filled(many, 1), {}, {}).line
    assert "40 have no place" in line
    assert line.endswith("and 34 more")
