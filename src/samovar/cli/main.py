"""The ``samovar`` command: its group, its version, its subcommands.

Only click is imported here. What a subcommand needs is imported when it runs, because ``--help`` and
completion should not pay for an engine.
"""

from __future__ import annotations

import sys

import samovar

try:
    import click

    from samovar.cli.commands import abort, get, logs, pool, serve, start, status, stop, token
    from samovar.cli.params import ENDPOINT, RESULT, RUN
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
    """Run Flyte-style tasks on pools of warm replicas: containers, or processes."""


@cli.command(
    "run",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
    short_help="Run a task of a Python file.",
    options_metavar="[RUN-OPTIONS]",
)
@RESULT
@click.option(
    "--driver",
    type=click.Choice(["auto", "process", "container"]),
    default=None,
    help="What replicas are: processes, containers of Podman or Docker, or what each image needs (auto).  "
    "[default: SAMOVAR_DRIVER, the config file, auto]",
)
@ENDPOINT
@click.option("-d", "--detach", is_flag=True, help="Leave the run to the service, and print its name.")
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
@click.option("--web", is_flag=True, help="Show the dashboard of an engine of its own, for as long as the run goes.")
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
    task failed, 2 for bad input, 130 after Ctrl-C (it aborts the run, and stops every replica of an engine of its
    own; a second one does not wait).

    With --detach the run is the service's: its name goes to stdout, and `samovar attach`, `samovar logs -f` and
    `samovar abort` take it.
    """
    from samovar.cli import run as command  # only here: keep `samovar --help` light

    command.run_command(context, file, rest, command.RunOptions.of(options))


@cli.command("attach", short_help="Show a run of the service until it ends, and its result.")
@ENDPOINT
@RESULT
@click.option("--no-progress", is_flag=True, help="No display of pools and no progress lines.")
@click.option("--log/--no-log", default=True, show_default=True, help="Show what tasks print from now on, on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Only the result and errors: no progress, no logs.")
@click.option(
    "--code", default="", metavar="FILE", help="The Python file of the run, where its result is of a class of its own."
)
@RUN
@click.pass_context
def attach(context: click.Context, /, run: str, code: str, **options: object) -> None:
    """Show RUN as `samovar run` does, whoever has started it. What it has printed so far is in `samovar logs RUN`.

    Of a run that has ended already the result, or the error, comes at once. Exit status: 0, 1 if the task failed or
    there is no such run, 130 after Ctrl-C, which leaves the run as it is.
    """
    from samovar.cli import attach as command  # only here: keep `samovar --help` light

    command.attach_command(context, run, code, options)


@cli.group("images", short_help="Build, list and remove the images of containers.")
def images() -> None:
    """Build, list and remove the images that containers start from.

    An image is built when a run needs it; these commands build it ahead, show what there is, and free the disk.
    They talk to Podman or Docker on this machine: SAMOVAR_CONTAINER_SOCKET says where, if it is not the usual place.
    Exit status: 0, 1 if it failed, 2 for bad input.
    """


@images.command("ls", short_help="List samovar's images.")
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


@images.command("prune", short_help="Remove images that no container uses.")
@click.option("-a", "--all", "bases", is_flag=True, help="Also the bases that images are made from.")
def prune_images(bases: bool) -> None:
    """Remove samovar's images that no container uses, and what failed builds have left."""
    from samovar.cli import images as command

    command.prune_images(bases)


@cli.command("completion", short_help="Print the script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what lets SHELL complete commands, options, and the names of runs and pools.

    \b
    bash:  eval "$(samovar completion bash)"        in ~/.bashrc
    zsh:   eval "$(samovar completion zsh)"         in ~/.zshrc, after compinit
    fish:  samovar completion fish > ~/.config/fish/completions/samovar.fish
    """
    from click.shell_completion import get_completion_class  # only here: nothing else needs it

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "samovar", "_SAMOVAR_COMPLETE").source())


for command in (serve, start, stop, status, token, get, logs, abort, pool):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script and of ``python -m samovar``; ends in SystemExit."""
    cli.main(args=arguments, prog_name="samovar")


if __name__ == "__main__":
    main()
