"""Outputs for as long as a command needs them; shared by the commands that sound."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from lofid.cli._terminal import remark
from lofid.errors import LofidError
from lofid.music.parameters import Settings
from lofid.outputs import Output


@contextmanager
def opened_outputs(
    unopened: Sequence[Output], settings: Settings, *, keep: bool
) -> Iterator[list[Output]]:
    """These outputs, opened; closed when all went well.

    The first one that can keeps the time, and takes its time: nobody steers here.

    Where something was raised they are aborted or, with ``keep``, closed all the same, each
    whatever becomes of the others: the recording of a stream is whole wherever it ends. After
    Ctrl-C, that is so for files alone: no device or port is waited for.
    """
    outputs: list[Output] = []
    with ExitStack() as opening:
        for output in unopened:
            opening.callback(output.abort)
            output.adopt(settings)
            if notice := output.notice():
                remark(notice)
            if output.keeps_time:
                from lofid.outputs.device import STEADY, DeviceOutput

                output.keeps_time = not any(other.keeps_time for other in outputs)
                if isinstance(output, DeviceOutput):
                    output.target = STEADY
            output.open()
            outputs.append(output)
        opening.pop_all()
    errors: list[BaseException] = []
    try:
        yield outputs
    except BaseException as error:
        errors.append(error)
    # Files first, which takes no time: then Ctrl-C cuts off only what does.
    for output in sorted(outputs, key=lambda one: one.comes_back):
        hurried = any(isinstance(error, KeyboardInterrupt) for error in errors)
        if errors and (not keep or (hurried and output.comes_back)):
            output.abort()
            continue
        try:
            output.close()
        except (LofidError, KeyboardInterrupt) as error:
            errors.append(error)
    # What has failed, and what became of what it had written.
    failed = dict.fromkeys(str(error) for error in errors if isinstance(error, LofidError))
    others = [error for error in errors if not isinstance(error, LofidError)]
    if others:
        for sentence in failed:
            remark(sentence)
        raise others[0]
    if failed:
        raise LofidError(" ".join(failed))
