"""Tuning: a trained model takes up the manner of a few pieces, in minutes.

By default only the state before the first token is learned: the weights stay as they are, so
nothing that the model could do is lost. RWKV forgets, and such a state with it: after some twelve
bars nothing is left. So it is added to the memory again at each pass of a loop, when tuning as in
the station (:meth:`lofid.compose.player.Player.reminded`). The memory is linear in what it was
given, so what is added acts as it did at the beginning, beside what was played since.

Other methods change the weights: low-rank additions (:mod:`lofid.learn.lora`), or all of them.

This module knows token streams and models. It must not know MIDI files or commands.
"""

import hashlib
import io
import math
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import torch
from numpy.random import Generator as Random
from numpy.random import Philox
from torch import Tensor, nn
from torch.nn import functional

from lofid.errors import LofidError
from lofid.files import replacing
from lofid.learn.lora import add_low_rank
from lofid.learn.pieces import DrumsPiece, KeysPiece
from lofid.learn.sequences import TokenStream, drums_stream, keys_stream
from lofid.rwkv.reference import Rwkv6, TorchState, parameter_groups, zero_state
from lofid.rwkv.styles import WKV, Method, Style, StyleCard, lora
from lofid.rwkv.weights import Model, Tensors

WINDOW: Final = 8
"""Bars that one gradient reaches over, and after which a tuned state is added again: a long pass of
a loop. Shorter ones, of four bars, remind more often, which does no harm."""

_ROUND_TOKENS = 12_000  # most to learn from between two held-out losses
_ROUND_PASSES = 2  # most passes over the pieces between them
_MOST_HELD_OUT = 12_000  # tokens: enough to tell better from worse
_ACCUMULATED = 4  # windows a step
_EXPECTED_EVENTS = 300  # a window's, so that a long one weighs more
_PATIENCE = 3  # rounds without a better held-out loss, before the rate falls
_DROPS = 2  # falls of the rate, before the end
_DROP = 3.0
_BETTER = 1e-3  # nats a token: less is no better

_RATES = {Method.STATE: 0.3, Method.LORA: 2e-3, Method.FULL: 2e-4}

_Own = TypeVar("_Own", KeysPiece, DrumsPiece)

Draw = Callable[[Random], TokenStream]
"""Draws a variant of a piece: its header fields dropped at random, tempo and loudness moved."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece to learn from: ``name`` decides its side, ``whole`` tells every header field."""

    name: str
    draw: Draw
    whole: TokenStream


@dataclass(frozen=True, slots=True)
class Split:
    """The pieces of a folder, a fifth of them (at least one) kept out of learning."""

    training: tuple[Piece, ...]
    held_out: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class TuningProgress:
    """Where tuning stands; losses in nats an event token, on what was seen and on held-out pieces.

    ``held_out`` is the best so far, ``before`` that of the model as it was. ``checked`` says that
    a round has ended and the held-out loss was measured, ``is_better`` that it is the best so far.
    ``spent`` are seconds of ``budget``, all players'.
    """

    tokens: int
    train: float
    held_out: float
    before: float
    checked: bool = False
    is_better: bool = False
    spent: float = 0.0
    budget: float = 0.0


def split(pieces: Sequence[Piece]) -> Split:
    """Which pieces are held out: those whose hashed names come first, the same in every run.

    Raises :class:`LofidError` for fewer than two pieces.
    """
    if len(pieces) < 2:
        raise LofidError(
            f"Tuning needs at least two pieces, one of them to test with, and here are "
            f"{len(pieces)}; add more files."
        )
    ordered = sorted(pieces, key=lambda piece: _digest(f"lofid-tune-1:{piece.name}"))
    kept = max(1, len(ordered) // 5)
    return Split(tuple(ordered[kept:]), tuple(ordered[:kept]))


def bar_lines(stream: TokenStream) -> list[int]:
    """Where each bar begins (its header's first token), and where the last one ends."""
    events = stream.is_event
    before = np.concatenate((np.ones(1, np.bool_), events[:-1]))
    return [int(line) for line in np.flatnonzero(~events & before)] + [len(events)]


class Learner(Protocol):
    """What a method changes of a model, and how a piece begins under it."""

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Groups for the optimiser; ``scale`` is a group's rate relative to ``rate``."""
        ...

    def begin(self) -> TorchState:
        """The state before a piece, of one stream."""
        ...

    def remind(self, state: TorchState) -> TorchState:
        """The state as a pass of a loop begins with it."""
        ...

    def tensors(self) -> Tensors:
        """What was learned, as a style holds it."""
        ...


class StateLearner:
    """Learns the WKV state before the first token.

    The numbers learned are relative to what trained states hold, ``scale`` [L, 1, H, 64, 1] (root
    mean square of each row): these reach from one to thousands. The two shifts stay zero: they
    act on one token only, and that opens a header.
    """

    def __init__(self, model: Rwkv6, scale: Tensor) -> None:
        model.requires_grad_(False)
        self._zero = zero_state(model.config, 1, scale.device)
        self._scale = scale
        self._share = nn.Parameter(torch.zeros_like(self._zero[2]))

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """The state alone."""
        return [{"params": [self._share], "lr": rate, "weight_decay": 0.0, "scale": 1.0}]

    def begin(self) -> TorchState:
        """The learned state."""
        return self._zero[0], self._zero[1], self._share * self._scale

    def remind(self, state: TorchState) -> TorchState:
        """The learned state added to the memory."""
        return state[0], state[1], state[2] + self._share * self._scale

    def tensors(self) -> Tensors:
        """The state."""
        return {WKV: (self._share * self._scale).detach()[:, 0].cpu().numpy()}


class LoraLearner:
    """Learns low-rank additions to the matrices of all mixes."""

    def __init__(self, model: Rwkv6) -> None:
        self._zero = zero_state(model.config, 1, model.emb.weight.device)
        self._added = add_low_rank(model)

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Both factors of every addition."""
        pairs = [parameter for pair in self._added.values() for parameter in pair]
        return [{"params": pairs, "lr": rate, "weight_decay": 0.0, "scale": 1.0}]

    def begin(self) -> TorchState:
        """The empty state."""
        return self._zero

    def remind(self, state: TorchState) -> TorchState:
        """The state as it is."""
        return state

    def tensors(self) -> Tensors:
        """The factors."""
        found: Tensors = {}
        for name, pair in self._added.items():
            down, up = (factor.detach().cpu().numpy().copy() for factor in pair)
            found |= lora(name, down, up)
        return found


class FullLearner:
    """Learns all weights."""

    def __init__(self, model: Rwkv6) -> None:
        self._model = model
        self._zero = zero_state(model.config, 1, model.emb.weight.device)

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """All parameters, as in training."""
        return parameter_groups(self._model, rate)

    def begin(self) -> TorchState:
        """The empty state."""
        return self._zero

    def remind(self, state: TorchState) -> TorchState:
        """The state as it is."""
        return state

    def tensors(self) -> Tensors:
        """All weights."""
        return {
            name: tensor.detach().float().cpu().numpy().copy()
            for name, tensor in self._model.state_dict().items()
        }


class Tuner:
    """One model learning from one split of pieces; resumable from one round to the next.

    ``checkpoint`` is where it keeps its place; a run found there goes on. ``tensors`` is what was
    best so far, as a style holds it; empty while nothing was better than the model as it was.
    """

    def __init__(
        self,
        model: Model,
        pieces: Split,
        method: Method,
        seed: int,
        checkpoint: Path,
        device: torch.device,
    ) -> None:
        torch.manual_seed(seed)
        self.pieces, self._seed, self._checkpoint = pieces, seed, checkpoint
        self._device = device
        names = [[piece.name for piece in side] for side in (pieces.training, pieces.held_out)]
        self._identity = {
            "method": method.value,
            "seed": seed,
            "model": model.hash,
            "pieces": _digest(repr(names)),
            "code": 2,  # goes up when an older run could not go on
        }
        self.model = Rwkv6(model.card.config).to(device)
        self.model.load_state_dict(
            {name: torch.from_numpy(tensor) for name, tensor in model.tensors.items()}
        )
        whole = sum(len(piece.whole.tokens) for piece in pieces.training)
        self._round = min(_ROUND_TOKENS, _ROUND_PASSES * whole)
        self._held_out = _limited([piece.whole for piece in pieces.held_out])
        self._learner: Learner
        match method:
            case Method.STATE:
                self._learner = StateLearner(self.model, self._typical_rows())
            case Method.LORA:
                self._learner = LoraLearner(self.model)
            case Method.FULL:
                self._learner = FullLearner(self.model)
        rate = _RATES[method]
        self._optimiser = torch.optim.AdamW(self._learner.groups(rate), betas=(0.9, 0.99), eps=1e-8)
        self._taken = self._tokens = self._stale = self._drops = 0
        self.tensors: Tensors = {}
        self._kept = [parameter.detach().clone() for parameter in self._parameters()]
        if checkpoint.exists():
            self._resume()
        else:
            self.before = self.best = self.held_out()

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is to be gained."""
        return self._drops > _DROPS

    def steps(self) -> Iterator[TuningProgress]:
        """Learn to the end; yields after every piece. The checkpoint is kept up round by round."""
        recent: list[float] = []
        while not self.is_finished:
            begun = self._tokens
            while self._tokens - begun < self._round:
                recent.append(self._learn(self._next()))
                train = sum(recent[-50:]) / len(recent[-50:])
                yield TuningProgress(self._tokens, train, self.best, self.before)
            found = self.held_out()
            is_better = found < self.best - _BETTER
            if is_better:
                self.best, self._stale = found, 0
                self.tensors = self._learner.tensors()
                self._kept = [parameter.detach().clone() for parameter in self._parameters()]
            else:
                self._stale += 1
            if self._stale >= _PATIENCE:
                self._fall_back()
            self._save()
            yield TuningProgress(self._tokens, train, self.best, self.before, True, is_better)

    def _next(self) -> TokenStream:
        """A variant of the next piece; order and variants follow from the seed alone."""
        training = self.pieces.training
        turn, place = divmod(self._taken, len(training))
        order = Random(Philox(key=[self._seed, 2 * turn])).permutation(len(training))
        piece = training[order[place]]
        drawn: TokenStream = piece.draw(Random(Philox(key=[self._seed, 2 * self._taken + 1])))
        self._taken += 1
        return drawn

    def _learn(self, stream: TokenStream) -> float:
        """Learn from a piece from its beginning to its end; its loss."""
        total, count, windows = 0.0, 0, 0
        state: TorchState | None = None
        for window in _windows(stream):
            state = self._learner.begin() if state is None else self._learner.remind(state)
            losses, state = _losses(self.model, window, state)
            state = _detached(state)
            (losses.sum() / _EXPECTED_EVENTS).backward()  # type: ignore[no-untyped-call]
            windows += 1
            if windows % _ACCUMULATED == 0:
                self._step()
            total += float(losses.detach().sum())
            count += len(losses)
        if windows % _ACCUMULATED:
            self._step()
        self._tokens += len(stream.tokens)
        mean = total / max(count, 1)
        if not math.isfinite(mean):
            raise LofidError(
                f"The loss became {mean} after {self._tokens} tokens; tune with another method."
            )
        return mean

    def _fall_back(self) -> None:
        """Go on from the best that was, at a lower rate."""
        self._stale = 0
        self._drops += 1
        self.take_back()
        for group in self._optimiser.param_groups:
            group["lr"] /= _DROP

    @torch.no_grad()
    def take_back(self) -> None:
        """Be as it was when the held-out loss was best."""
        for parameter, kept in zip(self._parameters(), self._kept, strict=True):
            parameter.copy_(kept)

    def _parameters(self) -> list[nn.Parameter]:
        """All that is learned."""
        return [p for group in self._optimiser.param_groups for p in group["params"]]

    def _step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def held_out(self) -> float:
        """The loss on the held-out pieces as it stands, nats an event token."""
        bars = self.by_bar()
        return sum(total for total, _ in bars) / max(sum(count for _, count in bars), 1)

    @torch.no_grad()
    def by_bar(self, reminding: bool = True) -> list[tuple[float, int]]:
        """The held-out pieces' losses by bar: their sum, and the number of events.

        The first entry is of all first bars, the next of all second ones, and so on. Without
        ``reminding`` a learned state acts at the beginning alone.
        """
        sums: list[tuple[float, int]] = []
        for stream in self._held_out:
            state = self._learner.begin()
            bar = 0
            for window in _windows(stream):
                if bar and reminding:
                    state = self._learner.remind(state)
                losses, state = _losses(self.model, window, state)
                events = [int(window.is_event[a:b].sum()) for a, b in pairwise(bar_lines(window))]
                for part in torch.split(losses, events):
                    if bar == len(sums):
                        sums.append((0.0, 0))
                    total, count = sums[bar]
                    sums[bar] = total + float(part.sum()), count + len(part)
                    bar += 1
        return sums

    @torch.no_grad()
    def _typical_rows(self) -> Tensor:
        """Root mean square of the rows of the states that the pieces leave [L, 1, H, 64, 1]."""
        squares: list[Tensor] = []
        for piece in self.pieces.training[:8]:
            state = zero_state(self.model.config, 1, self._device)
            for window in _windows(piece.whole):
                _, state = _losses(self.model, window, state)
                squares.append(state[2].square().mean(-1, keepdim=True))
        return torch.stack(squares).mean(0).sqrt()

    def _save(self) -> None:
        """Write the checkpoint: everything that the next round depends on."""
        content = io.BytesIO()
        torch.save(
            {
                "identity": self._identity,
                "learned": [parameter.detach() for parameter in self._parameters()],
                "kept": self._kept,
                "tensors": {name: torch.from_numpy(one) for name, one in self.tensors.items()},
                "optimiser": self._optimiser.state_dict(),
                "place": [self._taken, self._tokens, self._stale, self._drops],
                "losses": [self.before, self.best],
            },
            content,
        )
        with replacing(self._checkpoint) as temporary:
            temporary.write_bytes(content.getbuffer())

    def _resume(self) -> None:
        path = self._checkpoint
        try:
            saved = torch.load(path, map_location=self._device, weights_only=True)
            identity = saved["identity"]
        except Exception as error:  # torch raises whatever its unpickler meets
            raise LofidError(
                f"The checkpoint '{path}' cannot be read ({error}); remove it to begin anew."
            ) from error
        if identity != self._identity:
            raise LofidError(
                f"The tuning in '{path}' was begun with other pieces, settings, weights or code; "
                "finish it with those, remove it to begin anew, or choose another name."
            )
        with torch.no_grad():
            for parameter, value in zip(self._parameters(), saved["learned"], strict=True):
                parameter.copy_(value)
        self._kept = saved["kept"]
        self.tensors = {name: one.cpu().numpy() for name, one in saved["tensors"].items()}
        self._optimiser.load_state_dict(saved["optimiser"])
        self._taken, self._tokens, self._stale, self._drops = saved["place"]
        self.before, self.best = saved["losses"]


def stream_loss(model: Model, stream: TokenStream, most: int = 60_000) -> float:
    """Loss of a model on a corpus' held-out stream, nats an event token, from the empty state.

    Its first ``most`` tokens count. For what tuning costs elsewhere: a style's weights against
    those before.
    """
    network = Rwkv6(model.card.config).eval()
    network.load_state_dict({name: torch.from_numpy(one) for name, one in model.tensors.items()})
    state = zero_state(model.card.config, 1)
    total, count = 0.0, 0
    with torch.no_grad():
        for window in _windows(TokenStream(stream.tokens[:most], stream.is_event[:most], 0)):
            losses, state = _losses(network, window, state)
            total, count = total + float(losses.sum()), count + len(losses)
    return total / max(count, 1)


def _losses(model: Rwkv6, window: TokenStream, state: TorchState) -> tuple[Tensor, TorchState]:
    """The loss of each event of a window [events], and the state after it."""
    tokens = torch.from_numpy(window.tokens.astype(np.int64)).to(model.emb.weight.device)[None]
    logits, state = model(tokens, state)
    counted = torch.from_numpy(window.is_event[1:].copy()).to(tokens.device)
    losses = functional.cross_entropy(
        logits[0, :-1][counted], tokens[0, 1:][counted], reduction="none"
    )
    return losses, state


def _windows(stream: TokenStream) -> Iterator[TokenStream]:
    """A piece in parts of ``WINDOW`` bars, the last one what is left."""
    lines = bar_lines(stream)
    for first in range(0, len(lines) - 1, WINDOW):
        part = slice(lines[first], lines[min(first + WINDOW, len(lines) - 1)])
        yield TokenStream(stream.tokens[part], stream.is_event[part], 0)


def _limited(streams: Sequence[TokenStream]) -> list[TokenStream]:
    """The first streams, as many as it takes to reach the most that is tested with."""
    kept: list[TokenStream] = []
    for stream in streams:
        if sum(len(one.tokens) for one in kept) < _MOST_HELD_OUT:
            kept.append(stream)
    return kept


def _detached(state: TorchState) -> TorchState:
    att, ffn, wkv = (part.detach() for part in state)
    return att, ffn, wkv


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# -- a folder: both players --------------------------------------------------------------------


def keys_pieces(pieces: Sequence[KeysPiece]) -> list[Piece]:
    """Pieces of keys to learn from."""
    return _distinct(
        Piece(one.group, partial(_drawn, keys_stream, one), keys_stream(one, _plain(), True))
        for one in pieces
        if one.bars
    )


def drums_pieces(pieces: Sequence[DrumsPiece]) -> list[Piece]:
    """Takes of drums to learn from."""
    return _distinct(
        Piece(one.group, partial(_drawn, drums_stream, one), drums_stream(one, _plain(), True))
        for one in pieces
        if one.bars
    )


def _distinct(pieces: Iterable[Piece]) -> list[Piece]:
    """One of those that play the same notes, the first by name.

    Files that differ may share a drum loop, which must not be learned and held out at once.
    """
    found: dict[bytes, Piece] = {}
    for piece in sorted(pieces, key=lambda piece: piece.name):
        found.setdefault(piece.whole.tokens[piece.whole.is_event].tobytes(), piece)
    return list(found.values())


def _drawn(
    make: Callable[[_Own, Random, bool], TokenStream], piece: _Own, rng: Random
) -> TokenStream:
    return make(piece, rng, False)


def _plain() -> Random:
    return Random(Philox(key=[0, 0]))


class Tuning:
    """The tuning of a style: one :class:`Tuner` for each player of a folder.

    ``models`` and ``pieces`` are by player (``keys``, ``drums``); ``place`` is the folder of the
    checkpoints; ``source`` and ``model`` are what the style's card calls the pieces' folder and
    the models (empty for those that come with lofid).
    """

    def __init__(
        self,
        name: str,
        models: Mapping[str, Model],
        pieces: Mapping[str, Split],
        method: Method,
        seed: int,
        place: Path,
        source: str,
        device: torch.device,
        model: str = "",
    ) -> None:
        self.name, self.models = name, models
        self._method, self._seed, self._source = method, seed, source
        self._place, self._model = place, model
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LofidError(
                f"The folder '{place}' could not be made ({error.strerror}); check who owns it."
            ) from error
        with enough_memory():
            self.tuners = {
                player: Tuner(models[player], split, method, seed, place / f"{player}.pt", device)
                for player, split in pieces.items()
            }

    def steps(self, seconds: float) -> Generator[tuple[str, TuningProgress], None, None]:
        """Learn for about so long, each player its share; yields after every piece.

        A player ends with a round, so that nothing goes unmeasured; what it leaves of its share is
        the next one's.
        """
        began = time.monotonic()
        ends = began + seconds
        left = list(self.tuners)
        with enough_memory():
            for player, tuner in self.tuners.items():
                now = time.monotonic()
                share = now + (ends - now) / len(left)
                left.remove(player)
                for progress in tuner.steps():
                    now = time.monotonic()
                    yield player, replace(progress, spent=now - began, budget=seconds)
                    if progress.checked and now > share:
                        break

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is to be gained for any player."""
        return all(tuner.is_finished for tuner in self.tuners.values())

    def style(self, general: Mapping[str, float]) -> Style:
        """What was best so far as a style; ``general`` are further figures for its card.

        Raises :class:`LofidError` while nothing is better than the models as they are.
        """
        better = {player: tuner for player, tuner in self.tuners.items() if tuner.tensors}
        if not better:
            raise LofidError(
                "Nothing was learned that lowers the loss on the held-out pieces; give it more "
                "time or more pieces."
            )
        card = StyleCard(
            self._method,
            {player: self.models[player].hash for player in better},
            self._source,
            {player: len(tuner.pieces.training) for player, tuner in better.items()},
            self._seed,
            {
                f"{player}_{name}": value
                for player, tuner in better.items()
                for name, value in (("before", tuner.before), ("after", tuner.best))
            }
            | dict(general),
            model=self._model,
        )
        tensors = {
            f"{player}.{name}": tensor
            for player, tuner in better.items()
            for name, tensor in tuner.tensors.items()
        }
        return Style(self.name, card, tensors)

    def forget(self) -> None:
        """Remove the checkpoints of a tuning that is finished."""
        shutil.rmtree(self._place, ignore_errors=True)


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn an exhausted memory into a :class:`LofidError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # On a CPU torch has no type of its own for it.
        exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if exhausted or "can't allocate memory" in str(error):
            reason = (str(error).strip().splitlines() or ["nothing more is said"])[0]
            raise LofidError(
                f"There is not enough memory to tune ({reason}); close other programs, or tune "
                "with --method state, which needs least."
            ) from error
        raise
