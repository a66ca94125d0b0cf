"""The training loop: truncated back-propagation over an endless stream, resumable to the step.

The stream of a pass is cut into ``batch`` lanes that run side by side; every step reads the next
``context`` tokens of each lane and starts from the state that the step before left, so the model
learns with a memory of any age. Now and then a lane starts from the empty state, as music does.

Lightning Fabric spreads the lanes over processes (devices, machines), each of which may read its
lanes in several parts, one after the other (``accumulate``). Neither changes what is learnt, but
for what dropout drops: the loss is the mean over the events of all lanes. All randomness is looked
up by seed and step, so a checkpoint needs no generator's state, and a run that goes on is the run
that was not interrupted.

Beside the weights that learn, their mean over the last steps may be kept: what is measured, played
and exported is the mean, which the training itself never reads.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._inductor.config
from lightning_fabric import Fabric
from lightning_fabric.strategies.deepspeed import DeepSpeedStrategy
from lightning_fabric.strategies.fsdp import FSDPStrategy
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn import functional

from lofid.errors import LofidError
from lofid.files import replacing, sync_folder
from lofid.learn import forerunners
from lofid.learn.configs import DECAY_SHARE, Schedule, TrainSettings
from lofid.learn.forerunners import Carried, ForerunnerConfig
from lofid.learn.measure import Measured, Read, nats_by_piece
from lofid.learn.sequences import Corpus, TokenStream
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.reference import Rwkv6, parameter_groups, zero_state
from lofid.rwkv.weights import Model

RESET_CHANCE = 0.04
FORMAT = 4
"""Of a checkpoint, and of what a step computes from it. Raise it whenever either changes."""
BEST = "best.safetensors"
_CHECKPOINT = "checkpoint-"
_PARTIAL = ".checkpoint.part"
_STATE, _META = "state.ckpt", "meta.json"
_KEPT = 2  # checkpoints: should one be damaged, the one before is there
_IGNORED = -100  # a target that does not count

Shape = RwkvConfig | ForerunnerConfig
"""Of a network that can be trained."""


def lanes(stream: TokenStream, batch: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """A stream as ``batch`` equal lanes [batch, length]; the odd tokens at the end are left out."""
    length = len(stream.tokens) // batch
    cut = length * batch
    return (
        stream.tokens[:cut].reshape(batch, length),
        stream.is_event[:cut].reshape(batch, length),
    )


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device (``cpu``, ``cuda``) has instructions for products of bfloat16 matrices."""
    if device != "cpu":
        return True
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def build(shape: Shape, dropout: float) -> nn.Module:
    """A freshly initialised network; random weights come from torch's generator."""
    if isinstance(shape, RwkvConfig):
        return Rwkv6(shape, dropout)
    return forerunners.build(shape, dropout)


def _groups(model: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Parameters for the optimiser; every group carries ``scale``, its rate relative to the rest.

    Weight decay acts on matrices only, of RWKV as the official recipe has it.
    """
    if isinstance(model, Rwkv6):
        return parameter_groups(model, settings.rate, settings.weight_decay)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return [
        {"params": matrices, "weight_decay": settings.weight_decay, "scale": 1.0},
        {"params": vectors, "weight_decay": 0.0, "scale": 1.0},
    ]


@dataclass(slots=True)
class _Place:
    """Where a run stands.

    ``step`` is done; ``stream`` is the number of the pass and ``chunk`` the next one of it. The
    best choosing loss (nats a note, mean over styles) was met at ``best_step``; ``ends`` is where
    early stopping put the end of the run.
    """

    step: int = 0
    stream: int = 0
    chunk: int = 0
    best: float = math.inf
    best_step: int = 0
    ends: int | None = None


class Trainer:
    """One run in a folder: the model, its optimiser and its place in the stream.

    ``fabric`` must be launched. A new run begins with the weights of ``begins``, or with random
    ones. Raises :class:`LofidError` where those are of another shape or vocabulary, where the run
    in ``out`` cannot go on with these settings, or its checkpoint is damaged or of other code.
    """

    def __init__(
        self,
        shape: Shape,
        corpus: Corpus,
        settings: TrainSettings,
        out: Path,
        fabric: Fabric,
        accumulate: int = 1,
        compiled: bool = False,
        begins: Model | None = None,
    ) -> None:
        parts = fabric.world_size * accumulate
        if settings.batch % parts:
            raise LofidError(
                f"{settings.batch} lanes cannot be shared out evenly into {parts} parts (processes "
                f"times --accumulate); choose a --batch that is a multiple of {parts}."
            )
        if accumulate > 1 and isinstance(fabric.strategy, DeepSpeedStrategy):
            raise LofidError("DeepSpeed trains without --accumulate; leave it out.")
        self.shape, self.corpus, self.settings, self.out = shape, corpus, settings, out
        self.fabric, self._accumulate = fabric, accumulate
        torch.manual_seed(settings.seed)
        self.model = build(shape, settings.dropout)
        self.begins = begins
        if begins is not None:
            self._begin(begins)
        # The compiled model draws the same random numbers as the plain one.
        torch._inductor.config.fallback_random = True
        # Compiled for several threads, a gradient would be added up in the order of their arrival.
        torch.use_deterministic_algorithms(fabric.device.type == "cpu")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        forward: Any = torch.compile(self.model, dynamic=False) if compiled else self.model
        self._wrapped, self._optimiser = fabric.setup(
            forward,
            torch.optim.AdamW(_groups(self.model, settings), betas=(0.9, 0.99), fused=True),
        )
        # Whoever holds all parameters measures without compiling again for another length.
        sharded = isinstance(fabric.strategy, FSDPStrategy)
        self._measured: nn.Module = self._wrapped if sharded else self.model
        self._place = _Place()
        self._state = self._empty_state()
        self._average: list[Tensor] = []
        if settings.average:
            self._average = [parameter.detach().clone() for parameter in self.model.parameters()]
        self._stream_digest = ""
        self._saved = -1  # the step of the last checkpoint
        self.data_seconds = 0.0
        """Seconds that steps waited for data, since this process began."""
        out.mkdir(parents=True, exist_ok=True)
        self._resume()

    @property
    def step(self) -> int:
        """Optimiser steps that are done."""
        return self._place.step

    @property
    def last_step(self) -> int:
        """Where the run ends: with its budget, or earlier where its patience ended."""
        steps = self.settings.steps
        return steps if self._place.ends is None else min(steps, self._place.ends)

    def _begin(self, model: Model) -> None:
        card, asked = model.card, (self.shape, self.corpus.vocabulary.hash)
        if (card.config, card.vocabulary_hash) != asked:
            raise LofidError(
                f"The weights {model.hash} have another size or vocabulary ({card.config.layers} "
                f"layers of {card.config.width}, '{card.vocabulary}') than this run; begin with "
                "weights of the same player and --config."
            )
        self.model.load_state_dict(
            {name: torch.from_numpy(tensor) for name, tensor in model.tensors.items()}
        )

    # --- checkpoints ----------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on, as plain data."""
        return {
            "format": FORMAT,
            "vocabulary": self.corpus.vocabulary.hash,
            "shape": asdict(self.shape),
            "course": self.settings.course,
            "begins": None if self.begins is None else self.begins.hash,
        }

    def save(self) -> None:
        """Write a checkpoint: everything that the next step depends on.

        It is complete under its name or not there at all. Raises :class:`LofidError` where it
        cannot be written; the checkpoints before stay.
        """
        if self._saved == self.step:
            return
        name = f"{_CHECKPOINT}{self.step:08d}"
        content = {
            "model": self._wrapped,
            "optimiser": self._optimiser,
            "carried": [self._gathered(part) for part in self._state],
            "average": self._average,
        }
        partial = self.out / _PARTIAL
        first = self.fabric.is_global_zero
        try:
            if first:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
            self.fabric.barrier()
            self.fabric.save(partial / _STATE, content)
            if first:
                meta = {
                    **self._identity(),
                    "data": self._stream_digest,
                    "place": asdict(self._place),
                    "sha256": _digest(partial / _STATE),
                }
                (partial / _META).write_text(json.dumps(meta, indent=1))
                shutil.rmtree(self.out / name, ignore_errors=True)
                partial.rename(self.out / name)
                sync_folder(self.out)
                for old in self._checkpoints()[:-_KEPT]:
                    shutil.rmtree(old, ignore_errors=True)
        except (OSError, RuntimeError) as error:  # torch's writer turns the one into the other
            if first:
                shutil.rmtree(partial, ignore_errors=True)
            raise LofidError(
                f"The checkpoint of step {self.step} could not be written to {self.out} ({error}); "
                "make room there, and the same command goes on from the checkpoint before."
            ) from error
        self.fabric.barrier()
        self._saved = self.step

    def _checkpoints(self) -> list[Path]:
        """The complete ones, the oldest first."""
        return sorted(self.out.glob(f"{_CHECKPOINT}[0-9]*"))

    def _resume(self) -> None:
        found = self._checkpoints()
        if not found:
            if any(self.out.glob("checkpoint*.pt")):
                raise LofidError(
                    f"The run in {self.out} was written by an earlier lofid and cannot go on with "
                    "this one; name another --out."
                )
            return
        path = found[-1]
        before = "go on from the one before" if found[:-1] else "start anew"
        damaged = f"The checkpoint {path} is damaged ({{}}); delete that folder to {before}."
        try:
            meta = json.loads((path / _META).read_text())
            same_files = meta["sha256"] == _digest(path / _STATE)
            place = _Place(**meta["place"])
            saved = {name: meta.get(name) for name in self._identity()}
            data = str(meta["data"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LofidError(damaged.format(error)) from error
        self._check_identity(saved)
        if not same_files:
            raise LofidError(damaged.format("its content is not what was written"))
        content: dict[str, Any] = {
            "model": self._wrapped,
            "optimiser": self._optimiser,
            "carried": None,
            "average": None,
        }
        try:
            self.fabric.load(path / _STATE, content, weights_only=True)
        except Exception as error:
            raise LofidError(
                f"The checkpoint {path} was written by other code ({error}); go on with the lofid "
                "that wrote it, or name another --out."
            ) from error
        self._place, self._saved = place, place.step
        device = self.fabric.device
        self._state = tuple(self._own(part).to(device) for part in content["carried"])
        self._average = [part.to(device) for part in content["average"]]
        self._lanes()
        if data != self._stream_digest:
            raise LofidError(
                f"The data are not those that the run in {self.out} was trained on; give it the "
                "same --data, or name another --out."
            )

    def _check_identity(self, saved: dict[str, Any]) -> None:
        # Both by way of JSON, as enumerations and tuples come back as text and lists.
        asked = json.loads(json.dumps(self._identity()))
        if saved["format"] != asked["format"]:
            raise LofidError(
                f"The run in {self.out} was written by a lofid whose checkpoints have format "
                f"{saved['format']}, not {asked['format']}; go on with that lofid, or name another "
                "--out."
            )
        if saved == asked:
            return
        ours, theirs = (
            {**run["shape"], **run["course"], "vocabulary": run["vocabulary"]}
            for run in (asked, saved)
        )
        other = [
            f"{name} {theirs.get(name)}"
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
        mend = "repeat those, or name another --out"
        if (begun := saved["begins"]) != asked["begins"]:
            other.append(f"--from weights with the hash {begun}" if begun else "no --from")
            if begun is None:
                mend = "to begin with these weights, name another --out"
        raise LofidError(
            f"The run in {self.out} was started with other settings ({', '.join(other)}); {mend}."
        )

    # --- lanes ----------------------------------------------------------------------------------

    @property
    def _own_lanes(self) -> slice:
        """Those of all lanes that this process reads."""
        count = self.settings.batch // self.fabric.world_size
        return slice(self.fabric.global_rank * count, (self.fabric.global_rank + 1) * count)

    def _own(self, part: Tensor) -> Tensor:
        return part[:, self._own_lanes]

    def _gathered(self, part: Tensor) -> Tensor:
        """A part of the state over all lanes, from every process' own."""
        if self.fabric.world_size == 1:
            return part
        every = [torch.empty_like(part) for _ in range(self.fabric.world_size)]
        torch.distributed.all_gather(every, part.contiguous())
        return torch.cat(every, 1).cpu()

    def _empty_state(self) -> Carried:
        own, device = self._own_lanes, self.fabric.device
        count = own.stop - own.start
        if isinstance(self.shape, RwkvConfig):
            return zero_state(self.shape, count, device)
        network = self.model
        assert isinstance(network, forerunners.Recurrent | forerunners.Gpt)
        return network.empty_state(count, device)

    def _lanes(self) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """All lanes of the present pass."""
        stream = self.corpus.stream(self._place.stream)
        self._stream_digest = hashlib.sha256(stream.tokens.tobytes()).hexdigest()
        tokens, events = lanes(stream, self.settings.batch)
        if tokens.shape[1] <= self.settings.context:
            raise LofidError(
                f"A pass over the data has {len(stream.tokens)} tokens, too few for "
                f"{self.settings.batch} lanes of {self.settings.context}; lower --batch or "
                "--context."
            )
        return tokens, events

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Endless inputs and targets of this process, and how many targets count in all."""
        context, place = self.settings.context, self._place
        while True:
            tokens, events = self._lanes()
            while (place.chunk + 1) * context < tokens.shape[1]:
                begin = place.chunk * context
                place.chunk += 1
                counted = events[:, begin + 1 : begin + context + 1]
                inputs, targets = self._on_device(tokens[:, begin : begin + context + 1], counted)
                yield inputs, targets, int(counted.sum())
            place.stream, place.chunk = place.stream + 1, 0

    def _on_device(
        self, tokens: NDArray[np.int16], events: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor]:
        """This process' inputs and targets [lanes, T]; what does not count is ``_IGNORED``."""
        own = self._own_lanes
        ids = torch.from_numpy(tokens[own].astype(np.int64))
        targets = ids[:, 1:].masked_fill(torch.from_numpy(~events[own]), _IGNORED)
        device = self.fabric.device
        return ids[:, :-1].to(device, non_blocking=True), targets.to(device, non_blocking=True)

    # --- training -------------------------------------------------------------------------------

    def steps(self) -> Iterator[float]:
        """Train to the end of the run; yields each step's loss (nats an event token).

        Raises :class:`LofidError` where the loss is no number any more or memory ran out.
        """
        self._wrapped.train()
        batches = self._batches()
        while self.step < self.last_step:
            begin = time.perf_counter()
            inputs, targets, count = next(batches)
            self.data_seconds += time.perf_counter() - begin
            try:
                loss = self._train_step(inputs, targets, count)
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                raise LofidError(
                    f"Memory ran out at step {self.step + 1}, with {self.settings.batch} lanes of "
                    f"{self.settings.context} tokens; --accumulate {2 * self._accumulate} does the "
                    "same in smaller parts, a lower --batch or --context is another run."
                ) from error
            self._place.step += 1
            if not math.isfinite(loss):
                raise LofidError(
                    f"The loss became {loss} at step {self.step}; start anew with a lower rate or "
                    "another seed."
                )
            yield loss

    def _train_step(self, inputs: Tensor, targets: Tensor, count: int) -> float:
        """One step of the optimiser; the loss over all lanes, in which ``count`` targets count."""
        settings, fabric, parts = self.settings, self.fabric, self._accumulate
        rng = np.random.default_rng((settings.seed, self.step))
        fresh = rng.random(settings.batch) < RESET_CHANCE
        draws = rng.integers(2**62, size=(parts, fabric.world_size))
        for group in self._optimiser.optimizer.param_groups:
            group["lr"] = settings.rate_at(self.step, self.last_step) * group["scale"]
        begun = _restarted(self._state, torch.from_numpy(fresh[self._own_lanes]))
        scale = fabric.world_size / max(count, 1)
        total = torch.zeros((), device=fabric.device)
        after: list[Carried] = []
        each = len(inputs) // parts
        for part in range(parts):
            rows = slice(part * each, (part + 1) * each)
            torch.manual_seed(int(draws[part, fabric.global_rank]))
            with fabric.no_backward_sync(self._wrapped, enabled=part + 1 < parts):
                with self._autocast():
                    logits, state = self._wrapped(
                        inputs[rows], tuple(piece[:, rows] for piece in begun)
                    )
                loss = _summed_loss(logits, targets[rows]) * scale
                fabric.backward(loss)
            total += loss.detach()
            after.append(tuple(piece.detach() for piece in state))
        self._state = tuple(torch.cat(pieces, 1) for pieces in zip(*after, strict=True))
        if not isinstance(fabric.strategy, DeepSpeedStrategy):  # which clips by itself
            fabric.clip_gradients(
                self._wrapped, self._optimiser, max_norm=settings.clip, error_if_nonfinite=False
            )
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._follow()
        return float(self._mean(total))

    @torch.no_grad()
    def _follow(self) -> None:
        """Draw the mean of the weights towards those of this step.

        Exponential averaging, over all steps so far while these are few (Izmailov et al.,
        "Averaging Weights Leads to Wider Optima and Better Generalization", 2018).
        """
        if self._average:
            share = 1 / min(self.settings.average, self.step + 1)
            torch._foreach_lerp_(self._average, list(self.model.parameters()), share)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """While the network has the mean of its weights, where one is kept."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        if not self._average:
            return
        for mean, parameter in zip(self._average, self.model.parameters(), strict=True):
            now = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(now)

    def _mean(self, value: Tensor) -> Tensor:
        """Over all processes."""
        mean = self.fabric.all_reduce(value, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def any_wants(self, wish: bool) -> bool:
        """Whether this process or any other has the wish; every process must ask."""
        if self.fabric.world_size == 1:
            return wish
        return float(self._mean(torch.tensor(float(wish), device=self.fabric.device))) > 0

    def _autocast(self) -> AbstractContextManager[None]:
        """Matrices in bfloat16, where the device multiplies it: others take fifty times as long."""
        device = self.fabric.device.type
        return torch.autocast(device, torch.bfloat16, enabled=multiplies_bfloat16(device))

    # --- measuring ------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self, stream: TokenStream) -> Measured:
        """What the present weights lose on each piece of a stream, read from the empty state."""
        self._measured.eval()
        with self._averaged():
            nats = nats_by_piece(stream, self.settings.batch, self.settings.context, self._reader)
        self._measured.train()
        every = torch.tensor(nats, dtype=torch.float64, device=self.fabric.device)
        return Measured.of(stream, (self._mean(every) * self.fabric.world_size).tolist())

    def _reader(self) -> Read:
        """Reads the lanes of this process; the others' lose nothing here."""
        state = self._empty_state()

        def read(tokens: NDArray[np.int16], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
            nonlocal state
            inputs, targets = self._on_device(tokens, counted)
            with self._autocast():
                logits, state = self._measured(inputs, state)
            lost = np.zeros(len(tokens))
            lost[self._own_lanes] = losses(logits, targets).sum(1).cpu().numpy()
            return lost

        return read

    def judge(self, loss: float) -> None:
        """Take note of a loss on the choosing half: keep the best weights; without any end early.

        A plateau's rate begins to fall where patience ends, so that a quarter of what is then the
        whole run is left.
        """
        place, settings = self._place, self.settings
        self._saved = -1  # a checkpoint of this step would lack what follows
        if loss < place.best:
            place.best, place.best_step = loss, self.step
            self._keep_best()
            return
        waited = self.step - place.best_step
        if settings.patience and waited >= settings.patience * settings.check_steps:
            plateau = settings.schedule is Schedule.PLATEAU
            end = math.ceil(self.step / (1 - DECAY_SHARE)) if plateau else self.step
            place.ends = place.ends or end

    def _keep_best(self) -> None:
        weights = self.present_weights()
        if self.fabric.is_global_zero:
            with replacing(self.out / BEST) as temporary:
                temporary.write_bytes(serialized(weights))

    def present_weights(self) -> dict[str, Tensor]:
        """The tensors as they are now, float32 on the CPU; every process must ask."""
        sharded = isinstance(self.fabric.strategy, FSDPStrategy)
        with (
            FullyShardedDataParallel.summon_full_params(self._wrapped)
            if sharded
            else nullcontext(),
            self._averaged(),
        ):
            return {
                name.replace("_fsdp_wrapped_module.", ""): tensor.to(
                    "cpu", torch.float32, copy=True
                )
                for name, tensor in self.model.state_dict().items()
            }

    @property
    def best(self) -> tuple[int, float]:
        """The step with the best choosing loss so far, and that loss in nats a note."""
        return self._place.best_step, self._place.best

    def best_weights(self) -> dict[str, Tensor]:
        """The tensors of the best choosing loss, float32 on the CPU.

        Raises :class:`LofidError` where their file is gone or damaged.
        """
        path = self.out / BEST
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise LofidError(
                f"The best weights {path} cannot be read ({error}); delete the newest checkpoint "
                f"in {self.out} and give the same command to train its last part again."
            ) from error

    def take_best(self) -> None:
        """Give the network the best weights, to measure them. The run cannot go on hereafter."""
        self.model.load_state_dict(self.best_weights())
        self._average = []


def _restarted(state: Carried, fresh: Tensor) -> Carried:
    """The state, emptied for the lanes that are ``fresh``."""
    return tuple(part * (~fresh).to(part).view(1, -1, *[1] * (part.ndim - 2)) for part in state)


def _summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=_IGNORED
    )


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats of each target [rows, T], 0 where it does not count."""
    return functional.cross_entropy(
        logits.float().transpose(1, 2), targets, reduction="none", ignore_index=_IGNORED
    )


def _is_out_of_memory(error: BaseException) -> bool:
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "can't allocate memory" in str(error)  # torch on a CPU
        or "Cannot allocate memory" in str(error)
    )


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder (as some strategies write)."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
