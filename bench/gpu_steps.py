"""What is checked and measured on a GPU, each step by itself, for :mod:`bench.gpu_check`.

Checks feed fresh random numbers and compare with float64, or with numpy; memory that kernels get is
filled with NaN before. Measurements are medians of the GPU's own clock. A program's room, not the
kernels': it may use all of lofid. In Triton's interpreter the same steps run with small shapes;
their times then say nothing.
"""

import math
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.decode_check import random_weights, stage_errors
from lofid.compose.chance import RandomStream, generator
from lofid.compose.form import compose_song, locate, plan_bar
from lofid.compose.headers import drums_header, keys_header
from lofid.compose.lockstep import flat_bar
from lofid.compose.player import Attempt, Player, drums_player, keys_player
from lofid.compose.preset import load_preset, preset_names
from lofid.compose.rules import DrumsRules, KeysRules
from lofid.compose.station import Station
from lofid.judge.figures import Figure, Target
from lofid.kernels.bars import BarTable as FlatBar
from lofid.kernels.decode import Decoder, Streams, reference_decode
from lofid.kernels.philox import draw_kernel, draws_reference
from lofid.kernels.prefill import prefill
from lofid.kernels.sample import Sampler, reference_step
from lofid.kernels.weights import Shape
from lofid.kernels.wkv import wkv
from lofid.music.notes import Part
from lofid.music.plan import Bar
from lofid.rwkv.choice import EngineName, open_engine
from lofid.rwkv.config import HEAD_SIZE, RwkvConfig
from lofid.rwkv.reference import Rwkv6, parameter_groups, zero_state
from lofid.rwkv.shipped import shipped_model
from lofid.rwkv.state import ModelState
from lofid.rwkv.torch_engine import TorchEngine
from lofid.rwkv.triton import Deck
from lofid.rwkv.wkv import wkv_chunked, wkv_sequential
from lofid.tokens import drums, keys

CHECKS: Final = "Against float64 and numpy"
SPEED: Final = "Speed"

BAR_PAIRS: Final = 150
"""Pairs of tokens that a long bar takes."""
BAR_SECONDS: Final = 3.0
"""A bar at 80 BPM."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is: of ``layers`` x ``width``, on ``device``.

    ``streams`` of both models together are decoded at a time, texts are ``batch`` x ``length``;
    each measurement takes ``repeats``; ``slots`` are what stages of decoding are checked with.
    """

    device: str
    layers: int
    width: int
    streams: int
    batch: int
    length: int
    repeats: int
    slots: tuple[int, ...]

    @property
    def on_gpu(self) -> bool:
        """Whether this is a real GPU."""
        return self.device == "cuda"

    @property
    def shape(self) -> Shape:
        """Keys and drums of this size, stacked."""
        return Shape.of([self.config(len(v)) for v in (keys.VOCABULARY, drums.VOCABULARY)])

    def config(self, vocabulary: int) -> RwkvConfig:
        """One model of this size."""
        return RwkvConfig(self.layers, self.width, vocabulary)


GPU: Final = Scale("cuda", 20, 512, 1024, 32, 512, 50, (1, 3, 5, 70))
INTERPRETED: Final = Scale("cpu", 1, 64, 4, 1, 18, 1, (2,))


# --- checks ---------------------------------------------------------------------------------------


def stages(scale: Scale) -> list[Figure]:
    """Each stage of decoding, two layers of it."""
    shape = replace(scale.shape, layers=min(2, scale.layers))
    worst, kept = 0.0, True
    for slots in scale.slots:
        for found in stage_errors(shape, slots, scale.device, _seed()):
            # NaN, which a number that was not written leaves, must not lose to `max`.
            worst = max(worst, math.inf if math.isnan(found.error) else found.error)
            kept &= found.kept
    return [
        _error("decode, every stage", worst, 1e-5),
        _count("decode, slots at rest that changed", int(not kept)),
    ]


def philox(scale: Scale) -> list[Figure]:
    """Numbers drawn on the device, to the bit."""
    rng = np.random.default_rng(_seed())
    numbers = rng.integers(-(2**63), 2**63, (64, 6), dtype=np.int64)
    drawn = rng.integers(0, 1000, 64, dtype=np.int32)
    found = torch.full((64,), torch.nan, dtype=torch.float64, device=scale.device)
    of = (torch.from_numpy(x).to(scale.device) for x in (numbers, drawn))
    draw_kernel[(64,)](*of, found, num_warps=1)
    wrong = (found.cpu().numpy() != draws_reference(numbers, drawn)).sum()
    return [_count("Philox, numbers that differ from numpy's", int(wrong))]


def sampling(scale: Scale) -> list[Figure]:
    """Whole bars drawn from random logits, slot by slot the same as on the host."""
    slots, steps = (32, 200) if scale.on_gpu else (2, 12)
    seed = _seed()
    width = scale.shape.vocabulary
    random = torch.Generator().manual_seed(seed)
    samplers = [Sampler(2, slots, width, device) for device in (scale.device, "cpu")]
    for model, slot, bar in _bars(slots, seed):
        for sampler in samplers:
            sampler.put(model, slot, bar)
    tokens = [
        torch.full((2, slots), -1, dtype=torch.int32, device=d) for d in (scale.device, "cpu")
    ]
    active = [torch.ones_like(x) for x in tokens]
    wrong = drawn = 0
    for _ in range(steps):
        logits = 3 * torch.randn(2, slots, width, generator=random)
        before = active[1].clone()
        samplers[0].step(logits.to(scale.device), tokens[0], active[0])
        reference_step(samplers[1], logits, tokens[1], active[1])
        on = before != 0
        differ = (tokens[0].cpu() != tokens[1]) | (active[0].cpu() != active[1])
        wrong += int((differ & on).sum())
        drawn += int(on.sum())
        if wrong:  # what follows a wrong token is another bar
            break
    return [_count("sampling, tokens that differ from numpy's", wrong, f"of {drawn}")]


def wkv_accuracy(scale: Scale) -> list[Figure]:
    """The WKV operator and its gradients, for slow and for fast decays."""
    length = min(scale.length, 200) - 5
    figures = []
    for name, fastest in (("", -3.0), (", fast decays", -30.0)):
        inputs = _wkv_inputs(scale, min(scale.batch, 4), length, fastest)
        exact = _wkv_results(wkv_sequential, [x.double() for x in inputs])
        _poison(scale)
        found = _wkv_results(wkv, inputs)
        errors = [_relative(x, y) for x, y in zip(found, exact, strict=True)]
        figures += [
            _error(f"WKV{name}", max(errors[:2]), 1e-5),
            _error(f"WKV gradients{name}", max(errors[2:]), 1e-4),
        ]
    return figures


def priming(scale: Scale) -> list[Figure]:
    """A text heard at once against the same token by token in float64."""
    random = torch.Generator().manual_seed(_seed())
    shape = replace(scale.shape, layers=min(4, scale.layers))
    weights = random_weights(shape, scale.device, random)
    streams = Streams.allocate(shape, 1, scale.device)
    tokens = torch.randint(shape.vocabulary, (min(scale.length, 100) - 1,), generator=random)
    parts = (streams.att_shift, streams.ffn_shift, streams.wkv)
    for part in parts:
        part.copy_(torch.randn(part.shape, generator=random))
    streams.active[0, 0] = 1
    expected = streams
    for token in tokens.tolist():
        expected = replace(expected, tokens=torch.full_like(streams.tokens, token))
        expected = reference_decode(weights, expected, torch.float64)
    _poison(scale)
    views = [part[:, 0, 0] for part in parts]
    logits = prefill(weights, 0, tokens.to(scale.device), *views)
    pairs = [(logits, expected.logits[0, 0]), (streams.wkv, expected.wkv)]
    pairs += [(streams.att_shift, expected.att_shift), (streams.ffn_shift, expected.ffn_shift)]
    return [_error("prefill", max(_relative(x, y) for x, y in pairs), 1e-4)]


def graphs(scale: Scale) -> list[Figure]:
    """Steps of a CUDA graph against the same launches one by one, to the bit."""
    seed = _seed()
    slots, rounds = (3, 3) if scale.on_gpu else (1, 1)
    plainly, by_graph = (_Loop(scale, slots, seed) for _ in range(2))
    for _ in range(rounds):
        plainly.steps()
    replay = by_graph.captured() if scale.on_gpu else by_graph.steps
    by_graph.begin(anew=True)
    for _ in range(rounds):
        replay()
    s, t = plainly.decoder.streams, by_graph.decoder.streams
    pairs = [(s.wkv, t.wkv), (s.logits, t.logits), (s.att_shift, t.att_shift)]
    pairs.append((plainly.record, by_graph.record))
    same = all(torch.equal(x, y) for x, y in pairs)
    return [_count("CUDA graph, results that differ from plain launches", int(not same))]


# --- measurements ---------------------------------------------------------------------------------


def pair(scale: Scale) -> list[Figure]:
    """Keys and drums of one station, sampling included, and what they take in real time."""
    loop = _Loop(scale, 1, _seed())
    times, note = loop.measured(scale)
    step = float(np.median(times))
    share = 100 * step / 1000 * BAR_PAIRS / BAR_SECONDS
    size = f"{scale.layers} x {scale.width}"
    return [
        _speed(f"pair of {size}, one step", step, "ms", Target(high=0.35), note),
        _speed("the same, 99th percentile", float(np.quantile(times, 0.99)), "ms"),
        _speed(
            "share of the GPU for a pair in real time",
            share,
            "%",
            Target(high=2.0),
            f"{BAR_PAIRS} steps a bar of {BAR_SECONDS:.0f} s",
        ),
    ]


def torch_loop(scale: Scale) -> list[Figure]:
    """The same pair in plain torch, one token of each model after the other, without sampling."""
    models, states = [], []
    for vocabulary in (keys.VOCABULARY, drums.VOCABULARY):
        config = scale.config(len(vocabulary))
        models.append(Rwkv6(config).to(scale.device).eval())
        states.append(zero_state(config, 1, scale.device))
    token = torch.ones((1, 1), dtype=torch.int64, device=scale.device)

    def step() -> None:
        for n, model in enumerate(models):
            _, states[n] = model(token, states[n])

    with torch.inference_mode():
        times = _times(scale, step)
    return [_speed("plain torch loop, one step of the pair", float(np.median(times)), "ms")]


def streams(scale: Scale) -> list[Figure]:
    """Many streams at once, half of them keys."""
    loop = _Loop(scale, scale.streams // 2, _seed())
    times, note = loop.measured(scale)
    rate = 1000 * scale.streams / float(np.median(times))
    name = f"{scale.streams:,} streams"
    return [_speed(name, rate, "tokens/s", Target(low=300_000), note)]


def restoring(scale: Scale) -> list[Figure]:
    """A state on its way to a slot and back, the host's clock and its waits included."""
    random = torch.Generator().manual_seed(_seed())
    deck = Deck(random_weights(scale.shape, scale.device, random), 4)
    slot = deck.add(0)
    state = ModelState.zero(scale.config(len(keys.VOCABULARY)))
    figures = []
    for name, move in (
        ("state restored", lambda: deck.restore(0, slot, state)),
        ("state taken", lambda: deck.snapshot(0, slot, state)),
    ):
        move()
        times = []
        for _ in range(scale.repeats):
            began = time.perf_counter()
            move()
            times.append(1000 * (time.perf_counter() - began))
        figures.append(_speed(name, float(np.median(times)), "ms", Target(high=1.0)))
    return figures


def prefill_speed(scale: Scale) -> list[Figure]:
    """A text heard at once."""
    random = torch.Generator().manual_seed(_seed())
    shape = scale.shape
    weights = random_weights(shape, scale.device, random)
    s = Streams.allocate(shape, 1, scale.device)
    tokens = torch.randint(shape.vocabulary, (scale.length,), generator=random).to(scale.device)
    views = [part[:, 0, 0] for part in (s.att_shift, s.ffn_shift, s.wkv)]
    times = _times(scale, lambda: prefill(weights, 0, tokens, *views))
    return [_speed(f"prefill of {scale.length} tokens", float(np.median(times)), "ms")]


def bars(scale: Scale) -> list[Figure]:
    """The music of the shipped models beside that of the CPU engine; on a real GPU only."""
    if not scale.on_gpu:
        return []
    count = 24
    settings = load_preset(preset_names()[0]).settings
    written: dict[EngineName, list[Bar]] = {}
    times = []
    for engine in (EngineName.CPU, EngineName.TRITON):
        voices = [
            open_engine(engine, shipped_model(name, vocabulary.hash))
            for name, vocabulary in (
                ("pocket-keys", keys.VOCABULARY),
                ("pocket-drums", drums.VOCABULARY),
            )
        ]
        with Station(keys_player(voices[0]), drums_player(voices[1])) as station:
            state = station.opening(settings, 1)
            written[engine] = []
            for _ in range(count):
                began = time.perf_counter()
                step = station.step(state, settings)
                times.append(1000 * (time.perf_counter() - began))
                written[engine].append(step.bar)
                state = step.state
    same = [x == y for x, y in zip(*written.values(), strict=True)]
    line = next((n for n, equal in enumerate(same) if not equal), count)
    return [
        _speed(
            "a bar of the shipped pair, the host's clock", float(np.median(times[count:])), "ms"
        ),
        _speed(
            "the same on the CPU engine", float(np.median(times[:count])), "ms", note="int8, too"
        ),
        Figure(
            SPEED,
            "bars until the CPU engine's music is another",
            float(line),
            note=f"of {count}; a sum that differs in its last bit may tip a draw",
        ),
    ]


def wkv_speed(scale: Scale) -> list[Figure]:
    """The fused WKV beside the chunked one in plain torch, forward and backward.

    With decays so fast that every chunk is taken level by level, too: trained models have some.
    """
    slow, fast = (_wkv_inputs(scale, scale.batch, scale.length, w) for w in (-3.0, -3000.0))

    def forward(form: _Form) -> float:
        def run() -> None:
            with torch.no_grad():
                form(*slow)

        return float(np.median(_times(scale, run)))

    def both(form: _Form, inputs: list[Tensor]) -> float:
        leaves = [x.clone().requires_grad_() for x in inputs]
        dy, dstate = torch.randn_like(inputs[0]), torch.randn_like(inputs[5])

        def run() -> None:
            torch.autograd.grad(form(*leaves), leaves, (dy, dstate))

        return float(np.median(_times(scale, run)))

    fused, plain, of_fast = both(wkv, slow), both(wkv_chunked, slow), both(wkv, fast)
    size = f"{scale.batch} x {scale.length}"
    enough = Target(low=10.0)
    return [
        _speed(f"WKV {size}, forward", forward(wkv), "ms"),
        _speed("the same, plain torch", forward(wkv_chunked), "ms"),
        _speed(f"WKV {size}, forward and backward", fused, "ms"),
        _speed("the same, fast decays", of_fast, "ms"),
        _speed("the same, plain torch", plain, "ms"),
        _speed("WKV, faster than plain torch", plain / fused, "x", enough, "forward and backward"),
    ]


def training(scale: Scale) -> list[Figure]:
    """Steps of the optimiser on one model, as they are written."""
    return [_trained(scale, compiled=False)]


def training_compiled(scale: Scale) -> list[Figure]:
    """The same through torch.compile."""
    return [_trained(scale, compiled=True)]


def fla(scale: Scale) -> list[Figure]:
    """One layer's WKV step beside flash-linear-attention's, where that is installed.

    Ours does more in the same launch: the decay's low rank, the group norm and the gate.
    """
    if not scale.on_gpu or find_spec("fla") is None:
        return []
    from fla.ops.rwkv6 import fused_recurrent_rwkv6  # noqa: PLC0415  no dependency of ours

    figures = []
    for slots in (1, scale.streams // 2):
        loop = _Loop(scale, slots, _seed())
        loop.begin(anew=True)
        ours = next(launch for launch in loop.decoder.launches if launch.stage == "wkv_step")
        batch, heads = 2 * slots, scale.width // HEAD_SIZE
        x = [torch.randn(batch, 1, heads, HEAD_SIZE, device=scale.device) for _ in range(3)]
        w = -torch.rand_like(x[0])
        u = torch.randn(heads, HEAD_SIZE, device=scale.device)
        state = torch.randn(batch, heads, HEAD_SIZE, HEAD_SIZE, device=scale.device)

        def theirs(
            x: list[Tensor] = x, w: Tensor = w, u: Tensor = u, state: Tensor = state
        ) -> None:
            fused_recurrent_rwkv6(*x, w, u, scale=1.0, initial_state=state, output_final_state=True)

        for name, run in (("ours", ours), ("flash-linear-attention's", theirs)):
            took = 1000 * float(np.median(_times(scale, run)))
            figures.append(_speed(f"WKV step of {batch:,} streams, {name}", took, "µs"))
    return figures


STEPS: Final[dict[str, Callable[[Scale], list[Figure]]]] = {
    "stages": stages,
    "philox": philox,
    "sampling": sampling,
    "wkv": wkv_accuracy,
    "prefill": priming,
    "graphs": graphs,
    "pair": pair,
    "streams": streams,
    "restoring": restoring,
    "prefill-speed": prefill_speed,
    "bars": bars,
    "wkv-speed": wkv_speed,
    "torch-loop": torch_loop,
    "fla": fla,
    "training": training,
    "training-compiled": training_compiled,
}
"""All steps, as :mod:`bench.gpu_check` names them."""


# --- common ---------------------------------------------------------------------------------------

_Form = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

_GRAPH_STEPS = 8  # of a captured graph


class _Loop:
    """Sampling and decoding of ``slots`` slots a model, over random weights and real bars."""

    def __init__(self, scale: Scale, slots: int, seed: int) -> None:
        shape = scale.shape
        random = torch.Generator().manual_seed(seed)
        self.decoder = Decoder(random_weights(shape, scale.device, random), slots)
        self._sampler = Sampler(2, slots, shape.vocabulary, scale.device)
        for model, slot, bar in _bars(slots, seed):
            self._sampler.put(model, slot, replace(bar, forced=()))
        self._begun = self._sampler.running.clone()
        self.record = torch.empty(
            (_GRAPH_STEPS if scale.on_gpu else 2, 2, slots), dtype=torch.int32, device=scale.device
        )
        self.begin(anew=True)

    def begin(self, anew: bool = False) -> None:
        """All slots at the beginning of their bars; ``anew``: with the states before all music."""
        self._sampler.running.copy_(self._begun)
        s = self.decoder.streams
        s.active.fill_(1)
        if anew:
            for part in (s.logits, s.att_shift, s.ffn_shift, s.wkv):
                part.zero_()

    def steps(self) -> None:
        """Several steps: launches only."""
        s = self.decoder.streams
        for record in self.record:
            self._sampler.step(s.logits, s.tokens, s.active)
            self.decoder.step(record)

    def captured(self) -> Callable[[], None]:
        """The steps as a CUDA graph."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            self.steps()  # compiles and loads what the graph holds
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self.steps()
        return graph.replay

    def measured(self, scale: Scale) -> tuple[list[float], str]:
        """Milliseconds a step, and how many of the slots wrote throughout."""
        run = self.captured() if scale.on_gpu else self.steps
        self.begin(anew=True)
        times = _times(scale, run, self.begin)
        wrote = float((self.record >= 0).double().mean())
        return [took / len(self.record) for took in times], f"{wrote:.0%} of the slots at work"


def _times(
    scale: Scale, run: Callable[[], object], before: Callable[[], None] | None = None
) -> list[float]:
    """Milliseconds of each of the runs; ``before`` comes before each and is not counted."""
    for _ in range(3 if scale.on_gpu else 0):
        if before:
            before()
        run()
    times = []
    for _ in range(scale.repeats):
        if before:
            before()
        if not scale.on_gpu:
            began = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - began))
            continue
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return times


def _bars(slots: int, seed: int) -> Iterator[tuple[int, int, FlatBar]]:
    """A bar for each slot: model, slot, bar. Every other one of the keys has a melody."""
    players: list[Player] = []
    for vocabulary, player in ((keys.VOCABULARY, keys_player), (drums.VOCABULARY, drums_player)):
        config = RwkvConfig(1, HEAD_SIZE, len(vocabulary))
        tensors = {name: x.numpy() for name, x in Rwkv6(config).state_dict().items()}
        players.append(player(TorchEngine(config, tensors, torch.device("cpu"))))
    names = preset_names()
    for slot in range(slots):
        choices = load_preset(names[slot % len(names)]).settings
        song = compose_song(choices, seed, 0, None)
        plan = plan_bar(choices, seed, song, locate(song, slot % song.bars), 0)
        plan = replace(plan, parts=frozenset(Part), melody=0.7 * (slot % 2))
        for_keys = Attempt(KeysRules(plan), generator(seed, RandomStream.KEYS, slot, 0))
        for_drums = Attempt(
            DrumsRules(plan, backbeat=slot % 2 == 1), generator(seed, RandomStream.DRUMS, slot, 0)
        )
        yield 0, slot, flat_bar(players[0], keys_header(plan), for_keys)
        yield 1, slot, flat_bar(players[1], drums_header(plan), for_drums)


def _wkv_inputs(scale: Scale, batch: int, length: int, fastest: float) -> list[Tensor]:
    """r, k, v, log_decay, u, state in float32, of one layer; log decays evenly in logarithm."""
    heads = scale.width // HEAD_SIZE
    random = torch.Generator(scale.device).manual_seed(_seed())

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=random, device=scale.device)

    tokens = (batch, length, heads, HEAD_SIZE)
    r, k, v = (normal(*tokens) for _ in range(3))
    even = torch.rand(*tokens, generator=random, device=scale.device)
    log_decay = -0.02 * (fastest / -0.02) ** even
    state = normal(batch, heads, HEAD_SIZE, HEAD_SIZE)
    return [r, k, v, log_decay, normal(heads, HEAD_SIZE), state]


def _wkv_results(form: _Form, inputs: list[Tensor]) -> list[Tensor]:
    """Output, final state and all gradients of a fixed sum of both."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    results = form(*leaves)
    random = torch.Generator(inputs[0].device).manual_seed(1)
    ahead = [torch.randn(x.shape, generator=random, device=x.device) for x in results]
    torch.autograd.backward(results, [x.to(y.dtype) for x, y in zip(ahead, results, strict=True)])
    return [x.detach() for x in results] + [x.grad for x in leaves if x.grad is not None]


def _trained(scale: Scale, compiled: bool) -> Figure:
    """Tokens a second of training a model of this size."""
    config = scale.config(len(keys.VOCABULARY))
    model = Rwkv6(config).to(scale.device)
    forward = torch.compile(model, dynamic=False) if compiled and scale.on_gpu else model
    optimiser = torch.optim.AdamW(parameter_groups(model, 6e-4), betas=(0.9, 0.99), fused=True)
    random = torch.Generator().manual_seed(_seed())
    texts = torch.randint(config.vocabulary, (scale.batch, scale.length + 1), generator=random)
    texts = texts.to(scale.device)

    def step() -> None:
        with torch.autocast(scale.device, torch.bfloat16):
            logits, _ = forward(texts[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), texts[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    times = _times(replace(scale, repeats=min(scale.repeats, 10)), step)
    rate = 1000 * scale.batch * scale.length / float(np.median(times))
    way = "compiled" if compiled else "as it is"
    name = f"training {scale.layers} x {scale.width}, {way}"
    return _speed(name, rate, "tokens/s", note=f"batch {scale.batch} x {scale.length}, bfloat16")


def _poison(scale: Scale) -> None:
    """Fill memory that the allocator will hand out next with NaN."""
    if scale.on_gpu:
        held = [torch.full((2**k,), torch.nan, device=scale.device) for k in range(6, 27)]
        held += [torch.full_like(x, torch.nan) for x in held]
        del held


def _seed() -> int:
    """Fresh for each check, and told, so that what failed can be repeated."""
    seed = secrets.randbits(32)
    print(f"seed {seed}", file=sys.stderr)
    return seed


def _relative(found: Tensor, exact: Tensor) -> float:
    """Error of a tensor, relative to its norm; infinite where it holds NaN."""
    error = float((found.double() - exact).norm() / exact.norm())
    return float("inf") if math.isnan(error) else error


def _error(name: str, error: float, bound: float) -> Figure:
    return Figure(
        CHECKS, f"{name}, relative error / 1e-6", 1e6 * error, "", Target(high=1e6 * bound)
    )


def _count(name: str, wrong: int, note: str = "") -> Figure:
    return Figure(CHECKS, name, float(wrong), "", Target(high=0), note=note)


def _speed(
    name: str, measured: float, unit: str, target: Target | None = None, note: str = ""
) -> Figure:
    return Figure(SPEED, name, measured, unit, target, note=note)
