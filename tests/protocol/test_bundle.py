import io
import zipfile
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import make_bundle

from pfedfrz_protocol import (
    Bundle,
    BundleError,
    CachedGraphs,
    FileRecord,
    Group,
    InputSpec,
    Manifest,
    TrainableSet,
    decode_manifest,
    encode_manifest,
    read_bundle,
    sha256_hex,
    write_bundle,
)


def archive(bundle: Bundle) -> bytes:
    return write_bundle(bundle.manifest, bundle.files)


def repacked(change: Callable[[dict[str, bytes]], None], **zip_options: int) -> bytes:
    """The tiny bundle with its members changed."""
    with zipfile.ZipFile(io.BytesIO(archive(make_bundle()))) as source:
        members = {name: source.read(name) for name in source.namelist()}
    change(members)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **zip_options) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return stream.getvalue()


def test_a_bundle_comes_back_as_it_was_written() -> None:
    bundle = make_bundle()
    again = read_bundle(archive(bundle), "model.pfz")
    assert again.manifest == bundle.manifest
    assert again.manifest.digest == bundle.manifest.digest
    assert dict(again.files) == dict(bundle.files)
    for group in Group:
        for name, tensor in bundle.initial_weights(group).items():
            np.testing.assert_array_equal(again.initial_weights(group)[name], tensor)


def test_the_same_content_is_the_same_bytes() -> None:
    assert archive(make_bundle()) == archive(make_bundle())


def test_the_digest_tells_bundles_apart() -> None:
    digests = {make_bundle(seed).manifest.digest for seed in range(3)}
    assert len(digests) == 3


def test_the_manifest_knows_its_groups() -> None:
    manifest = make_bundle().manifest
    assert [spec.name for spec in manifest.layout(Group.SHARED)] == ["head.weight", "head.bias"]
    assert manifest.partition.personal == ("front.weight", "front.bias")


def encrypted() -> bytes:
    """The tiny bundle, its first member marked as encrypted in both of its headers."""
    data = bytearray(archive(make_bundle()))
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def drop(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.pop(name) and None  # type: ignore[func-returns-value]


def put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({name: content})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a pfedfrz bundle"),
        (b"hello, this is not a zip", "not a pfedfrz bundle"),
        (archive(make_bundle())[:-40], "not a pfedfrz bundle"),
        (encrypted(), "not a pfedfrz bundle"),
        (repacked(drop("manifest.json")), "'manifest.json' is missing"),
        (repacked(put("manifest.json", b"{}")), "manifest.json cannot be read"),
        (repacked(put("manifest.json", b"[" * 100_000)), "manifest.json cannot be read"),
        (repacked(drop("onnx/predict.onnx")), "'onnx/predict.onnx' is missing"),
        (repacked(put("onnx/predict.onnx", b"predicT")), "is damaged"),
        (repacked(put("onnx/predict.onnx", b"predict" * 99)), "larger than its bound"),
        (repacked(put("../evil", b"x")), "not named in the manifest"),
        (repacked(lambda _: None, compression=zipfile.ZIP_DEFLATED), "is compressed"),
    ],
)
def test_a_damaged_or_foreign_bundle_is_one_line_that_names_the_file(
    data: bytes, says: str
) -> None:
    with pytest.raises(BundleError) as caught:
        read_bundle(data, "somewhere/model.pfz")
    message = str(caught.value)
    assert says in message
    assert message.startswith("somewhere/model.pfz: ")
    assert "\n" not in message


def with_manifest(**changes: object) -> Manifest:
    return msgspec.structs.replace(make_bundle().manifest, **changes)  # type: ignore[return-value]


def with_features(kind: TrainableSet, shapes: tuple[tuple[int, ...], ...]) -> Manifest:
    runtime = make_bundle().manifest.runtimes["onnxruntime"]
    parts = CachedGraphs(runtime.predict, runtime.predict, shapes)
    changed = msgspec.structs.replace(runtime, cached={kind: parts})
    return with_manifest(runtimes={"onnxruntime": changed})


def test_both_parts_of_a_gradient_graph_are_files_of_the_archive() -> None:
    bundle = make_bundle()
    files = dict(bundle.files) | {"onnx/f.onnx": b"features", "onnx/g.onnx": b"gradients"}
    parts = CachedGraphs(
        *(
            FileRecord(n, len(files[n]), sha256_hex(files[n]))
            for n in ("onnx/f.onnx", "onnx/g.onnx")
        ),
        shapes=((3,), ()),
    )
    runtime = msgspec.structs.replace(
        bundle.manifest.runtimes["onnxruntime"], cached={TrainableSet.PERSONAL: parts}
    )
    manifest = msgspec.structs.replace(bundle.manifest, runtimes={"onnxruntime": runtime})
    again = read_bundle(write_bundle(manifest, files), "x.pfz")
    assert again.manifest == manifest
    assert again.content(parts.features) == b"features"
    del files["onnx/g.onnx"]
    with pytest.raises(KeyError):
        write_bundle(manifest, files)


def broken_manifests() -> list[tuple[Manifest, str]]:
    manifest = make_bundle().manifest
    row = manifest.parameters[0]
    runtime = manifest.runtimes["onnxruntime"]
    return [
        (with_manifest(format_version=2), "format version 2"),
        (with_manifest(parameters=(row, row)), "occurs twice"),
        (with_manifest(parameters=()), "0 parameters"),
        (
            with_manifest(model="tiny\x1b[2J"),
            r"the name 'tiny\\x1b\[2J' has characters that cannot",
        ),
        (
            with_manifest(parameters=(msgspec.structs.replace(row, name="a\nb"),)),
            r"the name 'a\\nb' has characters that cannot be printed",
        ),
        (with_manifest(runtimes={"\x9b2J": runtime}), "cannot be printed"),
        (with_manifest(personal_patterns=("\u202ea",)), "cannot be printed"),
        (
            with_manifest(parameters=(msgspec.structs.replace(row, shape=(0,)),)),
            "extent below 1",
        ),
        (
            with_manifest(parameters=(msgspec.structs.replace(row, shape=(1 << 31, 2)),)),
            "more than",
        ),
        (with_manifest(parameters=(msgspec.structs.replace(row, dtype="int8"),)), "dtype"),
        (with_manifest(weights={}), "weights for one group"),
        (
            with_manifest(runtimes={"onnxruntime": msgspec.structs.replace(runtime, gradients={})}),
            "lacks the gradient graph for: all, personal",
        ),
        (with_features(TrainableSet.SHARED, ((3,),)), "features for a graph that it lacks"),
        (with_features(TrainableSet.ALL, ()), "features of an impossible shape"),
        (with_features(TrainableSet.ALL, ((3,), (0, 2))), "features of an impossible shape"),
        (with_features(TrainableSet.ALL, ((1,) * 9,)), "features of an impossible shape"),
        (with_manifest(input=InputSpec((6,), 3, tokens=0)), "0 tokens"),
    ]


@pytest.mark.parametrize(("manifest", "says"), broken_manifests())
def test_an_inconsistent_manifest_is_refused(manifest: Manifest, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        decode_manifest(encode_manifest(manifest))


def test_a_file_name_that_leaves_the_archive_is_refused() -> None:
    bundle = make_bundle()
    weights = dict(bundle.manifest.weights)
    old = weights[Group.SHARED]
    weights[Group.SHARED] = msgspec.structs.replace(old, file="../../shared.safetensors")
    manifest = msgspec.structs.replace(bundle.manifest, weights=weights)
    data = write_bundle(
        manifest, {**bundle.files, "../../shared.safetensors": bundle.files[old.file]}
    )
    with pytest.raises(BundleError, match="not a plain path"):
        read_bundle(data, "x.pfz")


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_is_found_or_harmless(position: int, value: int) -> None:
    data = bytearray(archive(make_bundle()))
    data[position % len(data)] = value
    try:
        bundle = read_bundle(bytes(data), "x.pfz")
    except BundleError:
        return
    assert bundle.manifest == make_bundle().manifest
