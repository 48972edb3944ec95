"""Hostile and odd annotations: all but a few harmless ones end with a reason, without network."""

import socket
from functools import partial
from pathlib import Path
from unittest import mock

from dogbreed.data.boxes import XML_LIMIT, parse_voc
from tests.support.hostile import made
from tests.support.hostile.verdict import ACCEPTED, Item

GOOD = made.annotation(made.KEYS[0])
TEXT = GOOD.decode()
DTD = "quarantined: unreadable annotation: DTDForbidden.*"
LONG = rf"quarantined: annotation of \d+ bytes, limit {XML_LIMIT}"
UNREADABLE = "quarantined: unreadable annotation: .*"
BOXLESS = "quarantined: annotation without a box"
BOX = r"accepted: \(Box\(left=8.0, top=6.0, right=56.0, bottom=42.0\),\)"


def _doctype(entities: str, use: str) -> bytes:
    return f"<!DOCTYPE a [{entities}]><annotation><name>{use}</name>{TEXT}</annotation>".encode()


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
ROWS = {  # name -> (bytes, expected outcome)
    "billion laughs": (_doctype(f'<!ENTITY l0 "ha">{LAUGHS}', "&l9;"), DTD),
    "quadratic blowup": (_doctype(f'<!ENTITY a "{"a" * 30_000}">', "&a;" * 9000), DTD),
    "external entity, a file": (_doctype('<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;"), DTD),
    "external entity, a server": (_doctype('<!ENTITY x SYSTEM "http://127.0.0.1:9/x">', "&x;"), DTD),
    "external DTD": (b'<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd">' + GOOD, DTD),
    "DTD without entities": (b"<!DOCTYPE annotation []>" + GOOD, DTD),
    "parameter entity": (_doctype('<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;', ""), DTD),
    "XInclude": (
        b'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="file:///etc/passwd"/></a>',
        BOXLESS,
    ),
    "DTD in UTF-16": (('<?xml version="1.0"?><!DOCTYPE a>' + TEXT).encode("utf-16"), DTD),
    "10 MB of nested elements": (b"<a>" * 1_500_000 + b"</a>" * 1_500_000, LONG),
    "64 KiB of nested elements": (b"<a>" * 9000 + b"</a>" * 9000, BOXLESS),
    "9,000 elements around a good one": (b"<a>" * 9000 + GOOD + b"</a>" * 9000, BOX),
    "a million attributes": (b"<a " + b" ".join(b'a%d="1"' % n for n in range(1_000_000)) + b"/>", LONG),
    "6,000 attributes": (b"<a " + b" ".join(b'a%d="1"' % n for n in range(6000)) + b"/>", BOXLESS),
    "the same attribute twice": (b'<a b="1" b="2"/>', UNREADABLE),
    "one byte too many": (GOOD + b" " * (XML_LIMIT + 1 - len(GOOD)), LONG),
    "UTF-16": (TEXT.encode("utf-16"), BOX),
    "UTF-32": (TEXT.encode("utf-32"), UNREADABLE),
    "UTF-7": (b'<?xml version="1.0" encoding="utf-7"?>' + GOOD, UNREADABLE),
    "unknown encoding": (b'<?xml version="1.0" encoding="dog"?>' + GOOD, UNREADABLE),
    "encoding of 5,000 letters": (b'<?xml version="1.0" encoding="%s"?>' % (b"d" * 5000) + GOOD, UNREADABLE),
    "codec that is no encoding": (b'<?xml version="1.0" encoding="zlib"?>' + GOOD, UNREADABLE),
    "codec that always fails": (b'<?xml version="1.0" encoding="undefined"?>' + GOOD, UNREADABLE),
    "null byte": (GOOD.replace(b"<xmin>", b"<xmin>\0"), UNREADABLE),
    "null bytes alone": (bytes(1000), UNREADABLE),
    "reference to no character": (GOOD.replace(b">8<", b">&#0;<"), UNREADABLE),
    "entity nobody declared": (GOOD.replace(b">8<", b">&eight;<"), UNREADABLE),
    "two roots": (GOOD + GOOD, UNREADABLE),
    "box in a namespace": (GOOD.replace(b"<annotation>", b'<annotation xmlns="urn:x">'), BOXLESS),
    "a JPEG": (made.encoded(made.picture(0)), UNREADABLE),
    "reference to a digit": (GOOD.replace(b">8<", b">&#56;<"), BOX),
    "processing instruction": (b"<?php system('x') ?>" + GOOD, BOX),
}
# what float() takes and a published coordinate never is, and what any XML number may be
NUMBERS = {"1_0": False, "٣": False, "１２": False, "0x10": False, "1,5": False, "½": False, "": False,
           "\u2002 8": False, "nan": False, "-inf": False, "1e400": False, "9" * 400: False, "8 8": False,
           "True": False, "--8": False,
           " 8 ": True, "\n8.50\t": True, "+8": True, "8e0": True, "-0": True, "1e308": True}  # fmt: skip


def _parse(xml: bytes, folder: Path) -> str:
    with mock.patch.object(socket, "socket", side_effect=AssertionError("the network was used")):
        return f"{ACCEPTED}: {parse_voc(xml)}"


def _short(expected: str) -> str:
    """A reason stands in the manifest: whatever the file says, it stays a line."""
    return expected if expected.startswith(ACCEPTED) else f"(?=.{{1,260}}$){expected}"


def hostile_annotations() -> list[Item]:
    """Return every hostile annotation and every odd way to write a number."""
    items = [Item(name, partial(_parse, xml), _short(wanted)) for name, (xml, wanted) in ROWS.items()]
    for text, good in NUMBERS.items():
        xml = GOOD.replace(b">8<", f">{text}<".encode())
        wanted = r"accepted: \(Box\(left=.*" if good else UNREADABLE
        items.append(Item(f"coordinate {text[:20]!r}", partial(_parse, xml), _short(wanted)))
    return items
