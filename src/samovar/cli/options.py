"""The options of a task: one for each parameter of its function, typed by the annotation.

The command that is made here only collects values; ``Task.bind`` remains the judge of whether they fit.
"""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import click
from click.core import ParameterSource

from samovar.cli import values
from samovar.cli.script import BadInput

RUN_OPTIONS = frozenset(
    {"-o", "--output", "-d", "--detach", "--driver", "--endpoint", "--copy-style", "--name", "--context"}
    | {"--no-cache", "--overwrite-cache", "--web", "--no-progress", "--log", "--no-log", "-q", "--quiet"}
)


if typing.TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # not generic before click 8.4


class ValueType(_ParamType):
    """A click type that reads with a ``values.Reader`` and says what it expected."""

    def __init__(self, reader: values.Reader) -> None:
        self.reader = reader
        self.name = reader.label

    @property
    def expected(self) -> str:
        choices = f" ({'|'.join(self.reader.choices)})" if self.reader.choices else ""
        return f"{self.reader.label}{choices}{' as JSON or @file.json' if _needs_json(self.reader) else ''}"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "|".join(self.reader.choices) if self.reader.choices else self.reader.label

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            read = self.reader.read(value)
        except ValueError as error:
            got = value if len(value) <= 80 else f"{value[:77]}..."
            self.fail(f"expected {self.expected}, got {got!r}: {error}", param, ctx)
        return _Given(read)


class _Given:
    """Keeps click from looking at the value: it iterates and compares what it takes for its own."""

    def __init__(self, value: Any) -> None:
        self.value = value


class TaskCommand(click.Command):
    """A click command whose unknown options are explained where they belong to ``samovar run`` itself."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.NoSuchOption as error:
            if error.option_name in RUN_OPTIONS:
                hint = f"{error.option_name} is an option of `samovar run`: write it before FILE."
                raise click.UsageError(hint, error.ctx) from None
            raise


def command(task: Any, name: str, done: Callable[[dict[str, Any]], None]) -> click.Command:
    """The command of a task; ``done`` gets the inputs that were given, by parameter."""
    function = function_of(task)
    signature = inspect.signature(function)
    hints = hints_of(function, signature)
    parameters: list[click.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue  # nothing to be named on a command line
        parameters.append(_option(parameter, hints[parameter.name], signature.parameters))

    def collect(**_: Any) -> None:
        context = click.get_current_context()
        inputs: dict[str, Any] = {}
        for option in parameters:
            key = str(option.name)
            if context.get_parameter_source(key) is ParameterSource.COMMANDLINE:
                value = context.params[key]
                inputs[key] = value.value if isinstance(value, _Given) else value
        done(inputs)

    taken = {spelling for option in parameters for spelling in option.opts}
    return TaskCommand(
        name,
        params=parameters,
        callback=collect,
        help=inspect.getdoc(function) or f"Run the task {task.name}.",
        epilog=_returns(signature, hints),
        options_metavar="[--PARAMETER VALUE ...]",
        context_settings={"help_option_names": [h for h in ("-h", "--help") if h not in taken]},
    )


def function_of(task: Any) -> Callable[..., Any]:
    """The user's function under a task."""
    function = getattr(task, "func", None) or inspect.unwrap(task)
    return typing.cast("Callable[..., Any]", function)


def hints_of(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """The resolved annotations, by parameter and ``return``; what does not resolve stays text."""
    plain = {p.name: p.annotation for p in signature.parameters.values()}
    plain["return"] = signature.return_annotation
    try:
        return plain | typing.get_type_hints(function, include_extras=True)
    except Exception:  # a name that exists for type checkers only: resolve one by one
        scope = getattr(function, "__globals__", {})
        return {name: _resolved(hint, scope) for name, hint in plain.items()}


def _resolved(hint: Any, scope: dict[str, Any]) -> Any:
    if not isinstance(hint, str):
        return hint
    holder = type("holder", (), {"__annotations__": {"it": hint}})
    try:
        return typing.get_type_hints(holder, globalns=scope, include_extras=True)["it"]
    except Exception:
        return hint


def summary(task: Any) -> tuple[str, str]:
    """Signature and first line of the documentation, for a list of tasks."""
    function = function_of(task)
    signature = inspect.signature(function)
    hints = hints_of(function, signature)
    parts = []
    for parameter in signature.parameters.values():
        hint = hints[parameter.name]
        text = parameter.name if hint is parameter.empty else f"{parameter.name}: {values.label(hint)}"
        parts.append(text if parameter.default is parameter.empty else f"{text} = {_shown(parameter.default)}")
    doc = inspect.getdoc(function) or ""
    return f"({', '.join(parts)})", doc.strip().split("\n")[0]


def list_tasks(tasks: Mapping[str, Any], path: str) -> str:
    """What ``samovar run FILE --help`` prints."""
    if not tasks:
        raise BadInput(f"{path} has no tasks: none of its functions is decorated with @env.task.")
    lines = [f"Usage: samovar run [RUN-OPTIONS] {path} TASK [--PARAMETER VALUE ...]", "", "Tasks:"]
    for name, task in tasks.items():
        signature, doc = summary(task)
        lines.append(f"  {name}{signature}")
        if doc:
            lines.append(f"      {doc}")
    lines += ["", f"`samovar run {path} TASK --help` shows the parameters of one."]
    return "\n".join(lines)


def _option(parameter: inspect.Parameter, hint: Any, all_names: Mapping[str, Any]) -> click.Option:
    name = parameter.name
    required = parameter.default is parameter.empty
    notes = _notes(hint)
    if not required:
        notes.append(f"[default: {_shown(parameter.default)}]")
    spellings = _spellings(name, all_names)
    if _is_flag(hint):
        flags = [f"{s}/--no-{s.removeprefix('--')}" for s in spellings if f"no_{name}" not in all_names]
        return _Option(
            [name, *(flags or spellings)],
            is_flag=True,
            default=None,
            required=required,
            help=" ".join(notes),
            show_default=False,
        )
    kind = ValueType(values.reader(hint))
    if _needs_json(kind.reader):
        notes.insert(0, "As JSON or @file.json.")
    return _Option([name, *spellings], type=kind, required=required, help=" ".join(notes), show_default=False)


class _Option(click.Option):
    """Shows its first spelling in help and names it in messages."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None:
            return None
        typed = self.type.get_metavar(self, ctx) if isinstance(self.type, ValueType) else ""
        shown = f"{self.opts[0]} / {self.secondary_opts[0]}" if self.secondary_opts else self.opts[0]
        return f"{shown} {typed}".rstrip(), record[1]

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return f"'{self.opts[0]}'"


def _spellings(name: str, all_names: Mapping[str, Any]) -> list[str]:
    exact = f"--{name}"
    dashed = f"--{name.strip('_').replace('_', '-') or name}"
    if dashed.removeprefix("--").replace("-", "_") != name and dashed.removeprefix("--") in all_names:
        return [exact]  # `x_` beside `x`
    return list(dict.fromkeys([dashed, exact]))


def _is_flag(hint: Any) -> bool:
    plain = values.strip(hint)
    members = [m for m in typing.get_args(plain) if m is not type(None)]
    optional = typing.get_origin(plain) in (typing.Union, types.UnionType)
    return plain is bool or (optional and members == [bool])


def _needs_json(reader: values.Reader) -> bool:
    return reader.json and reader.label != "JSON or text"


def _notes(hint: Any) -> list[str]:
    """Texts of ``Annotated[…, "text"]``."""
    if typing.get_origin(hint) is not typing.Annotated:
        return []
    return [text for text in typing.get_args(hint)[1:] if isinstance(text, str)]


def _shown(default: Any) -> str:
    if isinstance(default, enum.Enum):
        return default.name
    text = repr(default)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _returns(signature: inspect.Signature, hints: Mapping[str, Any]) -> str | None:
    if signature.return_annotation is signature.empty:
        return None
    return f"Returns {values.label(hints['return'])}."
