"""What a value looks like, read off its pickle: nothing of it is imported, called or built.

A pickle is a program, and running it, even with harmless classes, runs what its writer wants: calls, memo tables of any
size, keys whose hash goes as deep as the stack. So its instructions are read here as text, one by one, and what they
would build is a tree of ``Node``, which only remembers names and the first few items. Instructions, bytes, depth and
the length of the text are bounded, so a preview costs some milliseconds whatever it is of.
"""

from __future__ import annotations

import io
import pickletools
import reprlib
from collections.abc import Callable, Iterator
from typing import Any

READ_BYTES = 256 * 1024
"""Of a pickle, from its beginning."""

INSTRUCTIONS = 5_000
"""That are read of it."""

ITEMS = 10
"""Of a list or a dict that are shown."""

DEPTH = 5
LONGEST = 2_000
"""Characters of a text."""

NODES = 300
"""That are written out at most: a few of them may stand in each other many times."""

MORE = "…"

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120  # characters of a word


class Node:
    """``kind``: what it is. ``items``: the first of them; of a dict keys and values in turn. ``count``: of all."""

    __slots__ = ("count", "is_open", "items", "kind", "name", "state")

    def __init__(self, kind: str, name: str = "", items: list[Node] | None = None) -> None:
        self.kind = kind
        self.name = name  # of a global, or the text of what is plain
        self.items: list[Node] = []
        self.count = 0
        self.is_open = False  # there are more items than were read
        self.state: Node | None = None  # that it is given after it was made
        self.add(items or [])

    def add(self, items: list[Node]) -> None:
        self.count += len(items)
        room = 2 * ITEMS - len(self.items)
        if room > 0:
            self.items += items[:room]


class Broken(Exception):
    """It is no pickle, or not from here on."""


def result(body: bytes, is_whole: bool = True) -> str:
    """The text of a value. ``is_whole``: the pickle does not go on."""
    return _Writer().text(_read(body, is_whole))


def inputs(name: str, body: bytes, is_whole: bool = True) -> str:
    """The text of a call of the function ``name``."""
    writer = _Writer()
    return f"{name}({writer.arguments(_read(body, is_whole))})"


def _read(body: bytes, is_whole: bool) -> Node:
    return _Machine().run(body[:READ_BYTES], is_whole and len(body) <= READ_BYTES)


class _Machine:
    """Follows a pickle's instructions without carrying any out."""

    def __init__(self) -> None:
        self._stack: list[Node] = []
        self._marks: list[int] = []
        self._memo: dict[int, Node] = {}

    def run(self, body: bytes, is_whole: bool) -> Node:
        """What it would build, or the beginning of that."""
        try:
            for count, (instruction, argument, _) in enumerate(pickletools.genops(io.BytesIO(body))):
                if instruction.name == "STOP":
                    return self._pop()
                if count >= INSTRUCTIONS:
                    return self._unfinished()
                self._follow(instruction.name, argument)
        except (Broken, ValueError, OverflowError, UnicodeError, IndexError) as error:
            if not is_whole and self._stack:
                return self._unfinished()
            return Node("odd", f"<no preview: {_short.repr(str(error))}>")
        return self._unfinished()

    def _follow(self, name: str, argument: Any) -> None:
        if name in _PLAIN:
            self._push(Node("plain", _PLAIN[name](argument)))
        elif name in _EMPTY:
            self._push(Node(_EMPTY[name]))
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise Broken(f"the instruction {name} is not known")

    def _unfinished(self) -> Node:
        """Reading has stopped: what is open is closed, with more to come."""
        while self._marks:
            items = self._since_mark()
            for node in items[-1:]:
                node.is_open = True
            if self._stack and self._stack[-1].kind in ("list", "dict", "set"):
                self._stack[-1].add(items)
            else:
                self._push(Node("tuple", "", items))
        if not self._stack:
            return Node("odd", MORE)
        for node in self._stack:
            node.is_open = True
        return self._stack[0]

    def _push(self, node: Node) -> None:
        self._stack.append(node)

    def _pop(self) -> Node:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise Broken("it takes more than it has")
        return self._stack.pop()

    def _since_mark(self) -> list[Node]:
        if not self._marks:
            raise Broken("it ends what it has not begun")
        at = self._marks.pop()
        items = self._stack[at:]
        del self._stack[at:]
        return items

    # instructions

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def pop(self, _: Any) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def pop_mark(self, _: Any) -> None:
        self._since_mark()

    def dup(self, _: Any) -> None:
        self._push(node := self._pop())
        self._push(node)

    def put(self, argument: Any) -> None:
        self._push(node := self._pop())
        self._memo[len(self._memo) if argument is None else int(argument)] = node

    def get(self, argument: Any) -> None:
        node = self._memo.get(int(argument))
        if node is None:
            raise Broken("it refers to nothing")
        self._push(node)

    def collect(self, kind: str) -> None:
        self._push(Node(kind, "", self._since_mark()))

    def last(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(Node("tuple", "", items[::-1]))

    def add_last(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._top().add(items[::-1])

    def add_all(self, _: Any) -> None:
        items = self._since_mark()
        self._top().add(items)

    def named(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self._push(Node("global", f"{module}.{name}"))

    def named_by_stack(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._push(Node("global", f"{module.name.strip(chr(39))}.{name.name.strip(chr(39))}"))

    def called(self, kind: str) -> None:
        arguments, function = self._pop(), self._pop()
        self._push(_call(kind, function, arguments.items, arguments.count))

    def called_with_names(self, _: Any) -> None:
        self._pop()  # the arguments by name
        self.called("made")

    def instance(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        arguments = self._since_mark()
        self._push(_call("made", Node("global", f"{module}.{name}"), arguments, len(arguments)))

    def instance_by_stack(self, _: Any) -> None:
        items = self._since_mark()
        if not items:
            raise Broken("it makes nothing of nothing")
        self._push(_call("made", items[0], items[1:], len(items) - 1))

    def build(self, _: Any) -> None:
        state = self._pop()
        self._top().state = state

    def persistent(self, _: Any) -> None:
        self._pop()
        self._push(Node("odd", "<kept elsewhere>"))

    def _top(self) -> Node:
        self._push(node := self._pop())
        return node


def _call(kind: str, function: Node, arguments: list[Node], count: int) -> Node:
    made = Node(kind, function.name if function.kind == "global" else MORE, arguments)
    made.count = count
    return made


class _Writer:
    """Trees to text, within bounds."""

    def __init__(self) -> None:
        self._nodes = NODES

    def text(self, node: Node) -> str:
        return _cut(self._text(node, DEPTH))

    def arguments(self, node: Node) -> str:
        """Of the dict of a call's arguments, as they are written in a call."""
        return _cut(", ".join(self._pairs(node, DEPTH, "=")) if node.kind == "dict" else self._text(node, DEPTH))

    def _text(self, node: Node, depth: int) -> str:
        self._nodes -= 1
        if node.kind in ("plain", "odd"):
            return node.name
        if node.kind == "global":
            return f"<{_short.repr(node.name)[1:-1]}>"
        if depth <= 0 or self._nodes <= 0:
            return MORE
        if node.kind in _BRACKETS:
            return self._container(node, depth)
        return self._object(node, depth)

    def _container(self, node: Node, depth: int) -> str:
        opening, closing = _BRACKETS[node.kind]
        parts = list(self._pairs(node, depth, ": ") if node.kind == "dict" else self._items(node, depth))
        comma = "," if node.kind == "tuple" and node.count == 1 else ""
        return f"{opening}{', '.join(parts)}{comma}{closing}" if parts or node.kind != "set" else "set()"

    def _object(self, node: Node, depth: int) -> str:
        name = _short.repr(node.name)[1:-1]
        if name.endswith("numeric._frombuffer") and len(node.items) >= 3 and node.items[1].items:
            kind, shape = node.items[1].items[0], node.items[2]
            return f"<array {self._text(kind, 1)} {self._text(shape, 1)}>"
        if node.kind == "called" and node.state is None:
            return f"{name}({', '.join(self._items(node, depth))})"
        state = node.state
        if state is not None and state.kind == "tuple" and len(state.items) == 2 and state.items[1].kind == "dict":
            state = state.items[1]  # of a class with slots
        if state is None or state.kind != "dict" or not state.items:
            return f"<{name}>"
        return f"<{name} {', '.join(self._pairs(state, min(depth, 2), '='))}>"

    def _items(self, node: Node, depth: int) -> Iterator[str]:
        for item in node.items[:ITEMS]:
            yield self._text(item, depth - 1)
        if node.is_open:
            yield f"{MORE} and more"
        elif node.count > ITEMS:
            yield f"{MORE} {node.count - ITEMS} more"

    def _pairs(self, node: Node, depth: int, sign: str) -> Iterator[str]:
        for at in range(0, len(node.items) - 1, 2):
            key, value = node.items[at], node.items[at + 1]
            shown = self._text(key, depth - 1)
            yield f"{shown.strip(chr(39)) if sign == '=' else shown}{sign}{self._text(value, depth - 1)}"
        if node.is_open:
            yield f"{MORE} and more"
        elif node.count > len(node.items):
            yield f"{MORE} {(node.count - len(node.items)) // 2} more"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + MORE


def _number(value: Any) -> str:
    try:
        return _short.repr(value)
    except ValueError:  # more digits than Python writes out
        return "<a very large number>"


def _data(value: Any) -> str:
    return _short.repr(bytes(value)) if len(value) <= 64 else f"<{len(value):,} bytes>"


def _shown(value: Any) -> str:
    return _short.repr(str(value))


_PLAIN: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("NONE",), lambda _: "None"),
    "NEWTRUE": lambda _: "True",
    "NEWFALSE": lambda _: "False",
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"), _number),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _shown),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _shown),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _data),
    "PERSID": lambda _: "<kept elsewhere>",
    "NEXT_BUFFER": lambda _: "<data>",
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda _: "<an extension>"),
}
_EMPTY = {"EMPTY_LIST": "list", "EMPTY_DICT": "dict", "EMPTY_TUPLE": "tuple", "EMPTY_SET": "set"}
_BRACKETS = {"list": ("[", "]"), "dict": ("{", "}"), "tuple": ("(", ")"), "set": ("{", "}")}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "LIST": lambda machine, _: machine.collect("list"),
    "DICT": lambda machine, _: machine.collect("dict"),
    "TUPLE": lambda machine, _: machine.collect("tuple"),
    "FROZENSET": lambda machine, _: machine.collect("set"),
    "TUPLE1": lambda machine, _: machine.last(1),
    "TUPLE2": lambda machine, _: machine.last(2),
    "TUPLE3": lambda machine, _: machine.last(3),
    "APPEND": lambda machine, _: machine.add_last(1),
    "SETITEM": lambda machine, _: machine.add_last(2),
    **dict.fromkeys(("APPENDS", "SETITEMS", "ADDITEMS"), _Machine.add_all),
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_by_stack,
    "REDUCE": lambda machine, _: machine.called("called"),
    "NEWOBJ": lambda machine, _: machine.called("made"),
    "NEWOBJ_EX": _Machine.called_with_names,
    "INST": _Machine.instance,
    "OBJ": _Machine.instance_by_stack,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
    "READONLY_BUFFER": lambda machine, _: None,
}
