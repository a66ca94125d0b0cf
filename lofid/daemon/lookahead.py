"""Rendering far ahead where nobody steers, and taking that back where somebody does.

Large blocks cost less than half of what small ones do, for each begins with cold caches. But what
is turned must be heard at once, and a change of the music on the next bar line. So a large block
ends before the next bar has to be locked, and what of it is not on its way yet can be taken back:
the music stands there as if it had been rendered no further, exactly.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lofid.outputs.output import Block
from lofid.playback.transport import Passage, Standing, Transport
from lofid.sound.studio import BLOCK

FAR = 3 * BLOCK
"""Most frames behind the next block that are rendered with it: 32 ms.

More would save more, but all of it must be rendered before the ring runs dry, which holds 21 ms.
"""


class Lookahead:
    """The passages of a transport, rendered in blocks, handed out in pieces."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._waiting: deque[Passage] = deque()  # rendered, and not handed out yet
        self._saved: Standing | None = None  # the earliest to which the newest can be taken back

    @property
    def waiting(self) -> bool:
        """Whether something was not handed out yet."""
        return bool(self._waiting)

    @property
    def handed(self) -> int:
        """The stream frame up to which everything was handed out."""
        return self._waiting[0].block.frame if self._waiting else self._transport.frame

    def render(self, frames: int, far: int) -> Passage:
        """The next ``frames`` and, where nothing is decided in them, up to ``far`` more."""
        passage = self._transport.block(frames)
        further = self._transport.steady(far) if far else 0
        self._saved = self._transport.save() if further else None
        if further:
            passage = _joined(passage, self._transport.block(further))
        else:
            self._transport.forget()
        self._waiting.append(passage)
        return passage

    def pieces(self, until: int) -> Iterator[Passage]:
        """What was not handed out yet, up to a stream frame."""
        while self._waiting and self._waiting[0].block.frame < until:
            first = self._waiting.popleft()
            head, rest = cut(first, until - first.block.frame)
            if rest is not None:
                self._waiting.appendleft(rest)
            yield head

    @property
    def room(self) -> int:
        """Frames that can be taken back."""
        if self._saved is None:
            return 0
        return max(0, self._transport.frame - max(self._saved.frame, self.handed))

    def take_back(self, frames: int) -> None:
        """Go back by frames, at most ``room``, a multiple of ``BLOCK``."""
        if self._saved is None or not frames:
            return
        kept = self._transport.frame - frames
        self._transport.restore(self._saved)
        if kept > self._saved.frame:
            self._transport.block(kept - self._saved.frame)
        self._saved = None
        last = self._waiting.pop()
        if kept > last.block.frame:
            self._waiting.append(cut(last, kept - last.block.frame)[0])


def cut(passage: Passage, frames: int) -> tuple[Passage, Passage | None]:
    """The first frames of a passage, and the rest of it if there is one."""
    block = passage.block
    if frames >= len(block.audio):
        return passage, None
    first, last = block.cut(frames)
    head = replace(
        passage,
        block=first,
        stems={stem: audio[:frames] for stem, audio in passage.stems.items()},
        lines=tuple(line for line in passage.lines if line.frame < last.frame),
    )
    rest = Passage(
        last,
        {stem: audio[frames:] for stem, audio in passage.stems.items()},
        (),
        tuple(line for line in passage.lines if line.frame >= last.frame),
    )
    return head, rest


def _joined(one: Passage, two: Passage) -> Passage:
    first, second = one.block, two.block
    return replace(
        one,
        block=Block(
            first.frame,
            np.concatenate((first.audio, second.audio)),
            first.events + second.events,
            first.lines + second.lines,
        ),
        stems={stem: np.concatenate((one.stems[stem], two.stems[stem])) for stem in one.stems},
        lines=one.lines + two.lines,
    )
