"""Hostile archives of CIFAR: the same tar headers inside gzip, and gzip itself."""

import io
import tarfile
import zlib
from functools import partial
from pathlib import Path

from dogbreed.core.storage import LocalStore
from dogbreed.data.raw.cifar import LAYOUTS, Cifar
from tests.support.hostile import made
from tests.support.hostile.tars import LONG, base256, pax
from tests.support.hostile.verdict import ACCEPTED, Item
from tests.support.other_data import cifar_archive

LAYOUT = LAYOUTS["cifar10"]
DAMAGED = "refused 65: .* truncated or damaged .*"


def _members() -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(cifar_archive("cifar10", per_class=1))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def _packed(*pieces: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)  # gzip, a piece at a time
    return b"".join([*map(packer.compress, pieces), packer.flush()])


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def _open(data: bytes, folder: Path) -> str:
    store = LocalStore(folder)
    store.put(LAYOUT.archive, data)
    source = Cifar(store, "cifar10")
    return f"{ACCEPTED}: {sum(source.read(photo)[1:4] == b'PNG' for photo in source.images)} photos"


def hostile_cifar() -> list[Item]:
    """Return hostile archives with what must become of each."""
    members = _members()
    good = b"".join(made.member(name, content) for name, content in members.items())
    bomb = [made.header(b"x/data_batch_1.bin", 600 << 20), *[bytes(1 << 20)] * 600]
    batch = next(name for name in members if name.endswith("data_batch_2.bin"))
    without = b"".join(made.member(name, content) for name, content in members.items() if name != batch)
    whole = _packed(good, made.END)
    rows = {
        "good archive": (whole, "accepted: 60 photos"),
        "600 MB of zeros in a batch": (_packed(*bomb, good, made.END), DAMAGED),
        "unknown type of 2^80 bytes": (_packed(made.header(b"x", base256(1 << 80), b"Z"), good, made.END), DAMAGED),
        "sparse batch of 3 GB": (_packed(pax(("GNU.sparse.size", str(3 << 30))), good, made.END), DAMAGED),
        "sparse map of words": (_packed(pax(("GNU.sparse.map", "one,two")), good, made.END), DAMAGED),
        "3,000 long names in a row": (_packed(made.member(LONG, b"n", b"L") * 3000, good, made.END), DAMAGED),
        "a batch missing": (_packed(without, made.END), "refused 65: .* data_batch_2.bin.*"),
        "a batch of 100 bytes": (
            _packed(without, made.member(batch, bytes(100)), made.END),
            "refused 65: .* has 100 bytes, not a multiple of 3073; .*",
        ),
        "a label without a name": (
            _packed(without, made.member(batch, b"\xff" * 3073), made.END),
            "refused 65: .* has label 255, 10 classes are named.*",
        ),
        "a tar that is not compressed": (good + made.END, DAMAGED),
        "garbage in gzip": (_packed(b"garbage" * 1000), DAMAGED),
    }
    rows |= {f"cut to {length}": (whole[:length], DAMAGED) for length in range(0, len(whole), len(whole) // 20)}
    rows |= {f"bit flipped at {at}": (_flipped(whole, at), DAMAGED) for at in range(20, len(whole), len(whole) // 20)}
    return [Item(name, partial(_open, data), expected) for name, (data, expected) in rows.items()]
