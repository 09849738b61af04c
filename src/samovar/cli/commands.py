"""The subcommands that concern a service: their options and their help. What they do is in modules of their own.

Only click is imported here, as in ``main``.
"""

from __future__ import annotations

from typing import Any

import click

from samovar.cli.params import (
    DRIVER,
    ENDPOINT,
    LIMIT,
    LISTEN,
    OUTPUT,
    POOL,
    POOL_ARGUMENT,
    RUN,
    SINCE,
    TASK,
    TEXT_OUTPUT,
    TLS_CERT,
    TLS_KEY,
    WATCH,
    WEB,
    complete_run,
)

# the service


@click.command("serve", short_help="Keep pools for the scripts of this user, in the foreground.")
@DRIVER
@LISTEN
@TLS_CERT
@TLS_KEY
@WEB
def serve(driver: str | None, web: str, **entrance: str) -> None:
    """Keep pools for all scripts and commands of this user on this machine, until Ctrl-C or SIGTERM.

    While it runs, `samovar run` and scripts use its pools, which stay warm between them. What runs when it is told to
    end has 10 seconds; a second signal does not wait.
    """
    from samovar.cli import service  # only here and below: keep `samovar --help` light

    service.serve(driver or "", web, entrance)


@click.command("start", short_help="The same in the background.")
@DRIVER
@LISTEN
@TLS_CERT
@TLS_KEY
@WEB
def start(driver: str | None, web: str, **entrance: str) -> None:
    """Start the service of `samovar serve` in the background, if it does not run."""
    from samovar.cli import service

    service.start(driver or "", web, entrance)


@click.command("stop", short_help="End the service.")
@click.option("--grace", default=10.0, show_default=True, help="Seconds that what runs has to end; then it is aborted.")
def stop(grace: float) -> None:
    """End your service on this machine, and with it its pools."""
    from samovar.cli import service

    service.stop(grace)


@click.command("status", short_help="Show whether the service runs, and its pools.")
@ENDPOINT
@TEXT_OUTPUT
@click.pass_context
def status(context: click.Context, output: str, endpoint: str) -> None:
    """Show whether the service runs, and its pools. Exit status: 0, or 3 where none runs."""
    from samovar.cli import service

    service.status(context, output, endpoint)


@click.group("token", invoke_without_command=True, short_help="Make, list and revoke tokens for other hosts.")
@click.option("--name", default="", help="Who it is for; names a token in lists.  [default: a number]")
@click.option(
    "--expires", default="90d", show_default=True, metavar="TIME", help="When it ends: 12h, 30d, 2w from now, or never."
)
@click.option(
    "--address", default="", metavar="HOST[:PORT]", help="How other hosts reach the service, if not as it says."
)
@TEXT_OUTPUT
@click.pass_context
def token(context: click.Context, name: str, expires: str, address: str, output: str) -> None:
    """Make a token, and print the endpoint for whoever is to have it, this once.

    Whoever has a token can run code as the user of the service. On the other host the endpoint goes into the
    environment variable SAMOVAR_ENDPOINT, or into ~/.config/samovar/config.toml as endpoint = "...".

    Where a service takes no clients of other hosts, but has its dashboard there, the token alone is printed: the
    dashboard asks for it.
    """
    from samovar.cli import token as command

    if context.invoked_subcommand is None:
        command.make(name, expires, address, output)


@token.command("list", short_help="List the tokens by name.")
@TEXT_OUTPUT
def list_tokens(output: str) -> None:
    """List the tokens by name, with when they end; never the tokens themselves."""
    from samovar.cli import token as command

    command.show(output)


@token.command("revoke", short_help="Revoke the token NAME.")
@click.argument("name", metavar="NAME")
def revoke_token(name: str) -> None:
    """Revoke the token NAME. A service that runs ends its connections at once; runs that it has started go on."""
    from samovar.cli import token as command

    command.revoke(name)


# lists


RUN_PHASE = click.option(
    "--phase",
    type=click.Choice(["running", "succeeded", "failed", "aborted", "timed_out"]),
    default=None,
    help="In this phase.",
)
ACTION_PHASE = click.option(
    "--phase",
    type=click.Choice(
        ["queued", "waiting_for_resources", "running", "succeeded", "failed", "aborted", "timed_out"],
    ),
    default=None,
    help="In this phase.",
)


@click.group("get", short_help="List runs, actions, pools and replicas.")
def get() -> None:
    """List runs, actions, pools and replicas.

    The service is asked where one runs. Where none does, runs and actions come from what it has written down.
    """


@get.command("runs", short_help="List runs, the newest first.")
@RUN_PHASE
@TASK
@SINCE
@LIMIT
@OUTPUT
@WATCH
@ENDPOINT
def get_runs(endpoint: str, output: str, watch: bool, phase: str | None, **wanted: Any) -> None:
    """List runs, the newest first. The number of actions is known when a run has ended."""
    from samovar.cli import get as command  # only here and below: keep `samovar --help` light

    command.runs(command.Wanted(phase=phase or "", **wanted), endpoint, output, watch)


@get.command("actions", short_help="List the actions of RUN, or of all runs.")
@click.argument("run", metavar="[RUN]", default="", shell_complete=complete_run)
@ACTION_PHASE
@TASK
@SINCE
@POOL
@click.option("--replica", default="", help="Of this replica: its name, or the beginning of it.")
@LIMIT
@OUTPUT
@WATCH
@ENDPOINT
def get_actions(endpoint: str, output: str, watch: bool, phase: str | None, **wanted: Any) -> None:
    """List the actions of RUN, or of all runs: where their time went, and what failed.

    Those that are queued or run come first, the newest at the top; then those that have ended, the last one first.
    """
    from samovar.cli import get as command

    command.actions(command.Wanted(phase=phase or "", **wanted), endpoint, output, watch)


@get.command("pools", short_help="List the pools of the service.")
@OUTPUT
@WATCH
@ENDPOINT
def get_pools(endpoint: str, output: str, watch: bool) -> None:
    """List the pools of the service: replicas, slots, the queue, and what they have done.

    STATE is awake, asleep (no replica until there is work), draining, or drained. RANGE is how many replicas a pool
    may have; SLOTS are those in use, and those that there are.
    """
    from samovar.cli import get as command

    command.pools(endpoint, output, watch)


@get.command("replicas", short_help="List the replicas of the service.")
@POOL
@OUTPUT
@WATCH
@ENDPOINT
def get_replicas(endpoint: str, output: str, watch: bool, pool: str) -> None:
    """List the replicas of the service, with what runs on them.

    MEMORY and LAG are as the replica says, every second; LAG is how long a task has kept the event loop from anything
    else. PID is the one that the replica sees, which in a container is the container's.
    """
    from samovar.cli import get as command

    command.replicas(command.Wanted(pool=pool), endpoint, output, watch)


@click.command("logs", short_help="Show what the tasks of a run have printed.")
@click.argument("target", metavar="RUN|ACTION", shell_complete=complete_run)
@click.option("--action", default="", metavar="ACTION", help="Of this action: its id, or its number in the run.")
@TASK
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option(
    "--tail", type=click.IntRange(0), default=None, metavar="N", help="Only the last N lines, and what follows."
)
@click.option("--timestamps", is_flag=True, help="With the time of each line.")
@TEXT_OUTPUT
@ENDPOINT
def logs(target: str, action: str, task: str, tail: int | None, endpoint: str, **shown: Any) -> None:
    """Show what the tasks of a run have printed and logged: of a whole run, or of one action.

    An action is named by its id, which is looked for in the newest runs, or as the lines name it: RUN-NUMBER. JSON is
    an object a line. What code prints while it is imported is in the log of the service.
    """
    from samovar.cli import logs as command

    command.logs(target, action, task, tail, endpoint, command.Shown(**shown))


# by hand


@click.command("abort", short_help="Abort a run of the service, or one action of it.")
@RUN
@click.option("--action", default="", metavar="ACTION", help="Only this action: its id, or its number in the run.")
@click.option("--reason", default="aborted by hand", show_default=True, help="What the record says of it.")
@ENDPOINT
def abort(run: str, action: str, reason: str, endpoint: str) -> None:
    """Abort RUN, whoever has started it, or one action of it, with everything below it.

    Whoever waits for an action that is aborted gets an ActionAbortedError, and may go on without it.
    """
    from samovar.cli import control as command

    command.abort(run, action, reason, endpoint)


@click.group("pool", short_help="Scale, drain or stop a pool.")
def pool() -> None:
    """Scale, drain or stop a pool.

    POOL is a pool's name, the beginning of it, or the name of its environment where only one pool has it.
    """


@pool.command("scale", short_help="Set how many replicas POOL has.")
@POOL_ARGUMENT
@click.option("--replicas", required=True, metavar="MIN[,MAX]", help="How many replicas it has at least and at most.")
@ENDPOINT
def scale(pool: str, replicas: str, endpoint: str) -> None:
    """Set how many replicas POOL has at least and at most.

    The last word is in force: this holds for all scripts that use the pool, until one comes whose own settings have
    changed meanwhile, or until the pool is forgotten or the service ends. A pool that sleeps sleeps on until it has
    work.
    """
    from samovar.cli import control as command

    command.change(pool, "scale", endpoint, *command.range_of(replicas))


@pool.command("drain", short_help="Let POOL finish what it has, and end it.")
@POOL_ARGUMENT
@ENDPOINT
def drain(pool: str, endpoint: str) -> None:
    """Let POOL finish what runs and what waits, and then stop its replicas.

    When it has been empty for its idle_ttl it is forgotten. Whoever calls its tasks again opens it again.
    """
    from samovar.cli import control as command

    command.change(pool, "drain", endpoint)


@pool.command("stop", short_help="End the replicas of POOL now.")
@POOL_ARGUMENT
@ENDPOINT
def stop_pool(pool: str, endpoint: str) -> None:
    """End the replicas of POOL now. What ran on them is queued again, and runs on fresh replicas.

    No `retries` are spent and nothing is blamed. A pool that has no work sleeps until it has some.
    """
    from samovar.cli import control as command

    command.change(pool, "stop", endpoint)
