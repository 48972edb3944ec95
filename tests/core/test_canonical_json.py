"""JSON files that tell when somebody changed them."""

import json

import pytest

from dogbreed.core.canonical_json import dumps, dumps_with_digest, loads_verified, sha256_hex

CONTENTS = {
    "the digest first": {"found": [1, 2.5, None, "é", {"digest": "0" * 64}]},
    "the digest last": {"a": 1, "b": {"digest": "1" * 64, "z": []}},
    "the digest between": {"archives": {}, "members": [{"name": 'x",\n "digest": "' + "2" * 64 + '",'}]},
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_was_sealed_comes_back(content: dict[str, object]) -> None:
    data = dumps_with_digest(content)
    assert loads_verified(data) == content
    assert json.loads(data) == {**content, "digest": sha256_hex(dumps(content))}


# the digest is what sha256sum says of these bytes without its own line
SEALED = rb"""{
 "a": {
  "digest": "inner"
 },
 "digest": "c614ab20683d15d4a8515489204eabc19641bced071a2b4c88a8ff19a0cdc1b0",
 "z": [
  1,
  2.5,
  null,
  true,
  "\u00e9 \"x\""
 ]
}"""


def test_the_bytes_of_a_sealed_file_never_change() -> None:
    content = {"z": [1, 2.5, None, True, 'é "x"'], "a": {"digest": "inner"}}
    assert dumps_with_digest(content) == SEALED
    assert loads_verified(SEALED) == content


def is_refused(data: bytes) -> bool:
    try:
        loads_verified(data)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_every_changed_byte_is_noticed(content: dict[str, object]) -> None:
    data = dumps_with_digest(content)
    for place in range(len(data)):
        before, byte, after = data[:place], data[place], data[place + 1 :]
        assert is_refused(before + bytes([byte ^ 1]) + after), f"byte {place} changed"
        assert is_refused(before + after), f"byte {place} left out"
        assert is_refused(before + b" " + data[place:]), f"a blank before byte {place}"
    assert is_refused(data + b"\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"[{", b"}]"), (b"{", b',\n "c": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")],
    ids=["list", "deep"],
)
def test_what_this_suite_never_writes_is_refused_whatever_its_digest(before: bytes, after: bytes) -> None:
    rest = before + b'\n "b": 2' + after
    with pytest.raises(ValueError, match="not a file that this suite has written"):
        loads_verified(before + b'\n "digest": "' + sha256_hex(rest).encode() + b'",' + rest.removeprefix(before))
