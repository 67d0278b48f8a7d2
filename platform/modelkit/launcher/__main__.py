"""Imports what trainings need and starts the loop; `modelkit.launcher` tells the arguments."""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import time
from pathlib import Path

import psutil

import modelkit.launcher
from modelkit.launcher.loop import Launcher

logger = logging.getLogger("tuneyard.launcher")

#: What a training imports before its own code; modules missing here (an installation without them) are skipped.
DEFAULT_PRELOAD = "torch,transformers,transformers.models.auto.modeling_auto,transformers.models.bert.modeling_bert"


def preload(names: list[str]) -> list[str]:
    """Import modules, saying which could not be; returns those imported."""
    done = []
    for name in names:
        began = time.monotonic()
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken plugin must not keep every other task from running
            logger.warning("%s is not preloaded: %s: %s", name, type(error).__name__, error)
            continue
        done.append(name)
        logger.info("Preloaded %s in %.1f s.", name, time.monotonic() - began)
    return done


def _recipes() -> list[str]:
    """The training module of every task, so that the first batch waits for no import."""
    from modelkit import catalog

    return [f"modelkit.tasks.{name}.train" for name in catalog.tasks()]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m modelkit.launcher", description=str(modelkit.launcher.__doc__).splitlines()[0]
    )
    parser.add_argument("--socket", type=Path, required=True)
    home = Path(os.environ.get("TUNEYARD_HOME", "") or "var")
    parser.add_argument("--jobs", type=Path, default=home / "jobs", help="the folder that holds the job folders")
    parser.add_argument("--preload", default=DEFAULT_PRELOAD, help="modules, separated by commas; recipes come on top")
    parser.add_argument("--stop-timeout", type=float, default=20.0, help="seconds that checkpoints may take at a stop")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    # Thread pools do not survive a fork: none may start here. The child sets its own numbers.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    options.jobs.mkdir(parents=True, exist_ok=True)
    names = [name for name in options.preload.split(",") if name]
    preloaded = preload(names + (_recipes() if names else []))
    # What is alive now stays: the collector leaves these pages alone, and they stay shared with the children.
    gc.collect()
    gc.freeze()
    threads = psutil.Process().num_threads()
    if threads > 1:
        logger.warning("%d threads run after the imports; a forked child may find a lock held for ever.", threads)
    launcher = Launcher(
        socket_path=options.socket,
        jobs=options.jobs.resolve(),
        preloaded=preloaded,
        stop_timeout_s=options.stop_timeout,
    )
    logger.info("Ready at %s.", options.socket)
    launcher.run()
    options.socket.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
