"""The writer: the process that holds the models. ``python -m lofid.daemon.writer SOCKET``.

It keeps nothing of the music: a job brings the session state and the settings, the answer brings
the bar and the state after it. Whatever happens to this process, nothing is lost with it.
"""

import argparse
import os
import time
from pathlib import Path

import zmq

from lofid.compiled import begin_afresh
from lofid.compose.relay import opened_relay
from lofid.compose.station import Station
from lofid.compose.voices import VOCABULARIES, load_voices
from lofid.daemon.children import end_with_parent
from lofid.daemon.links import BarWritten, EngineChanged, Link, WriteBar, WriteFailed, WriterReady
from lofid.daemon.memory import give_back, keep_tidy
from lofid.errors import LofidError
from lofid.rwkv.choice import EngineName

MODULE = "lofid.daemon.writer"

_NICENESS = 5  # bars are written ahead: whoever keeps time goes first


def serve(link: Link, station: Station) -> None:
    """Answer jobs, one after the other, without end."""
    while True:
        link.socket.poll()
        job = link.receive()
        if isinstance(job, WriteBar):
            link.send(_answer(job, station))


def _answer(job: WriteBar, station: Station) -> BarWritten | WriteFailed:
    began = time.perf_counter()
    try:
        state = job.state or station.opening(job.settings, job.seed)
        step = station.step(state, job.settings)
    except LofidError as error:
        return WriteFailed(job.job, str(error))
    seconds = time.perf_counter() - began
    return BarWritten(job.job, state, step.bar, step.state, seconds, step.findings)


def main() -> None:
    """Load the models, say so, and write."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--keys-model", type=Path)
    parser.add_argument("--drums-model", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--style")
    parser.add_argument("--engine", type=EngineName, default=EngineName.AUTO)
    arguments = parser.parse_args()
    end_with_parent()
    keep_tidy()
    instead = {"keys": arguments.keys_model, "drums": arguments.drums_model}
    voices = load_voices(instead, arguments.model, arguments.style)
    remarks: list[str] = []
    # No second try here: what a GPU's fault leaves behind ends with the process (see trial.py).
    with opened_relay(voices, arguments.engine, remarks.append, rest=None) as station:
        station.warm_up()
        begin_afresh(MODULE)
        ready = WriterReady(
            models=voices.hashes,
            vocabularies=VOCABULARIES,
            running=station.running,
            beginnings=station.beginnings,
            remarks=tuple(remarks),
        )
        del voices  # the engines have their own copy, in fewer bits
        give_back()
        os.nice(_NICENESS)
        link = Link.calling(zmq.Context(), arguments.socket)
        link.send(ready)

        def told(remark: str) -> None:
            link.send(EngineChanged(station.running, remark))

        station.told = told
        serve(link, station)


if __name__ == "__main__":
    main()
