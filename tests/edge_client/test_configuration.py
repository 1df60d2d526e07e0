from pathlib import Path

import pytest

from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_protocol import ConfigurationError, Encoding

TOP = 'federation = "demo"\ndevice = "pi-1"\nbundle = "m.pfz"\nstate_dir = "state"\n'
DATA = '[data]\ntrain = "train.npz"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "device.toml"
    path.write_text(text)
    return path


def test_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    settings = load_device_settings(write(tmp_path, TOP + DATA + 'test = "sub/test.npz"\n'))
    assert settings.bundle == tmp_path / "m.pfz"
    assert settings.state_dir == tmp_path / "state"
    assert settings.data.train == f"npz:{tmp_path}/train.npz"
    assert settings.data.test == f"npz:{tmp_path}/sub/test.npz"


def test_absolute_paths_stay_as_they_are(tmp_path: Path) -> None:
    text = TOP.replace('"m.pfz"', '"/srv/m.pfz"') + DATA.replace('"train', '"/data/train')
    settings = load_device_settings(write(tmp_path, text))
    assert settings.bundle == Path("/srv/m.pfz")
    assert settings.data.train == "npz:/data/train.npz"


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    settings = load_device_settings(write(tmp_path, TOP + DATA))
    assert settings.data.test is None
    assert settings.broker == "mqtt://127.0.0.1:1883"
    assert settings.runtime == "onnxruntime"
    assert settings.encoding is Encoding.DELTA_FLOAT16
    assert not settings.exit_when_stopped
    assert settings.feature_memory_mib == 64


def test_everything_can_be_said(tmp_path: Path) -> None:
    extra = (
        'broker = "mqtts://pi:secret@broker:8883"\nruntime = "torch"\nseed = 7\n'
        'encoding = "float32"\nheartbeat_s = 2\nconnect_timeout_s = 5.5\nexit_when_stopped = true\n'
    )
    settings = load_device_settings(write(tmp_path, TOP + extra + DATA))
    assert settings.broker == "mqtts://pi:secret@broker:8883"
    assert (settings.runtime, settings.seed) == ("torch", 7)
    assert settings.encoding is Encoding.FLOAT32
    assert (settings.heartbeat_s, settings.connect_timeout_s) == (2.0, 5.5)
    assert settings.exit_when_stopped


FAULTS = {
    "empty": ("", "federation"),
    "no data": (TOP, "data"),
    "less than no memory": (TOP + "feature_memory_mib = -1\n" + DATA, "feature_memory_mib = -1"),
    "endless memory": (TOP + "feature_memory_mib = 9999999\n" + DATA, "0 to 1048576"),
    "no training data": (TOP + '[data]\ntest = "t.npz"\n', "train"),
    "unknown key": (TOP + "broekr = 1\n" + DATA, "broekr"),
    "unknown key in a table": (TOP + DATA + 'tset = "x"\n', "tset"),
    "a number for a path": (TOP.replace('"m.pfz"', "3") + DATA, "bundle"),
    "text for a number": (TOP + 'seed = "x"\n' + DATA, "seed"),
    "unknown encoding": (TOP + 'encoding = "gzip"\n' + DATA, "encoding"),
    "federation": (TOP.replace("demo", "de/mo") + DATA, "federation 'de/mo'"),
    "device with a wildcard": (TOP.replace("pi-1", "pi+") + DATA, "device 'pi+'"),
    "device without a name": (TOP.replace("pi-1", "") + DATA, "device ''"),
    "heartbeat of zero": (TOP + "heartbeat_s = 0\n" + DATA, "heartbeat_s = 0"),
    "heartbeat below zero": (TOP + "heartbeat_s = -1.5\n" + DATA, "heartbeat_s = -1.5"),
    "heartbeat of no number": (TOP + "heartbeat_s = nan\n" + DATA, "heartbeat_s = nan"),
    "heartbeat that never comes": (TOP + "heartbeat_s = inf\n" + DATA, "heartbeat_s = inf"),
    "no time to connect": (TOP + "connect_timeout_s = -1\n" + DATA, "connect_timeout_s = -1"),
    "all time to connect": (TOP + "connect_timeout_s = inf\n" + DATA, "connect_timeout_s = inf"),
    "broken": ("federation = \n", "TOML"),
    "broken table": (TOP + "[data\n", "TOML"),
    "twice the same key": (TOP + 'federation = "x"\n' + DATA, "TOML"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_with_file_and_key(tmp_path: Path, name: str) -> None:
    text, says = FAULTS[name]
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_device_settings(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "device.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="TOML"):
        load_device_settings(path)


@pytest.mark.parametrize("name", ["none.toml", "."])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        load_device_settings(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
