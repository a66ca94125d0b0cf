"""``lofid bench``: how fast lofid is on this machine, beside what one would run otherwise."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lofid.cli._terminal import ERR, JsonOption
from lofid.errors import LofidError
from lofid.processes import INTERRUPTED

if TYPE_CHECKING:
    from lofid.judge.figures import Figure
    from lofid.rwkv.weights import Model


class Measurement(StrEnum):
    """What can be measured by itself."""

    ENGINES = "engines"
    START = "start"
    PRECISION = "precision"
    LONG = "long"
    ALL = "all"


class Models(StrEnum):
    """The models that engines run: those that come with lofid, or random ones of a size."""

    SHIPPED = "shipped"
    POCKET = "pocket"
    STUDIO = "studio"


_USUAL = (Measurement.ENGINES, Measurement.START, Measurement.PRECISION)


def bench(
    what: Annotated[
        list[Measurement] | None,
        typer.Argument(help="What to measure. Default: engines start precision."),
    ] = None,
    config: Annotated[
        Models, typer.Option("--config", help="Models to run: random ones but for 'shipped'.")
    ] = Models.SHIPPED,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Turns of each engine, a second each.")
    ] = 12,
    bars: Annotated[int, typer.Option("--bars", min=200, help="Length of the long run.")] = 10_000,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of the archives: also compare held-out losses."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Also draw the engines: FILE.png.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the figures there.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure lofid on this machine, beside PyPI's rwkv, plain torch and the memory's floor.

    [dim]Examples:[/dim]

    lofid bench

    lofid bench engines --config studio --plot engines.png

    lofid bench all --markdown figures.md
    """
    try:
        import psutil  # noqa: F401 - what the figures and processes are measured with
    except ModuleNotFoundError as error:
        raise LofidError(
            "Measuring needs psutil; install it with: pip install 'lofid[report]'."
        ) from error
    from lofid.judge import bench_engine
    from lofid.judge.figures import publish

    chosen = what or _USUAL
    if Measurement.ALL in chosen:
        chosen = [one for one in Measurement if one is not Measurement.ALL]
    if data and (Measurement.PRECISION not in chosen or config is not Models.SHIPPED):
        raise LofidError(
            "--data compares losses of the models that come with lofid; measure 'precision' "
            "without --config."
        )
    if plot and Measurement.ENGINES not in chosen:
        raise LofidError("--plot draws the engines, but they are not measured; add 'engines'.")
    try:
        with (
            Progress(
                TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
                console=ERR, transient=True,
            ) as bar,
        ):  # fmt: skip
            models = (
                bench_engine.shipped_pair()
                if config is Models.SHIPPED
                else bench_engine.random_pair(config)
            )
            bench_of = _Bench(models, config, rounds, bars, data, plot, bar)
            figures = [figure for one in chosen for figure in bench_of.measure(one)]
    except KeyboardInterrupt:
        ERR.print("Interrupted: nothing was kept.")
        raise typer.Exit(INTERRUPTED) from None
    for remark in bench_of.remarks:
        ERR.print(remark)
    publish(figures, "Benchmark", as_json=json, markdown=markdown)


class _Bench:
    """The measurements by name, with what they share."""

    def __init__(
        self,
        models: "tuple[Model, ...]",
        config: Models,
        rounds: int,
        bars: int,
        data: Path | None,
        plot: Path | None,
        bar: Progress,
    ) -> None:
        self.remarks: list[str] = []
        self._models, self._config = models, config
        self._rounds, self._bars = rounds, bars
        self._data, self._plot, self._bar = data, plot, bar

    def measure(self, what: Measurement) -> "list[Figure]":
        """The figures of one measurement."""
        from lofid.judge import bench_engine
        from lofid.rwkv.choice import EngineName, open_engine

        task = self._bar.add_task(f"{what} ...", total=1.0)

        def progress(doing: str, done: float) -> None:
            self._bar.update(task, description=f"{what}: {doing}", completed=done)

        models = self._models
        measurements: dict[Measurement, Callable[[], list[Figure]]] = {
            Measurement.ENGINES: lambda: self._engines(progress),
            Measurement.START: lambda: bench_engine.start_up(models),
            Measurement.PRECISION: lambda: (
                bench_engine.precision(models)
                + (bench_engine.held_out(models, self._data) if self._data else [])
            ),
            Measurement.LONG: lambda: bench_engine.long_run(
                open_engine(EngineName.CPU, models[0]), self._bars, progress
            ),
        }
        figures = measurements[what]()
        self._bar.remove_task(task)
        return figures

    def _engines(self, progress: Callable[[str, float], None]) -> "list[Figure]":
        from lofid.judge import bench_engine

        everyone, self.remarks = bench_engine.contestants(self._models)
        bench_engine.compete(everyone, self._rounds, progress)
        if self._plot:
            from lofid.judge.pictures import bench_picture

            bench_picture({one.name: one.summary for one in everyone}, self._plot)
        return bench_engine.engine_figures(everyone, studio=self._config is Models.STUDIO)
