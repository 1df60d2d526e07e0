"""JSON that says everything once."""

import msgspec
import pytest
import tiny_bundle
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_protocol import (
    BundleError,
    Control,
    DesiredState,
    ProtocolError,
    RejectReason,
    decode_json,
    decode_manifest,
    decode_message,
    encode_manifest,
    encode_message,
)


class Nest(msgspec.Struct):
    inner: dict[str, int] = {}
    name: str = ""


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b'{"name":"a","name":"b"}', "name"),
        (b'{"name":"a","n\\u0061me":"a"}', "name"),
        (b'{"inner":{"x":1,"y":2,"x":1}}', "x"),
    ],
)
def test_key_that_occurs_twice_is_refused_at_any_depth(text: bytes, key: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=f"the key '{key}' twice"):
        decode_json(text, Nest)


@pytest.mark.parametrize("text", [b'{"name":"\xff"}', b'{"\xff":1}', b"[" * 5000, b"", b"{}{}"])
def test_whatever_is_no_json_is_one_kind_of_error(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_json(text, Nest)


@given(st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1)), st.text())
def test_what_was_encoded_is_decoded(inner: dict[str, int], name: str) -> None:
    try:
        text = msgspec.json.encode(Nest(inner, name))
    except UnicodeEncodeError:
        return
    assert decode_json(text, Nest) == Nest(inner, name)


def test_message_with_a_key_twice_is_malformed() -> None:
    text = encode_message(Control(DesiredState.RUN, 7)).replace(b"{", b'{"epoch":9,')
    with pytest.raises(ProtocolError, match="'epoch' twice") as caught:
        decode_message(text, Control)
    assert caught.value.reason is RejectReason.MALFORMED


def test_manifest_with_a_key_twice_is_no_manifest() -> None:
    with pytest.raises(BundleError, match="'format_version' twice"):
        decode_manifest(b'{"format_version":2,"format_version":1}')


@pytest.mark.parametrize(
    ("good", "bad"),
    [(b'"epochs": 1', b'"epochs": -1'), (b'"label_smoothing": 0.0', b'"label_smoothing": 2.0')],
)
def test_manifest_with_an_impossible_schedule_or_loss_is_a_bundle_s_fault(
    good: bytes, bad: bytes
) -> None:
    text = encode_manifest(tiny_bundle.make_bundle().manifest)
    assert good in text
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        decode_manifest(text.replace(good, bad))
