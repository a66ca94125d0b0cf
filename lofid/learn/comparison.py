"""RWKV and its forerunners beside each other: loss, speed and memory by length, repetition.

Every network reads token by token on one thread, in float32 torch (RWKV with its compiled scan, as
the others have torch's own kernels), so that the table compares networks; how fast RWKV is on our
engine stands beside it. All are asked for the same bars (the headers of the held-out stream), and
write them under the grammar.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lofid.learn.forerunners import Gpt, Recurrent
from lofid.learn.sequences import Corpus, TokenStream
from lofid.rwkv.engine import Engine
from lofid.rwkv.reference import Rwkv6, zero_state
from lofid.rwkv.state import ModelState
from lofid.tokens import drums, keys
from lofid.tokens.grammar import Grammar, Phase

TEMPERATURE = 0.95
LONGEST_BAR = 120
"""Events after which a bar is ended."""
NEAR = 8
"""A bar repeats if one of so many bars before it has the same events."""
SHORT, LONG = 1_000, 10_000
"""Tokens generated, at which speed and memory are measured."""

_SPAN = 500  # tokens up to each of them, over which speed is measured


class Reader(Protocol):
    """One stream of music through a network, token by token."""

    def read(self, token: int) -> NDArray[np.float32]:
        """The logits [vocabulary] after one more token; they may be overwritten by the next."""
        ...

    @property
    def bytes(self) -> int:
        """What it remembers of all tokens so far."""
        ...


class _CarryingReader:
    """RWKV, an RNN or an LSTM: a state of constant size."""

    def __init__(self, model: Rwkv6 | Recurrent) -> None:
        self._model = model
        device = torch.device("cpu")
        self._state: tuple[Tensor, ...] = (
            zero_state(model.config, 1)
            if isinstance(model, Rwkv6)
            else model.empty_state(1, device)
        )

    def read(self, token: int) -> NDArray[np.float32]:
        logits, self._state = self._model(torch.tensor([[token]]), self._state)
        row: NDArray[np.float32] = logits[0, 0].numpy()
        return row

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for part in self._state)


class _CachingReader:
    """The GPT: keys and values of what lies in its context; if full, half of it is read again."""

    def __init__(self, model: Gpt) -> None:
        self._model = model
        self._seen: list[int] = []
        self._cache: list[Tensor] | None = None

    def read(self, token: int) -> NDArray[np.float32]:
        self._seen.append(token)
        if self._cache is not None and len(self._seen) > self._model.config.context:
            self._seen = self._seen[-(self._model.config.context // 2) :]
            self._cache = None
        new = self._seen if self._cache is None else [token]
        logits, self._cache = self._model.seen(torch.tensor([new]), self._cache)
        row: NDArray[np.float32] = logits[0, -1].numpy()
        return row

    @property
    def bytes(self) -> int:
        return sum(layer.nbytes for layer in self._cache or [])


class EngineReader:
    """RWKV on an engine of ours."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state = ModelState.zero(engine.config)

    def read(self, token: int) -> NDArray[np.float32]:
        """The logits [vocabulary] after one more token."""
        return self._engine.forward([token], self._state)

    @property
    def bytes(self) -> int:
        """The state's size."""
        state = self._state
        return state.att_shift.nbytes + state.ffn_shift.nbytes + state.wkv.nbytes


def reader(model: nn.Module) -> Reader:
    """A network before its first token."""
    model.eval()
    if isinstance(model, Gpt):
        return _CachingReader(model)
    assert isinstance(model, Rwkv6 | Recurrent)
    return _CarryingReader(model)


def bars(stream: TokenStream) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Header and events of each bar of a stream."""
    event = stream.is_event
    begins = np.flatnonzero(np.diff(event.astype(np.int8), prepend=1) == -1)
    for begin, end in zip(begins, [*begins[1:], len(event)], strict=True):
        middle = begin + int(np.argmax(event[begin:end]))
        yield (
            tuple(map(int, stream.tokens[begin:middle])),
            tuple(map(int, stream.tokens[middle:end])),
        )


def repetition(written: list[tuple[int, ...]]) -> float:
    """Share of bars with the very events of one of the ``NEAR`` bars before them."""
    return float(np.mean([bar in written[max(0, n - NEAR) : n] for n, bar in enumerate(written)]))


@dataclass(frozen=True, slots=True)
class Generated:
    """What a network did: speed in tokens/s and memory in bytes at both lengths, repetition."""

    short_speed: float
    long_speed: float
    short_bytes: int
    long_bytes: int
    repetition: float


@torch.no_grad()
def generate(music: Reader, corpus: Corpus, seed: int, long: int = LONG) -> Generated:
    """Write bars until ``long`` tokens were read; ``SHORT`` of them are the short length."""
    grammars: tuple[Grammar, ...] = (keys.GRAMMAR, drums.GRAMMAR)
    grammar = grammars[corpus.vocabulary is drums.VOCABULARY]
    rng = Generator(Philox(key=[seed, 0]))
    took: list[float] = []
    memory: list[int] = []
    written: list[tuple[int, ...]] = []

    def read(token: int) -> NDArray[np.float64]:
        begin = time.perf_counter()
        logits = music.read(token)
        took.append(time.perf_counter() - begin)
        memory.append(music.bytes)
        return logits.astype(np.float64)

    asked = [header for header, _ in bars(corpus.reported)]
    while len(took) < long:
        logits = np.empty(0)
        for token in asked[len(written) % len(asked)]:
            logits = read(token)
        state, events = grammar.start, list[int]()
        while state.phase is not Phase.CLOSED:
            scores = np.where(grammar.mask(state), logits / TEMPERATURE, -np.inf)
            shares = np.exp(scores - scores.max())
            token = int(rng.choice(len(shares), p=shares / shares.sum()))
            if len(events) >= LONGEST_BAR and grammar.mask(state)[grammar.end]:
                token = grammar.end
            state = grammar.advance(state, token)
            events.append(token)
            logits = read(token)
        written.append(tuple(events))

    def speed(length: int) -> float:
        return 1 / float(np.median(took[max(0, length - _SPAN) : length]))

    return Generated(
        speed(SHORT), speed(long), max(memory[:SHORT]), max(memory[:long]), repetition(written)
    )


@torch.no_grad()
def windowed_loss(model: Gpt, stream: TokenStream) -> float:
    """Held-out loss of a GPT in nats a note, each token seen behind half a context at least.

    In the training loop its tokens see half a context on average, and those after a cut nothing:
    for a figure to compare with networks that carry a state, that would not be fair.
    """
    context = model.config.context
    half = context // 2
    model.eval()
    total = 0.0
    tokens = torch.from_numpy(stream.tokens.astype(np.int64))
    event = torch.from_numpy(np.array(stream.is_event))
    for begin in range(0, len(tokens) - 1, half):
        piece = tokens[begin : begin + context + 1]
        first = half if begin else 0  # the earlier half was counted with the window before
        logits, _ = model(piece[None, :-1])
        counted = event[begin + 1 : begin + len(piece)][first:]
        losses = functional.cross_entropy(logits[0, first:], piece[1:][first:], reduction="none")
        total += float(losses[counted].sum())
    return total / stream.notes
