"""The writer: the process that holds the models. ``python -m lofid.service.writer SOCKET``.

It keeps nothing of the music: a job brings the session state and the settings, the answer brings
the bar and the state after it. Whatever happens to this process, nothing is lost with it.
"""

import argparse
import os
import time
from pathlib import Path

import zmq

from lofid.compiled import begin_afresh
from lofid.compose.player import drums_player, keys_player
from lofid.compose.station import Station
from lofid.errors import LofidError
from lofid.music.parameters import Settings
from lofid.rwkv.cpu import CpuEngine
from lofid.rwkv.shipped import shipped_model
from lofid.service.children import end_with_parent
from lofid.service.links import Link, Write, WriteFailed, WriterReady, Written
from lofid.service.memory import give_back, keep_tidy
from lofid.tokens import drums, keys

MODULE = "lofid.service.writer"

_NICENESS = 5  # bars are written ahead: whoever keeps time goes first


def serve(link: Link, station: Station) -> None:
    """Answer jobs, one after the other, without end."""
    while True:
        link.socket.poll()
        job = link.receive()
        if isinstance(job, Write):
            link.send(_answer(job, station))


def _answer(job: Write, station: Station) -> Written | WriteFailed:
    began = time.perf_counter()
    try:
        state = job.state or station.opening(job.settings, job.seed)
        step = station.step(state, job.settings)
    except LofidError as error:
        return WriteFailed(job.job, str(error))
    seconds = time.perf_counter() - began
    return Written(job.job, state, step.bar, step.state, seconds, step.findings)


def main() -> None:
    """Load the models, say so, and write."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--keys-model", type=Path)
    parser.add_argument("--drums-model", type=Path)
    arguments = parser.parse_args()
    end_with_parent()
    keep_tidy()
    models = {
        "keys": shipped_model("pocket-keys", keys.VOCABULARY.hash, arguments.keys_model),
        "drums": shipped_model("pocket-drums", drums.VOCABULARY.hash, arguments.drums_model),
    }
    engines = {
        player: CpuEngine(model.card.config, model.tensors) for player, model in models.items()
    }
    ready = WriterReady(
        models={player: model.hash for player, model in models.items()},
        vocabularies={player: model.card.vocabulary_hash for player, model in models.items()},
        engine=engines["keys"].name,
    )
    del models  # the engines have their own copy, in fewer bits
    with Station(keys_player(engines["keys"]), drums_player(engines["drums"])) as station:
        # The first bar compiles what has not been compiled on this machine, and warms the caches.
        station.step(station.opening(Settings(), 0), Settings())
        begin_afresh(MODULE)
        give_back()
        os.nice(_NICENESS)
        link = Link.calling(zmq.Context(), arguments.socket)
        link.send(ready)
        serve(link, station)


if __name__ == "__main__":
    main()
