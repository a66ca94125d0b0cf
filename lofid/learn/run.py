"""A training run from archives to a model file, as the command line starts it."""

import ctypes
import logging
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.deepspeed import DeepSpeedStrategy
from lightning_fabric.strategies.fsdp import FSDPStrategy
from lightning_fabric.strategies.strategy import Strategy

from lofid.errors import LofidError
from lofid.files import locked
from lofid.learn import shards, thesis
from lofid.learn.archives import fingerprint
from lofid.learn.configs import Network, PlayerName, TokenForm, TrainConfig, TrainSettings
from lofid.learn.forerunners import ForerunnerConfig
from lofid.learn.journal import Journal, TrainingProgress
from lofid.learn.measure import interval
from lofid.learn.ngram import KneserNey
from lofid.learn.samples import PLAYERS, write_sample
from lofid.learn.sequences import Corpus, drums_corpus, keys_corpus
from lofid.learn.shards import Recipe
from lofid.learn.sources import SOURCES
from lofid.learn.train import Shape, Trainer
from lofid.rwkv.config import RwkvConfig
from lofid.rwkv.reference import RwkvBlock
from lofid.rwkv.weights import Model, ModelCard, save_folder, save_model
from lofid.tokens.thesis import VOCABULARY as THESIS_VOCABULARY

SAMPLES = "samples"
_LONG_RUN = 1_000_000  # tokens
_MALLOC = {-4: 0, -1: 2**31 - 1, -2: 2**28}
"""M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of glibc's malloc.h."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """Losses of n-grams on the reported half, in the same tokens: nats a note."""

    unigram: float
    four_gram: float


# --- data ---------------------------------------------------------------------------------------


def recipe(
    player: PlayerName, data: Path, settings: TrainSettings, form: TokenForm = TokenForm.BARS
) -> Recipe:
    """What a run's data depend on; raises :class:`LofidError` for a missing archive."""
    if form is TokenForm.THESIS:
        sources = {name: fingerprint(data, name) for name in thesis.SOURCES[player]}
        draw = partial(thesis.thesis_corpus, player, data, settings.seed)
        return Recipe(f"{player}-thesis", settings.seed, THESIS_VOCABULARY, sources, draw)
    plain = shards.recipe(player, data, settings.seed)
    if settings.balance == 0:
        return plain
    read = keys_corpus if player is PlayerName.KEYS else drums_corpus
    return replace(
        plain,
        player=f"{player}-balance{settings.balance}",
        draw=partial(read, data, settings.seed, settings.balance),
    )


def open_corpus(
    player: PlayerName,
    data: Path,
    settings: TrainSettings,
    form: TokenForm = TokenForm.BARS,
    workers: int = 1,
) -> Corpus:
    """The training data of a player, in passes that are kept in the user's cache.

    A pass is drawn when it is asked for; several ``workers`` draw all of the budget's ahead.

    Raises :class:`LofidError` for a missing or damaged archive, or an index without a column.
    """
    try:
        made = recipe(player, data, settings, form)
        folder = shards.default_folder()
        corpus = shards.open_shards(folder, made)
        if workers > 1:
            passes = -(-settings.tokens // len(corpus.stream(0).tokens))
            for _ in shards.prepare(made, folder, range(passes), workers):
                pass
        return corpus
    except KeyError as error:
        raise LofidError(
            f"The archives in {data} are not as expected ({error} is missing); get them again."
        ) from error


def baselines(corpus: Corpus) -> Baselines:
    """A unigram and a 4-gram of one pass over the training data, on the reported half."""
    reported, size = corpus.reported, len(corpus.vocabulary)
    per_note = float(reported.is_event.sum()) / reported.notes
    training = [corpus.stream(0)]
    one, four = (KneserNey(training, size, order).loss(reported) * per_note for order in (1, 4))
    return Baselines(unigram=one, four_gram=four)


# --- machine ------------------------------------------------------------------------------------


def choose_device(name: str) -> torch.device:
    """``auto`` takes a CUDA GPU if there is one; raises :class:`LofidError` for an absent one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise LofidError(f"The device '{name}' is not known; choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise LofidError("No CUDA GPU was found here; train with --device cpu.")
    return torch.device(name)


def open_fabric(
    settings: TrainSettings,
    device: torch.device,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "ddp",
) -> Fabric:
    """The processes of a run, launched: from here on each of them goes its own way.

    ``devices`` on each of ``nodes`` machines; ``strategy`` (``ddp``, ``fsdp`` or
    ``deepspeed_stage_2``) says how several share the work. Where they are not started by somebody
    else (torchrun, SLURM), the command that runs is started again for each of the others. Raises
    :class:`LofidError` for what this machine cannot do.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    on_gpu = device.type == "cuda"
    if on_gpu and devices > torch.cuda.device_count():
        raise LofidError(
            f"{devices} GPUs were asked for and {torch.cuda.device_count()} found; lower --devices."
        )
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        num_nodes=nodes,
        strategy=_strategy(strategy, settings, on_gpu) if devices * nodes > 1 else "auto",
        precision="32-true",  # the trainer itself casts what may be bfloat16
    )
    fabric.launch()
    return fabric


def _strategy(name: str, settings: TrainSettings, on_gpu: bool) -> Strategy:
    if name == "ddp":
        return DDPStrategy()
    if name not in ("fsdp", "deepspeed_stage_2"):
        raise LofidError(
            f"The strategy '{name}' is not known; choose ddp, fsdp or deepspeed_stage_2."
        )
    if settings.average:
        raise LofidError(
            f"The strategy '{name}' keeps no mean of the weights; train with --average 0, or with "
            "--strategy ddp."
        )
    if not on_gpu:
        raise LofidError(f"The strategy '{name}' needs GPUs; train with --strategy ddp.")
    if name == "fsdp":
        return FSDPStrategy(auto_wrap_policy={RwkvBlock}, state_dict_type="full")
    if find_spec("deepspeed") is None:
        raise LofidError(
            "The strategy 'deepspeed_stage_2' needs DeepSpeed; install it with: pip install "
            "deepspeed, or train with --strategy ddp."
        )
    return DeepSpeedStrategy(
        config={
            "zero_optimization": {"stage": 2},
            "zero_allow_untested_optimizer": True,
            "gradient_clipping": settings.clip,
        }
    )


def keep_memory() -> None:
    """Have glibc keep freed memory for the next step.

    Handing large tensors back and faulting them in again costs a tenth of each step.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in _MALLOC.items():
            library.mallopt(option, value)


# --- the run ------------------------------------------------------------------------------------


def shape_of(config: TrainConfig, settings: TrainSettings, vocabulary: int) -> Shape:
    """The network of a configuration over a vocabulary of so many tokens."""
    if config.network is Network.RWKV:
        return RwkvConfig(config.layers, config.width, vocabulary)
    return ForerunnerConfig(
        config.network, config.layers, config.width, vocabulary, settings.context
    )


def open_trainer(
    config: TrainConfig,
    corpus: Corpus,
    settings: TrainSettings,
    out: Path,
    fabric: Fabric,
    accumulate: int = 1,
    begins: Model | None = None,
) -> Trainer:
    """A run in ``out``: the one that is there, or a new one, from the weights of ``begins`` if any.

    Raises :class:`LofidError` as :class:`Trainer` does.
    """
    # Compiling costs a minute or so, which only a long run earns back.
    compiler = fabric.device.type == "cuda" or bool(which("g++"))
    worth_it = settings.tokens >= _LONG_RUN and config.network in (Network.RWKV, Network.GPT)
    keep_memory()
    shape = shape_of(config, settings, len(corpus.vocabulary))
    try:
        return Trainer(
            shape, corpus, settings, out, fabric, accumulate, compiler and worth_it, begins
        )
    except OSError as error:
        raise LofidError(
            f"The folder {out} cannot be written ({error.strerror}); name another --out."
        ) from error


def run(
    trainer: Trainer,
    minutes: float | None,
    stop: Callable[[], bool] = lambda: False,
    sample_steps: int = 0,
) -> Generator[TrainingProgress, None, None]:
    """Train until the run's end, the minutes or ``stop``; a checkpoint is left in each case.

    Yields a line of progress every step; all of them are in the loss log. Every ``sample_steps``
    steps (0: never) the model as it is plays a few bars into the run's folder. Of several
    processes each must run this, and each may want to stop. Whoever closes the generator between
    two steps pauses the run, too, where there is one process. Raises :class:`LofidError` where
    somebody else trains in the run's folder.
    """
    settings = trainer.settings
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    first = trainer.fabric.is_global_zero
    with (
        locked(trainer.out / "lock", f"The run in {trainer.out} is being trained")
        if first
        else nullcontext(),
        Journal(trainer.out, trainer.step) if first else nullcontext() as journal,
    ):
        try:
            for loss in trainer.steps():
                step = trainer.step
                progress = TrainingProgress(
                    step,
                    step * settings.tokens_per_step,
                    loss,
                    settings.rate_at(step - 1, trainer.last_step),
                )
                done = step >= trainer.last_step
                checked = done or step % settings.check_steps == 0
                if checked:
                    choosing = trainer.measure(trainer.corpus.choosing)
                    progress = replace(
                        progress,
                        held_out=choosing.headline,
                        held_out_per_token=choosing.per_token,
                        styles=choosing.styles,
                    )
                    trainer.judge(choosing.headline)
                if journal is not None:
                    journal.add(progress, settings.tokens_per_step)
                if checked:
                    trainer.save()
                if sample_steps and step % sample_steps == 0:
                    _sample(trainer)
                yield progress
                late = ends is not None and time.monotonic() > ends
                if not done and trainer.any_wants(late or stop()):
                    break
        except GeneratorExit:  # between two steps; amid one there is nothing whole to save
            trainer.save()
            raise
        if trainer.step >= trainer.last_step and trainer.best[0] == 0:
            # A budget that was cut to less than is done, before anything was measured.
            trainer.judge(trainer.measure(trainer.corpus.choosing).headline)
        trainer.save()


def _sample(trainer: Trainer) -> None:
    player = PLAYERS.get(trainer.corpus.vocabulary.hash)
    if player is None or not isinstance(trainer.shape, RwkvConfig):
        return  # nothing that the station could play
    weights = trainer.present_weights()
    if trainer.fabric.is_global_zero:
        write_sample(
            player,
            trainer.shape,
            {key: tensor.numpy() for key, tensor in weights.items()},
            trainer.out / SAMPLES,
            f"step-{trainer.step:08d}",
        )


# --- the result ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a finished run achieved: losses on the reported half, which had no say in it.

    ``model`` is nats a note, ``model_per_token`` nats an event token, ``headline`` the mean over
    styles of nats a note with its 95 % ``interval``, ``styles`` each style's. ``choosing`` is the
    headline of the half that chose ``step``, at which the weights are the model's.
    """

    step: int
    model_per_token: float
    model: float
    headline: float
    interval: tuple[float, float]
    styles: dict[str, float]
    choosing: float
    baselines: Baselines


def report(trainer: Trainer, beside: Baselines) -> StepReport:
    """The figures of the best weights of a finished run; from here on the network has these."""
    step, choosing = trainer.best
    trainer.take_best()
    found = trainer.measure(trainer.corpus.reported)
    return StepReport(
        step,
        found.per_token,
        found.per_note,
        found.headline,
        interval(lambda headlines: headlines[0], [found]),
        found.styles,
        choosing,
        beside,
    )


def export(trainer: Trainer, result: StepReport, path: Path) -> None:
    """Write the best weights with their card.

    A ``path`` that ends in ``.safetensors`` becomes one file; any other a folder as the hub lays it
    out, with shards where the model is large. Raises :class:`LofidError` if it cannot be written.
    """
    settings, corpus, shape = trainer.settings, trainer.corpus, trainer.shape
    assert isinstance(shape, RwkvConfig)
    sources = [SOURCES[name] for name in corpus.sources]
    tokens = float(result.step * settings.tokens_per_step)
    if trainer.begins is not None:
        before = trainer.begins.card
        sources += before.data
        tokens += before.metrics.get("training_tokens", 0)
    card = ModelCard(
        config=shape,
        vocabulary=corpus.vocabulary.name,
        vocabulary_hash=corpus.vocabulary.hash,
        step=result.step,
        seed=settings.seed,
        data=tuple(dict.fromkeys(sources)),
        metrics={
            "held_out_loss_per_token": result.model_per_token,
            "held_out_loss_per_note": result.model,
            "held_out_loss_per_note_mean_of_styles": result.headline,
            "choosing_loss_per_note_mean_of_styles": result.choosing,
            "unigram_loss_per_note": result.baselines.unigram,
            "four_gram_loss_per_note": result.baselines.four_gram,
            "training_tokens": tokens,
        },
        commit=_revision(),
    )
    tensors = {name: tensor.numpy() for name, tensor in trainer.best_weights().items()}
    model = Model(card, tensors)
    (save_model if path.suffix == ".safetensors" else save_folder)(path, model)


def _revision() -> str:
    """The commit of the source that runs, empty where that is no checkout."""
    root = Path(__file__).resolve().parents[2]
    git = which("git")
    if git is None or not (root / ".git").exists():
        return ""
    told = subprocess.run(
        [git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()
