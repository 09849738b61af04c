"""The ``samovar`` command: its group, its version, its subcommands.

Only click is imported here. What a subcommand needs is imported when it runs, because ``--help`` and
completion should not pay for an engine.
"""

from __future__ import annotations

import sys

import samovar

try:
    import click
except ModuleNotFoundError as missing:  # the base install is for user images and has no command
    raise SystemExit("samovar's command needs more than the base install: pip install 'samovar[engine]'") from missing


def _version(context: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    click.echo(f"samovar {samovar.__version__}, Python {sys.version.split()[0]}")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Run Flyte-style tasks on pools of warm processes."""


def _without_token(_context: click.Context, _param: click.Parameter, value: str) -> str:
    if value.startswith("samovar:") and "@" in value:
        raise click.BadParameter(
            "a token on a command line can be seen by everybody on this machine: put the endpoint into "
            "SAMOVAR_ENDPOINT or the config file, or the token alone into SAMOVAR_ACCESS_TOKEN"
        )
    return value


ENDPOINT = click.option(
    "--endpoint",
    default="",
    metavar="ENDPOINT",
    callback=_without_token,
    help="The service to use: the path of its Unix socket, samovar://HOST:PORT#FINGERPRINT, or none.  "
    "[default: SAMOVAR_ENDPOINT, the config file, the service of this user where it runs]",
)


@cli.command(
    "run",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
    short_help="Run a task of a Python file.",
    options_metavar="[RUN-OPTIONS]",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the result is written to stdout; json: the outputs alone.",
)
@click.option(
    "--driver",
    type=click.Choice(["auto", "process", "container"]),
    default=None,
    help="What replicas are: processes, containers of Podman or Docker, or what each image needs (auto).  "
    "[default: SAMOVAR_DRIVER, the config file, auto]",
)
@ENDPOINT
@click.option(
    "--copy-style",
    type=click.Choice(["loaded_modules", "all", "none"]),
    default=None,
    help="Which code a service gets: the user's modules that FILE has loaded and what environments include, every file "
    "of the project, or none: it uses the files where they lie.  [default: loaded_modules]",
)
@click.option("--name", default="", help="Name of the run; chosen where it is not given.")
@click.option(
    "--context",
    "context_items",
    multiple=True,
    metavar="KEY=VALUE",
    help="An entry of the run's custom context; may be repeated.",
)
@click.option("--no-cache", is_flag=True, help="Run cached tasks too, and keep nothing of them.")
@click.option("--overwrite-cache", is_flag=True, help="Run cached tasks too, and keep the new results.")
@click.option("--no-progress", is_flag=True, help="No display of pools and no progress lines.")
@click.option("--log/--no-log", default=True, show_default=True, help="Show what tasks print and log, on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Only the result and errors: no progress, no logs.")
@click.argument("file", metavar="FILE")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="TASK [--PARAMETER VALUE ...]")
@click.pass_context
def run(
    context: click.Context,
    /,
    file: str,
    rest: tuple[str, ...],
    **options: object,
) -> None:
    """Run TASK of the Python file FILE.

    `samovar run FILE --help` lists the tasks of FILE, `samovar run FILE TASK --help` shows the parameters of
    TASK with their types and defaults. In FILE, `import flyte` gives samovar.

    The result goes to stdout; progress, the logs of tasks and errors go to stderr. Exit status: 0, 1 if the
    task failed, 2 for bad input, 130 after Ctrl-C (it aborts the run and stops every replica; a second one
    does not wait).
    """
    from samovar.cli import run as command  # only here: keep `samovar --help` light

    command.run_command(context, file, rest, command.RunOptions.of(options))


@cli.group("images", short_help="Build, list and remove the images of containers.")
def images() -> None:
    """Build, list and remove the images that containers start from.

    An image is built when a run needs it; these commands build it ahead, show what there is, and free the disk.
    They talk to Podman or Docker on this machine: SAMOVAR_CONTAINER_SOCKET says where, if it is not the usual place.
    Exit status: 0, 1 if it failed, 2 for bad input.
    """


@images.command("ls")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="A table, or JSON."
)
def list_images(output: str) -> None:
    """List samovar's images, the newest first, and how many containers use each."""
    from samovar.cli import images as command  # only here, as for `run`

    command.list_images(output)


@images.command("build")
@click.option("-q", "--quiet", is_flag=True, help="No progress: only the tags, and errors.")
@click.argument("file", metavar="FILE")
def build_images(file: str, quiet: bool) -> None:
    """Build the images of all task environments in the Python file FILE.

    The tags go to stdout, one a line, and progress to stderr. An image that is there already is not built again.
    """
    from samovar.cli import images as command

    command.build_images(file, quiet)


@images.command("rm")
@click.option("-f", "--force", is_flag=True, help="Also images that containers use; it ends the containers.")
@click.argument("references", metavar="IMAGE...", nargs=-1, required=True)
def remove_images(references: tuple[str, ...], force: bool) -> None:
    """Remove images, by tag or by the beginning of an id. Only samovar's own are removed."""
    from samovar.cli import images as command

    command.remove_images(references, force)


@images.command("prune")
@click.option("-a", "--all", "bases", is_flag=True, help="Also the bases that images are made from.")
def prune_images(bases: bool) -> None:
    """Remove samovar's images that no container uses, and what failed builds have left."""
    from samovar.cli import images as command

    command.prune_images(bases)


DRIVER = click.option(
    "--driver",
    type=click.Choice(["auto", "process", "container"]),
    default=None,
    help="What replicas are.  [default: SAMOVAR_DRIVER, the config file, auto]",
)


LISTEN = click.option(
    "--listen",
    default="",
    metavar="HOST:PORT",
    help="Take clients of other hosts there, with TLS and tokens; see `samovar token`.  "
    "[default: SAMOVAR_LISTEN, the config file, nowhere]",
)
TLS_CERT = click.option(
    "--tls-cert", default="", metavar="FILE", help="The certificate, as PEM; else one is made once."
)
TLS_KEY = click.option("--tls-key", default="", metavar="FILE", help="Its key, as PEM.")


@cli.command("serve", short_help="Keep pools for the scripts of this user, in the foreground.")
@DRIVER
@LISTEN
@TLS_CERT
@TLS_KEY
def serve(driver: str | None, **entrance: str) -> None:
    """Keep pools for all scripts and commands of this user on this machine, until Ctrl-C or SIGTERM.

    While it runs, `samovar run` and scripts use its pools, which stay warm between them. What runs when it is told to
    end has 10 seconds; a second signal does not wait.
    """
    from samovar.cli import service  # only here and below: keep `samovar --help` light

    service.serve(driver or "", entrance)


@cli.command("start", short_help="The same in the background.")
@DRIVER
@LISTEN
@TLS_CERT
@TLS_KEY
def start(driver: str | None, **entrance: str) -> None:
    """Start the service of `samovar serve` in the background, if it does not run."""
    from samovar.cli import service

    service.start(driver or "", entrance)


@cli.command("stop", short_help="End the service.")
@click.option("--grace", default=10.0, show_default=True, help="Seconds that what runs has to end; then it is aborted.")
def stop(grace: float) -> None:
    """End the service, and with it its pools."""
    from samovar.cli import service

    service.stop(grace)


@cli.command("status", short_help="Show whether the service runs, and its pools.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@ENDPOINT
@click.pass_context
def status(context: click.Context, output: str, endpoint: str) -> None:
    """Show whether the service runs, and its pools. Exit status: 0, or 3 where none runs."""
    from samovar.cli import service

    service.status(context, output, endpoint)


@cli.group("token", invoke_without_command=True, short_help="Make, list and revoke tokens for clients of other hosts.")
@click.option("--name", default="", help="Who it is for; names a token in lists.  [default: a number]")
@click.option(
    "--expires", default="90d", show_default=True, metavar="TIME", help="When it ends: 12h, 30d, 2w from now, or never."
)
@click.option(
    "--address", default="", metavar="HOST[:PORT]", help="How other hosts reach the service, if not as it says."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def token(context: click.Context, name: str, expires: str, address: str, output: str) -> None:
    """Make a token, and print the endpoint for whoever is to have it, this once.

    Whoever has a token can run code as the user of the service. On the other host the endpoint goes into the
    environment variable SAMOVAR_ENDPOINT, or into ~/.config/samovar/config.toml as endpoint = "...".
    """
    from samovar.cli import token as command  # only here and below: keep `samovar --help` light

    if context.invoked_subcommand is None:
        command.make(name, expires, address, output)


@token.command("list")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def list_tokens(output: str) -> None:
    """List the tokens by name, with when they end; never the tokens themselves."""
    from samovar.cli import token as command

    command.show(output)


@token.command("revoke")
@click.argument("name", metavar="NAME")
def revoke_token(name: str) -> None:
    """Revoke the token NAME. A service that runs ends its connections at once; runs that it has started go on."""
    from samovar.cli import token as command

    command.revoke(name)


PHASES = click.Choice(["running", "succeeded", "failed", "aborted", "timed_out"])
OUTPUT = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
LIMIT = click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
TASK = click.option("--task", default="", help="Of this task, as environment.function.")


@cli.group("get")
def get() -> None:
    """Show runs and actions that the service has written down."""


@get.command("runs")
@click.option("--phase", type=PHASES, default=None, help="In this phase.")
@TASK
@LIMIT
@OUTPUT
def get_runs(phase: str | None, task: str, limit: int, output: str) -> None:
    """List runs, the newest first."""
    from samovar.cli import get as command  # only here and below: keep `samovar --help` light

    command.runs(phase, task, limit, output)


@get.command("actions")
@click.argument("run", metavar="RUN")
@click.option("--phase", type=PHASES, default=None, help="In this phase.")
@TASK
@LIMIT
@OUTPUT
def get_actions(run: str, phase: str | None, task: str, limit: int, output: str) -> None:
    """List the actions of RUN that have ended, the newest first: where their time went, and what failed."""
    from samovar.cli import get as command

    command.actions(run, phase, task, limit, output)


@cli.command("abort", short_help="Abort a run of the service.")
@click.argument("run", metavar="RUN")
@click.option("--reason", default="aborted by hand", show_default=True)
def abort(run: str, reason: str) -> None:
    """Abort RUN, whoever has started it, with everything below it."""
    from samovar.cli import get as command

    command.abort(run, reason)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script and of ``python -m samovar``; ends in SystemExit."""
    cli.main(args=arguments, prog_name="samovar")


if __name__ == "__main__":
    main()
