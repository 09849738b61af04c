"""From ``cache=…`` to the key of a call."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import samovar as flyte
from samovar.model import CacheCall

env = flyte.TaskEnvironment(name="cached", cache="auto")


@env.task
async def add(x: int, y: int = 1) -> int:
    return x + y


@env.task(cache="disable")
async def plain(x: int) -> int:
    return x


def call(task: Any, **inputs: Any) -> CacheCall:
    made = task.cache.call(task.bind((), inputs))
    assert made is not None
    return made


def test_an_environment_says_it_for_its_tasks_a_task_and_a_call_for_themselves() -> None:
    assert add.cache is not None
    assert plain.cache is None
    assert add.override(cache="disable").cache is None
    assert plain.override(cache="enabled").cache is not None
    assert flyte.TaskEnvironment(name="usual").task(plain.fn).cache is None
    assert env.clone_with("other").task(plain.fn).cache is not None


def test_the_key_is_that_of_the_task_its_version_and_its_inputs() -> None:
    key = call(add, x=1).key
    assert call(add, x=1, y=1).key == key
    assert call(add, x=2).key != key
    assert call(add.override(retries=3), x=1).key == key
    assert call(add.override(cache=flyte.Cache("auto", salt="s")), x=1).key != key
    assert call(add.override(cache=flyte.Cache("override", version_override="v1")), x=1).key != key
    assert call(plain.override(cache="auto"), x=1).key != key


def test_ignored_inputs_are_left_out_and_must_be_there() -> None:
    ignoring = add.override(cache=flyte.Cache("auto", ignored_inputs=("y",)))
    assert call(ignoring, x=1, y=2).key == call(ignoring, x=1, y=3).key
    with pytest.raises(ValueError, match=r"ignored_inputs names z, which is no parameter; its parameters are x, y"):
        add.override(cache=flyte.Cache("auto", ignored_inputs="z"))

    @env.task(cache=flyte.Cache("auto", ignored_inputs="anything"))
    async def takes_all(**more: int) -> None: ...

    assert call(takes_all, anything=1).key == call(takes_all, anything=2).key


def test_what_a_behaviour_asks_of_the_engine() -> None:
    def asked(cache: Any) -> tuple[bool, bool]:
        made = call(add.override(cache=cache), x=1)
        return made.replace, made.alone

    assert asked("auto") == asked(flyte.Cache("override", version_override="v")) == (False, False)
    assert asked("override") == (True, False)
    assert asked(flyte.Cache("auto", serialize=True)) == (False, True)


class Policy:
    def __init__(self, version: str) -> None:
        self.version = version
        self.seen: list[Any] = []

    def get_version(self, salt: str, params: Any) -> str:
        self.seen.append((salt, params.func, params.image))
        if not self.version:
            raise KeyError("no version")
        return self.version


def test_policies_give_the_version() -> None:
    policy = Policy("1")
    one = add.override(cache=flyte.Cache("auto", salt="s", policies=policy))
    other = add.override(cache=flyte.Cache("auto", salt="s", policies=[Policy("2")]))
    assert call(one, x=1).key == call(one, x=1).key != call(other, x=1).key
    assert policy.seen == [("s", add.fn, "auto")]
    with pytest.raises(ValueError, match="gives no version: 'no version'"):
        call(add.override(cache=flyte.Cache("auto", policies=Policy(""))), x=1)


def test_what_is_no_cache_is_told_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="must be a Cache or one of 'auto'"):
        add.override(cache="always")
    with pytest.raises(ValueError, match="there must be a policy"):
        flyte.Cache("auto", policies=[])


def test_a_function_without_a_source_is_not_cached_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    made: dict[str, Any] = {}
    exec("async def made(x: int) -> int:\n    return x", made)
    task = env.task(made["made"])
    with caplog.at_level(logging.WARNING, "samovar"):
        assert task.cache.call({"x": 1}) is task.cache.call({"x": 2}) is None
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "task 'cached.made' is not cached for some of its calls"
    ]
