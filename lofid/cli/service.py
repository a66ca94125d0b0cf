"""``lofid service``: the daemon under systemd, as a service of the user or of the system."""

from typing import Annotated

import typer

from lofid.cli._from_here import named_from_here, output_from_here
from lofid.cli._station import PresetOption
from lofid.cli._terminal import ERR, OUT, JsonOption, print_json
from lofid.daemon.units import Service, options_file

app = typer.Typer(
    help="Run the daemon under systemd: never stopped, taken up again after a crash.",
    no_args_is_help=True,
)

NOT_RUNNING = 3
"""Exit code of ``status`` where the service does not run, as the LSB asks of init scripts."""

SystemOption = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="NAME",
        help="A service of the system that plays the session NAME, instead of one of yours.",
    ),
]


@app.command()
def install(
    system: SystemOption = None,
    preset: PresetOption = "",
    output: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help="Where the music goes, repeatable: as for serve."),
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Also start it: now, and at every start.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--print", help="Print what would be written, and write nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write the unit, with the lofid of this environment in it.

    [dim]Examples:[/dim]

    lofid service install --output device --preset rain --now

    sudo lofid service install --system lobby --output device --now
    """
    service = _service(system)
    options = _options(preset, output or [])
    told = {
        "unit": service.unit,
        "file": str(service.path),
        "options_file": str(service.options),
        "options": options,
    }
    if show and json:
        print_json({**told, "written": False, "started": False})
        return
    if show:
        OUT.out(f"# {service.path}\n{service.text()}\n# {service.options}", highlight=False)
        OUT.out(options_file(options), end="", highlight=False)
        return
    service.install(options)
    ERR.print(f"Wrote {service.path} and {service.options}.", soft_wrap=True, highlight=False)
    if now:
        service.start()
        ERR.print(f"{service.unit} plays.", highlight=False)
    else:
        control = "sudo systemctl" if service.system else "systemctl --user"
        ERR.print(f"Start it: {control} enable --now {service.unit}", highlight=False)
    if not service.system:
        ERR.print("It ends when you log out; to keep it: loginctl enable-linger", highlight=False)
    if json:
        print_json({**told, "written": True, "started": now})


@app.command()
def uninstall(system: SystemOption = None) -> None:
    """Stop the service and take its files away; the music's state stays."""
    service = _service(system)
    service.uninstall()
    ERR.print(f"{service.unit} is gone.", highlight=False)


@app.command()
def status(system: SystemOption = None, json: JsonOption = False) -> None:
    """Say what systemd knows of it; exit code 3 where it does not run."""
    service = _service(system)
    told = service.status()
    if json:
        print_json({"unit": service.unit, **told})
    elif not told["loaded"]:
        OUT.print(f"{service.unit} is not installed.", highlight=False)
    else:
        for name, value in told.items():
            if value is not None:
                OUT.out(f"{name.replace('_', ' '):13} {value}", highlight=False)
    if told["active"] != "active":
        raise typer.Exit(NOT_RUNNING)


def _service(system: str | None) -> Service:
    return Service.of_user() if system is None else Service.of_system(system)


def _options(preset: str, outputs: list[str]) -> list[str]:
    """Options of ``lofid serve``; raises LofidError for a preset or an output that is none."""
    from lofid.compose.preset import load_preset
    from lofid.outputs import parse

    options = []
    if preset:
        load_preset(preset)
        options += ["--preset", named_from_here(preset)]
    for output in outputs:
        parse(output)
        options += ["--output", output_from_here(output)]
    return options
