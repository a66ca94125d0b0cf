"""Outputs for as long as a command needs them; shared by the commands that sound."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from lofid.errors import LofidError
from lofid.outputs import Output, open_output


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
