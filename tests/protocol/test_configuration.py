from pathlib import Path

import msgspec
import pytest

from pfedfrz_protocol import ConfigurationError, decode_configuration


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    folder: Path
    count: int = 1


def test_settings_are_decoded_with_paths() -> None:
    got = decode_configuration(b'name = "a"\nfolder = "x/y"', "f.toml", Settings)
    assert got == Settings("a", Path("x/y"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'name = "a"\nfolder = "x"\ncuont = 3', "cuont"),
        (b'name = "a"', "folder"),
        (b'name = 3\nfolder = "x"', "str"),
        (b'name = "a"\nfolder = 3', "folder"),
        (b"name = ", "not TOML"),
        (b"\xff\xfe", "not TOML"),
    ],
)
def test_a_fault_is_one_line_that_names_file_and_key(text: bytes, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        decode_configuration(text, "f.toml", Settings)
    assert says in str(caught.value)
    assert str(caught.value).startswith("f.toml: ")
    assert "\n" not in str(caught.value)


class Picky(msgspec.Struct, forbid_unknown_fields=True):
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigurationError(f"count = {self.count} (want 1 or more)")


def test_a_value_that_the_settings_refuse_is_told_with_the_file() -> None:
    with pytest.raises(ConfigurationError) as caught:
        decode_configuration(b"count = 0", "f.toml", Picky)
    assert str(caught.value) == "f.toml: count = 0 (want 1 or more)"


@pytest.mark.parametrize(
    "text", [b"a = " + b"[" * 5000, b"seed = " + b"9" * 5000, b'a = "\xff"', b"a = 1979-13-40"]
)
def test_what_the_toml_parser_cannot_take_is_named_with_its_file(text: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"^it\.toml: not TOML: "):
        decode_configuration(text, "it.toml", Settings)
