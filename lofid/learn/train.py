"""The training loop: truncated back-propagation over an endless stream, resumable to the step.

The stream of a pass is cut into ``batch`` lanes that run side by side; every step reads the next
``context`` tokens of each lane and starts from the state that the step before left, so the model
learns with a memory of any age. Now and then a lane starts from the empty state, as music does.

The rate warms up, stays, and falls to its end over the last quarter of the budget (Hu et al.,
"MiniCPM", 2024). Unlike a cosine this lets a run be lengthened or cut short when it is resumed.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch._inductor.config
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lofid.errors import LofidError
from lofid.learn.sequences import Corpus, Stream
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.reference import Rwkv6, TorchState, parameter_groups, zero_state

WARM_UP_STEPS = 20
DECAY_SHARE = 0.25
RESET_CHANCE = 0.04
CHECKPOINT = "checkpoint.pt"
LOSS_LOG = "loss.jsonl"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What a run is made of; a resumed run keeps everything but ``tokens``.

    ``tokens`` is the budget (header and events), ``batch`` lanes of ``context`` tokens a step,
    ``rate`` the plateau and ``final_rate`` the end of the learning rate.
    """

    seed: int = 1
    tokens: int = 20_000_000
    batch: int = 8
    context: int = 256
    rate: float = 1.2e-3
    final_rate: float = 3e-5
    dropout: float = 0.0
    weight_decay: float = 0.001
    clip: float = 1.0

    @property
    def steps(self) -> int:
        """Optimiser steps in the budget."""
        return max(1, self.tokens // (self.batch * self.context))

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        if step < WARM_UP_STEPS:
            return self.rate * (step + 1) / WARM_UP_STEPS
        left = (self.steps - step) / (self.steps * DECAY_SHARE)
        if left >= 1:
            return self.rate
        return self.final_rate + (self.rate - self.final_rate) * max(left, 0.0)


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the loss log: losses in nats an event token (and a note), on what was seen."""

    step: int
    tokens: int
    train: float
    held_out: float | None = None
    held_out_per_note: float | None = None


def lanes(stream: Stream, batch: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A stream as ``batch`` equal lanes [batch, length]; the odd tokens at the end are left out."""
    length = len(stream.tokens) // batch
    cut = length * batch
    return (
        stream.tokens[:cut].astype(np.int64).reshape(batch, length),
        stream.is_event[:cut].reshape(batch, length),
    )


class Trainer:
    """One run in a folder: the model, its optimiser and its place in the stream."""

    def __init__(
        self,
        config: RwkvConfig,
        corpus: Corpus,
        settings: TrainSettings,
        out: Path,
        device: torch.device,
        compiled: bool = False,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.config, self.corpus, self.settings = config, corpus, settings
        self.out, self.device = out, device
        self.model = Rwkv6(config, settings.dropout).to(device)
        # The compiled model draws the same random numbers as the plain one.
        torch._inductor.config.fallback_random = True
        self._forward = torch.compile(self.model, dynamic=False) if compiled else self.model
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model, settings.rate, settings.weight_decay),
            betas=(0.9, 0.99),
            eps=1e-8,
            fused=True,
        )
        self.step = 0
        self._pass = self._pass_step = 0
        self._state = zero_state(config, settings.batch, device)
        out.mkdir(parents=True, exist_ok=True)
        if (out / CHECKPOINT).exists():
            self._resume()

    def _resume(self) -> None:
        path = self.out / CHECKPOINT
        try:
            saved = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise LofidError(
                f"The checkpoint {path} cannot be read ({error}); move it away to start anew."
            ) from error
        kept = {**asdict(self.settings), "tokens": 0}
        if saved["settings"] != kept or saved["config"] != asdict(self.config):
            raise LofidError(
                f"The run in {self.out} was started with other settings ({saved['settings']}); "
                "repeat those, or name another --out."
            )
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        torch.set_rng_state(saved["rng"].cpu())
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(saved["device_rng"].cpu(), self.device)
        self.step, self._pass, self._pass_step = saved["place"]
        self._state = tuple(saved["state"])

    def save(self) -> None:
        """Write the checkpoint: everything that the next step depends on."""
        partial = self.out / f"{CHECKPOINT}.partial"
        on_gpu = self.device.type == "cuda"
        torch.save(
            {
                "device_rng": torch.cuda.get_rng_state(self.device) if on_gpu else None,
                "settings": {**asdict(self.settings), "tokens": 0},
                "config": asdict(self.config),
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "rng": torch.get_rng_state(),
                "place": [self.step, self._pass, self._pass_step],
                "state": list(self._state),
            },
            partial,
        )
        partial.replace(self.out / CHECKPOINT)

    def log(self, progress: Progress) -> None:
        """Append a line to the loss log."""
        with (self.out / LOSS_LOG).open("a") as log:
            log.write(json.dumps(asdict(progress)) + "\n")

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Endless inputs, targets and event weights [batch, context], from the saved place on."""
        context = self.settings.context
        while True:
            tokens, events = lanes(self.corpus.stream(self._pass), self.settings.batch)
            while (self._pass_step + 1) * context < tokens.shape[1]:
                begin = self._pass_step * context
                self._pass_step += 1
                piece = torch.from_numpy(tokens[:, begin : begin + context + 1]).to(self.device)
                weight = torch.from_numpy(events[:, begin + 1 : begin + context + 1])
                yield piece[:, :-1], piece[:, 1:], weight.to(self.device)
            self._pass, self._pass_step = self._pass + 1, 0

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def _restart_lanes(self, state: TorchState) -> TorchState:
        """The state without gradient history, and empty for a few lanes at random."""
        kept = (torch.rand(self.settings.batch) >= RESET_CHANCE).float().to(self.device)
        att, ffn, wkv = (part.detach() for part in state)
        lane = kept.view(1, -1, 1)
        return att * lane, ffn * lane, wkv * lane.unsqueeze(-1).unsqueeze(-1)

    def steps(self) -> Iterator[float]:
        """Train to the end of the budget; yields each step's loss (nats an event token)."""
        self.model.train()
        for inputs, targets, weight in self._batches():
            if self.step >= self.settings.steps:
                return
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.rate_at(self.step) * group["scale"]
            self._state = self._restart_lanes(self._state)
            with self._autocast():
                logits, self._state = self._forward(inputs, self._state)
            loss = functional.cross_entropy(
                logits.float()[weight], targets[weight], reduction="mean"
            )
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it so
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
            self.optimiser.step()
            self.step += 1
            value = float(loss.detach())
            if not math.isfinite(value):
                raise LofidError(
                    f"The loss became {value} at step {self.step}; resume with a lower rate."
                )
            yield value

    @torch.no_grad()
    def held_out(self) -> tuple[float, float]:
        """Held-out loss in nats an event token and nats a note; the state is carried throughout."""
        self.model.eval()
        stream = self.corpus.held_out
        tokens, events = lanes(stream, self.settings.batch)
        state = zero_state(self.config, self.settings.batch, self.device)
        total, count = 0.0, 0
        context = self.settings.context
        for begin in range(0, tokens.shape[1] - 1, context):
            piece = torch.from_numpy(tokens[:, begin : begin + context + 1]).to(self.device)
            weight = torch.from_numpy(events[:, begin + 1 : begin + context + 1]).to(self.device)
            with self._autocast():
                logits, state = self.model(piece[:, :-1], state)
            chosen = logits.float()[weight]
            total += float(functional.cross_entropy(chosen, piece[:, 1:][weight], reduction="sum"))
            count += int(weight.sum())
        self.model.train()
        per_token = total / count
        return per_token, per_token * float(stream.is_event.sum()) / stream.notes

    def weights(self) -> dict[str, Tensor]:
        """The trained tensors under official names, float32 on the CPU."""
        return {name: tensor.float().cpu() for name, tensor in self.model.state_dict().items()}
