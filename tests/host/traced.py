"""Tasks of runs that are traced."""

from __future__ import annotations

import asyncio

import samovar

env = samovar.TaskEnvironment("traced", reusable=samovar.ReusePolicy(replicas=1, concurrency=8, idle_ttl=60))


@env.task
async def child(x: int) -> int:
    return x


@env.task
async def parent(count: int) -> list[int]:
    return list(await asyncio.gather(*(child(x) for x in range(count))))


@env.task
async def fails() -> None:
    raise ValueError("no luck")


@env.task
async def inner() -> str:
    from samovar import traceparent

    return traceparent.current()


@env.task
async def where_am_i() -> str:
    """Asked twice, as spans are known only to whoever has imported OpenTelemetry before."""
    from opentelemetry import trace

    assert not trace.get_current_span().get_span_context().is_valid
    return await inner()
