"""From a station's bars to audio in outputs; shared by the commands that sound."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from lofid.errors import LofidError
from lofid.music.plan import Bar
from lofid.outputs import Output, open_output

if TYPE_CHECKING:
    from lofid.sound.studio import Rendered, Studio


@contextmanager
def opened_outputs(specs: Sequence[str], *, keep: bool) -> Iterator[list[Output]]:
    """The outputs of these specs, opened; closed when all went well.

    Where something was raised they are aborted or, with ``keep``, closed all the same, each
    whatever becomes of the others: the recording of a stream is whole wherever it ends.
    """
    outputs: list[Output] = []
    with ExitStack() as opening:
        for spec in specs:
            outputs.append(open_output(spec))
            opening.callback(outputs[-1].abort)
        opening.pop_all()
    errors: list[BaseException] = []
    try:
        yield outputs
    except BaseException as error:
        errors.append(error)
    for output in outputs:
        if errors and not keep:
            output.abort()
            continue
        try:
            output.close()
        except LofidError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def rendered_bars(bars: Iterable[Bar], studio: "Studio") -> Iterator[tuple[Bar | None, "Rendered"]]:
    """Each bar with its audio and, once the bars end, what still rings (None)."""
    for bar in bars:
        yield bar, studio.render(bar)
    yield None, studio.finish()
