"""Previews: what people see, and what a hostile pickle does not achieve."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import os
import pathlib
import pickle
import pickletools
import struct

import numpy
import pytest

from samovar.web import preview
from samovar.web.preview import INSTRUCTIONS, LONGEST, READ_BYTES


class Model:
    def __init__(self) -> None:
        self.weights = [1, 2]


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (3, "3"),
        (1.5, "1.5"),
        ("it's", '"it\'s"'),
        ("<script>", "'<script>'"),
        ([1, [2]], "[1, [2]]"),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, 2, 3, 4), "(1, 2, 3, 4)"),
        ({"a": {"b": 1}}, "{'a': {'b': 1}}"),
        ([], "[]"),
        ({}, "{}"),
    ],
)
def test_plain_values_in_every_protocol(value, text, protocol):
    assert preview.result(pickle.dumps(value, protocol)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (list(range(1000)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 990 more]"),
        ({n: n for n in range(30)}, "{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, … 20 more}"),
        ({7}, "{7}"),
        (frozenset([7]), "{7}"),
        (set(), "set()"),
        (b"x" * 1000, "<1,000 bytes>"),
        (pathlib.PurePosixPath("/a/b"), "pathlib.PurePosixPath('/', 'a', 'b')"),
        (Model(), f"<{__name__}.Model weights=[1, 2]>"),
        (Slotted(3), f"<{__name__}.Slotted x=3>"),
        (Model, f"<{__name__}.Model>"),
        (ValueError("no"), "builtins.ValueError('no')"),
        (numpy.zeros((3, 2)), "<array 'f8' (3, 2)>"),
    ],
)
def test_what_people_see(value, text):
    assert preview.result(pickle.dumps(value, 5)) == text


def test_a_number_of_more_digits_than_are_written_out():
    assert preview.result(pickle.dumps(10**5000)) == "<a very large number>"


def test_inputs_look_like_a_call():
    body = pickle.dumps({"items": list(range(1000)), "model": Model()})
    shown = preview.inputs("f", body)
    assert shown == f"f(items=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 990 more], model=<{__name__}.Model weights=[1, 2]>)"
    assert preview.inputs("f", pickle.dumps({})) == "f()"


def test_large_values_that_travel_beside_the_body():
    buffers = []
    body = pickle.dumps(numpy.zeros(100_000), 5, buffer_callback=buffers.append)
    assert buffers
    assert preview.result(body) == "<array 'f8' (100000,)>"


def test_the_beginning_of_a_value_that_is_not_read_to_its_end():
    body = pickle.dumps(list(range(100_000)), 5)
    text = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … and more]"
    assert preview.result(body) == text
    assert preview.result(body[:3000], is_whole=False) == text
    assert preview.result(pickle.dumps({"a": "x" * (READ_BYTES + 1), "b": 1})).startswith("{")


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_called(tmp_path):
    mark = tmp_path / "mark"
    body = pickle.dumps([Bomb(mark)])
    assert "mkdir" in preview.result(body)
    assert not mark.exists()
    pickle.loads(body)
    assert mark.exists(), "the pickle does what it is to be refused"


HOSTILE = {
    "system": b"cos\nsystem\n(S'touch mark'\ntR.",
    "inst": b"(S'touch mark'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'touch mark'\no.",
    "eval by names": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
    "import of a module that is not there": b"cnot_there.at_all\nname\n.",
    "a memo of four billion": b"]r" + struct.pack("<I", 2**32 - 1) + b".",
    "bytes of eight exabytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**63 - 1) + b"x.",
    "a byte array of the same size": b"\x80\x05\x96" + struct.pack("<Q", 2**63 - 1) + b"x.",
    "a frame of the same size": b"\x80\x04\x95" + struct.pack("<Q", 2**63 - 1) + b"N.",
    "an int of a million digits": b"I" + b"9" * 200_000 + b"\n.",
    "a long of many bytes": b"\x8b" + struct.pack("<i", 200_000) + b"\xff" * 200_000 + b".",
    "a long of less than none": b"\x8b" + struct.pack("<i", -5) + b".",
    "deep tuples": b")" + b"\x85" * 200_000 + b".",
    "deep lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples as a key": b"})" + b"\x85" * 4000 + b"Ns.",
    "marks alone": b"(" * 200_000,
    "pops of nothing": b"0" * 100,
    "pops below a mark": b"N(Rt.",
    "state of nothing": b"Nb.",
    "items of a number": b"K\x01(K\x02e.",
    "a reference to nothing": b"h\x07.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Psomewhere\n.",
    "an object of nothing": b"(o.",
    "names that are no names": b"\x80\x04K\x01K\x02\x93.",
    "a list in itself": b"]q\x00h\x00a.",
    "an object whose state is itself": b"cm\nC\n)\x81q\x00h\x00b.",
    "a dict that is cut in two": b"}(K\x01u.",
    "no text": b"X" + struct.pack("<I", 2) + b"\xff\xfe.",
    "nothing": b"",
    "no pickle": bytes(range(256)),
    "a value that never ends": b"\x80\x04]" + b"K\x01a" * 80_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("is_whole", [True, False])
def test_hostile_pickles_are_texts(name, is_whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = HOSTILE[name]
    for text in (preview.result(body, is_whole), preview.inputs("f", body, is_whole)):
        assert isinstance(text, str)
        assert len(text) <= LONGEST + 10
    assert list(tmp_path.iterdir()) == []


def test_a_few_that_stand_in_each_other_many_times_stay_short():
    value = ["lol"] * 10
    for _ in range(30):
        value = [value] * 10
    assert len(preview.result(pickle.dumps(value))) <= LONGEST + 1


def test_reading_stops(monkeypatch):
    """However long a pickle is, no more instructions are read than are said."""
    read = []
    genops = pickletools.genops
    monkeypatch.setattr(pickletools, "genops", lambda data: (read.append(1) or one for one in genops(data)))
    preview.result(b"]" + b"Na" * 100_000 + b".")
    assert len(read) <= INSTRUCTIONS + 1


def test_objects_of_the_standard_library():
    assert "datetime" in preview.result(pickle.dumps(datetime.datetime(2026, 1, 2)))
    assert "OrderedDict" in preview.result(pickle.dumps(collections.OrderedDict(a=1)))
