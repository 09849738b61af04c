"""The parameters of a task: from a call to named inputs.

Inputs are always complete and in the order of the signature, because an action's identity is made from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NoReturn

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Interface:
    """The signature of one task's function. ValueError: a parameter that cannot be given by name."""

    def __init__(self, function: Callable[..., Any], task: str) -> None:
        self.task = task
        self.function = function
        self.signature = inspect.signature(function)
        parameters = self.signature.parameters.values()
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise ValueError(
                    f"task {task!r}: parameter '{parameter}' cannot be given by name, as inputs of tasks are"
                )
        self.names = tuple(p.name for p in parameters if p.kind in _NAMED)
        self.positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.defaults = {p.name: p.default for p in parameters if p.kind in _NAMED and p.default is not p.empty}
        self.takes_any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._known = frozenset(self.names)
        self._inputs: Callable[[dict[str, Any]], None] | None = None
        self._output: Callable[[Any], None] | None = None

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a call. TypeError: it does not fit the signature; RuntimeDataValidationError: the types."""
        if len(args) > len(self.positional):
            self._refuse(args, kwargs)
        inputs = dict(zip(self.positional, args, strict=False))
        if kwargs:
            if not inputs.keys().isdisjoint(kwargs) or not (self.takes_any_name or self._known.issuperset(kwargs)):
                self._refuse(args, kwargs)
            inputs.update(kwargs)
        if kwargs or len(inputs) != len(self.names):
            inputs = self._complete(inputs, args, kwargs)
        (self._inputs or self._prepare())(inputs)
        return inputs

    def check_output(self, value: Any) -> None:
        """RuntimeDataValidationError: the result is not what the return annotation says."""
        if self._output is None:
            from samovar.sdk import checks  # only at the first result: declaring a task stays light

            self._output = checks.for_output(self.task, self.function)
        self._output(value)

    def _complete(self, inputs: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = {**self.defaults, **inputs}
        try:
            ordered = {name: given.pop(name) for name in self.names}
        except KeyError:
            self._refuse(args, kwargs)
        ordered.update(given)
        return ordered

    def _prepare(self) -> Callable[[dict[str, Any]], None]:
        from samovar.sdk import checks  # only at the first call: declaring a task stays light

        self._inputs = checks.for_inputs(self.task, self.function, self.names, self.defaults)
        return self._inputs

    def _refuse(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        shape = f"it is called as {self.function.__name__}{self.signature}"
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"task {self.task!r}: {error}; {shape}") from None
        raise TypeError(f"task {self.task!r}: the arguments do not fit; {shape}")
