"""Topics as a broker delivers them, and names."""

from __future__ import annotations

from pfedfrz_protocol import ConfigurationError, Topics, check_name

TOPICS = Topics("lab")


def target(data: bytes) -> None:
    """Whatever parses makes the same topic again."""
    text = data.decode("utf-8", "surrogateescape")
    found = TOPICS.parse_device(text)
    if found is not None:
        assert TOPICS.device(found.device, found.leaf) == text
        check_name("device", found.device)
    chunk = TOPICS.parse_model_chunk(text)
    if chunk is not None:
        assert min(chunk) >= 0
        assert chunk == TOPICS.parse_model_chunk(TOPICS.model_chunk(*chunk))
    update = TOPICS.parse_update_chunk(text)
    if update is not None:
        assert update == TOPICS.parse_update_chunk(TOPICS.update_chunk(*update))
        check_name("device", update[0])
    try:
        Topics(text)
    except ConfigurationError as error:
        assert "\n" not in str(error)


def seeds() -> dict[str, bytes]:
    texts = {
        "status": TOPICS.device("pi-3", "status"),
        "model": TOPICS.model_chunk(3, 1),
        "update": TOPICS.update_chunk("pi-3", 3, 1),
        "foreign-digits": "pfedfrz-bin/v1/lab/model/١/٢",
        "negative": "pfedfrz-bin/v1/lab/model/-1/0",
        "huge": "pfedfrz-bin/v1/lab/model/" + "9" * 5000 + "/0",
        "path-trick": "pfedfrz/v1/lab/device/../status",
        "levels": "pfedfrz/v1/lab/device/" + "a/" * 500,
        "wildcards": "pfedfrz/v1/lab/device/+/#",
        "line-break": "pfedfrz/v1/lab/device/a\n/status",
        "nul": "pfedfrz/v1/lab/device/a\x00/status",
        "name": "lab",
    }
    return {name: text.encode() for name, text in texts.items()} | {"bad-utf-8": b"pfedfrz/\xff"}
