"""Lists of keys that are followed while a person changes them."""

from pathlib import Path

import pytest
from identities import key_of

from pfedfrz_coordinator.key_lists import FollowedKeys, read_accept_list, read_operators
from pfedfrz_protocol import ConfigurationError

KEY = key_of("a").public


def test_each_reader_takes_its_own_table_alone(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    for read, table, other in (
        (read_accept_list, "devices", "operators"),
        (read_operators, "operators", "devices"),
    ):
        path.write_text(f'[{table}]\na = "{KEY}"\n')
        assert read(path) == {"a": KEY}
        path.write_text(f'[{other}]\na = "{KEY}"\n')
        with pytest.raises(ConfigurationError, match=other):
            read(path)
        path.write_text(f'[{table}]\n"a/b" = "{KEY}"\n')
        with pytest.raises(ConfigurationError, match=r"list\.toml"):
            read(path)


def test_a_list_is_read_again_when_it_has_changed_and_kept_when_it_is_damaged_or_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "list.toml"
    path.write_text("[operators]\n")
    followed = FollowedKeys(path, read_operators, "list of operators")
    assert followed.look()
    assert not followed.look()
    path.write_text(f'[operators]\na = "{KEY}"\n')
    assert followed.look()
    path.write_text("[operators")
    assert not followed.look()
    assert not followed.look()
    assert caplog.text.count("the list of operators stays as it was") == 1
    path.unlink()
    assert not followed.look()
    assert followed.keys == {"a": KEY}


def test_what_is_wrong_at_the_first_look_is_raised_at_every_look_until_it_is_mended(
    tmp_path: Path,
) -> None:
    path = tmp_path / "list.toml"
    followed = FollowedKeys(path, read_operators, "list of operators")
    for content in (None, "[operators"):
        if content is not None:
            path.write_text(content)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"list\.toml"):
                followed.look()
    path.write_text("[operators]\n")
    assert followed.look()
