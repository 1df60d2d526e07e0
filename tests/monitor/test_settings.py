"""The TOML file of a watcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from pfedfrz_monitor.settings import load_monitor_settings
from pfedfrz_protocol import ConfigurationError


def written(folder: Path, text: str) -> Path:
    path = folder / "monitor.toml"
    path.write_text(text)
    return path


def test_paths_start_at_the_file_s_folder(tmp_path: Path) -> None:
    settings = load_monitor_settings(
        written(
            tmp_path,
            'federation = "lab"\nbroker = "mqtts://anna@host"\npassword_file = "password"\n'
            'operator = "anna"\noperator_key_file = "operator.key"\n'
            '[tls]\nca_file = "ca.pem"\n[labels]\npi-1 = "kitchen"\n'
            '[web]\ntoken_file = "token"\n',
        )
    )
    assert settings.password_file == tmp_path / "password"
    assert settings.operator_key_file == tmp_path / "operator.key"
    assert settings.tls.ca_file == tmp_path / "ca.pem"
    assert settings.web.token_file == tmp_path / "token"
    assert settings.labels == {"pi-1": "kitchen"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('federation = "a/b"', "federation 'a/b' is not usable"),
        ('federation = "lab"\noperator = "anna"', "operator and operator_key_file belong together"),
        ('federation = "lab"\ncoordinator_key = "12"', "coordinator_key"),
        ('federation = "lab"\nlisten = "x"', "listen"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_file(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_monitor_settings(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
