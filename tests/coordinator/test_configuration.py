from pathlib import Path

import pytest

from pfedfrz_coordinator.configuration import load_coordinator_settings
from pfedfrz_protocol import ConfigurationError

GOOD = 'federation = "demo"\nbundle = "m.pfz"\nstate_dir = "state"\n'
EXACT = 'aggregation = "mean:exact=true"\n'


def test_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD + "[rounds]\nrounds = 3\n")
    settings = load_coordinator_settings(path)
    assert settings.bundle == tmp_path / "m.pfz"
    assert settings.state_dir == tmp_path / "state"
    assert settings.rounds.rounds == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "broekr = 1\n", "broekr"),
        (GOOD + "[rounds]\nround = 3\n", "round"),
        (GOOD + "[rounds]\nrounds = 0\n", "rounds = 0"),
        (GOOD + "[workers]\nenabled = true\n", 'write aggregation = "mean:exact=true"'),
        (GOOD + 'aggregation = "median"\n[workers]\nenabled = true\n', 'aggregation is "median"'),
        (GOOD + EXACT + "[rounds]\nbuffer = 2\n", "[rounds] buffer = 2"),
        (GOOD + EXACT + "[validation]\nmax_samples = 1073741824\n", "max_samples = 1073741824"),
        (GOOD + EXACT + "[workers]\ncollect_timeout_s = 0\n", "collect_timeout_s = 0"),
        (GOOD + 'aggregation = "bucketing+mean:exact=true"\n', "nothing may come before it"),
        (GOOD + '[metrics]\nlisten = "9464"\n', 'listen = "9464" (want HOST:PORT'),
        (GOOD + '[metrics]\nlisten = "::1:9464"\n', 'listen = "::1:9464" (want HOST:PORT'),
        (GOOD + '[metrics]\nlisten = "localhost:65536"\n', "want HOST:PORT"),
        (GOOD + '[metrics]\nlisten = "a\\nb:1"\n', 'listen = "a\\nb:1" (want HOST:PORT'),
        (GOOD + '[metrics]\nlisten = "\\u0000:1"\n', "want HOST:PORT"),
        (GOOD + '[metrics]\nlisten = "http://localhost:1"\n', "want HOST:PORT"),
        (GOOD.replace("demo", "de/mo"), "federation 'de/mo'"),
        ("", "federation"),
    ],
)
def test_a_fault_names_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_coordinator_settings(path)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ("board-7.lan:65535", ("board-7.lan", 65_535)),
    ],
)
def test_prometheus_asks_where_the_file_says(
    tmp_path: Path, listen: str, address: tuple[str, int]
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD + f'[metrics]\nlisten = "{listen}"\n')
    assert load_coordinator_settings(path).metrics.address() == address


def test_by_default_prometheus_asks_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD)
    assert load_coordinator_settings(path).metrics.listen == ""


def test_workers_add_up_an_exact_mean(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD + EXACT + "[workers]\nenabled = true\n")
    settings = load_coordinator_settings(path)
    assert settings.workers.enabled
    assert settings.worker_dir("w1") == tmp_path / "state" / "workers" / "w1"


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_coordinator_settings(tmp_path / "none.toml")
