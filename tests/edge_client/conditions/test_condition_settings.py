"""The table [conditions]."""

from __future__ import annotations

from pathlib import Path

import pytest

from pfedfrz_edge.conditions import ConditionSettings
from pfedfrz_edge.conditions.metered import METERED
from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_protocol import ConfigurationError

DEVICE = """\
federation = "lab"
device = "me"
bundle = "m.pfz"
state_dir = "state"
[data]
train = "train.npz"
"""


def load(tmp_path: Path, *lines: str) -> ConditionSettings:
    path = tmp_path / "device.toml"
    path.write_text("\n".join([DEVICE, "[conditions]", *lines]))
    return load_device_settings(path).conditions


def test_nothing_set_is_no_condition(tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(DEVICE)
    settings = load_device_settings(tmp_path / "device.toml").conditions
    assert settings == load(tmp_path) == ConditionSettings()
    assert settings.metered_patterns == ()


def test_every_key_is_taken(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "others_cpu_below = 0.25",
        "battery_at_least = 60",
        "hot_c = 75",
        'hours = ["22:00-06:00", "12:00-13:00"]',
        "avoid_metered = true",
    )
    assert (settings.others_cpu_below, settings.battery_at_least) == (0.25, 60)
    assert (settings.hot_c, settings.resume_below_c) == (75.0, 65.0)
    assert settings.hours == ("22:00-06:00", "12:00-13:00")
    assert settings.metered_patterns == METERED
    assert load(tmp_path, "hot_c = 75", "cool_c = 70").resume_below_c == 70
    assert load(tmp_path, 'avoid_metered = ["eth1"]').metered_patterns == ("eth1",)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["idle = 1"], "idle"),
        (["others_cpu_below = 30"], "others_cpu_below = 30.0 (want above 0, at most 1)"),
        (["others_cpu_below = nan"], "others_cpu_below = nan"),
        (["battery_at_least = 0"], "battery_at_least = 0 (want percent, 1 to 100)"),
        (["mains_only = true", "battery_at_least = 50"], "cannot both be"),
        (["cool_c = 60"], "cool_c is for a device with hot_c"),
        (["hot_c = 60", "cool_c = 60"], "cool_c = 60.0 is not below hot_c = 60.0"),
        (["hot_c = 75000"], "hot_c = 75000.0 (want degrees Celsius"),
        (["hours = []"], "would never train"),
        (['hours = ["10pm-6am"]'], 'write windows such as "22:00-06:00"'),
        (['hours = "22:00-06:00"'], "hours"),
        (["avoid_metered = []"], "avoid_metered holds no pattern"),
        (['avoid_metered = [""]'], "avoid_metered holds no pattern"),
        (["check_s = 0"], "check_s = 0.0"),
        (["check_s = inf"], "check_s = inf"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(
    tmp_path: Path, lines: list[str], says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, *lines)
    assert says in str(caught.value)
    assert "device.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
