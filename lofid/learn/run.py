"""A training run from archives to a model file, as the command line starts it."""

import ctypes
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from shutil import which

import torch

from lofid.errors import LofidError
from lofid.learn.ngram import KneserNey
from lofid.learn.sequences import Corpus, drums_corpus, keys_corpus
from lofid.learn.sources import SOURCES
from lofid.learn.train import Progress, Trainer, TrainSettings
from lofid.rwkv.config import SIZES, sized
from lofid.rwkv.weights import Model, ModelCard, save_model

CHECK_STEPS = 300
"""Optimiser steps between two held-out losses, each with a checkpoint."""


_LONG_RUN = 1_000_000  # tokens
_MALLOC = {-4: 0, -1: 2**31 - 1, -2: 2**28}
"""M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h."""


class PlayerName(StrEnum):
    """Which of the two models."""

    KEYS = "keys"
    DRUMS = "drums"


DEFAULTS: dict[PlayerName, TrainSettings] = {
    PlayerName.KEYS: TrainSettings(tokens=20_000_000, weight_decay=0.01),
    PlayerName.DRUMS: TrainSettings(tokens=10_000_000, weight_decay=0.05, dropout=0.1),
}
"""What the shipped pocket models were trained with."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """Held-out losses of n-grams on the same tokens: nats a note."""

    unigram: float
    four_gram: float


def open_corpus(player: PlayerName, data: Path, seed: int) -> Corpus:
    """The training data of a player.

    Raises :class:`LofidError` for a missing or damaged archive, or an index without a column.
    """
    try:
        return (keys_corpus if player is PlayerName.KEYS else drums_corpus)(data, seed)
    except KeyError as error:
        raise LofidError(
            f"The archives in {data} are not as expected ({error} is missing); get them again."
        ) from error


def choose_device(name: str) -> torch.device:
    """``auto`` takes a CUDA GPU if there is one; raises :class:`LofidError` for an absent one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise LofidError(f"The device '{name}' is not known; choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise LofidError("No CUDA GPU was found here; train with --device cpu.")
    return torch.device(name)


def baselines(corpus: Corpus) -> Baselines:
    """A unigram and a 4-gram of one pass over the training data, on the held-out stream."""
    held_out, size = corpus.held_out, len(corpus.vocabulary)
    per_note = float(held_out.is_event.sum()) / held_out.notes
    training = [corpus.stream(0)]
    one, four = (KneserNey(training, size, order).loss(held_out) * per_note for order in (1, 4))
    return Baselines(unigram=one, four_gram=four)


def open_trainer(
    player: PlayerName,
    size: str,
    corpus: Corpus,
    settings: TrainSettings,
    out: Path,
    device: torch.device,
) -> Trainer:
    """A new run in ``out``, or the run that is there; raises :class:`LofidError`."""
    if size not in SIZES:
        raise LofidError(f"The size '{size}' is not known; choose one of {', '.join(SIZES)}.")
    # Compiling costs a minute or so, which only a long run earns back.
    compiled = settings.tokens >= _LONG_RUN and (device.type == "cuda" or bool(which("g++")))
    _keep_memory()
    try:
        config = sized(size, len(corpus.vocabulary))
        return Trainer(config, corpus, settings, out, device, compiled)
    except OSError as error:
        raise LofidError(
            f"The folder {out} cannot be written ({error.strerror}); name another --out."
        ) from error


def _keep_memory() -> None:
    """Have glibc keep freed memory for the next step.

    Handing large tensors back and faulting them in again costs a tenth of each step.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in _MALLOC.items():
            library.mallopt(option, value)


def run(trainer: Trainer, minutes: float | None) -> Generator[Progress, None, None]:
    """Train until the budget or the minutes are spent; a checkpoint is left in either case.

    Yields a line of progress every step; those with a held-out loss are in the loss log too.
    Whoever closes the generator between two steps pauses the run.
    """
    settings = trainer.settings
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    recent: list[float] = []
    try:
        for loss in trainer.steps():
            recent.append(loss)
            done = trainer.step >= settings.steps
            progress = Progress(
                trainer.step,
                trainer.step * settings.batch * settings.context,
                sum(recent[-CHECK_STEPS:]) / len(recent[-CHECK_STEPS:]),
            )
            if done or trainer.step % CHECK_STEPS == 0:
                per_token, per_note = trainer.held_out()
                progress = replace(progress, held_out=per_token, held_out_per_note=per_note)
                trainer.log(progress)
                trainer.save()
            yield progress
            if not done and ends is not None and time.monotonic() > ends:
                break
    finally:
        trainer.save()


@dataclass(frozen=True, slots=True)
class Report:
    """What a finished run achieved on the held-out stream, nats an event token and nats a note."""

    model_per_token: float
    model: float
    baselines: Baselines


def export(trainer: Trainer, last: Progress | None, beside: Baselines, path: Path) -> Report:
    """Write the model file with its card; raises :class:`LofidError` if it cannot be written.

    ``last`` is the run's last line of progress, None where the run had been finished before.
    """
    per_token, per_note = last.held_out if last else None, last.held_out_per_note if last else None
    if per_token is None or per_note is None:
        per_token, per_note = trainer.held_out()
    settings, corpus = trainer.settings, trainer.corpus
    card = ModelCard(
        config=trainer.config,
        vocabulary=corpus.vocabulary.name,
        vocabulary_hash=corpus.vocabulary.hash,
        step=trainer.step,
        seed=settings.seed,
        data=tuple(SOURCES[name] for name in corpus.sources),
        metrics={
            "held_out_loss_per_token": per_token,
            "held_out_loss_per_note": per_note,
            "unigram_loss_per_note": beside.unigram,
            "four_gram_loss_per_note": beside.four_gram,
            "training_tokens": float(trainer.step * settings.batch * settings.context),
        },
    )
    tensors = {name: tensor.numpy() for name, tensor in trainer.weights().items()}
    save_model(path, Model(card, tensors))
    return Report(per_token, per_note, beside)
