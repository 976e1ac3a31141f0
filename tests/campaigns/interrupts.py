"""Ctrl-C at any moment: whatever it cuts short can be done again, or gone on with, and gives the same bits."""

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from helpers.states import differing

import allconv as ac
from allconv.checkpoint.weights import model_state
from allconv.parallel import blas
from campaigns import Case
from campaigns.files import small_model
from campaigns.parts import Parts, check_same, trained


def _interrupted(do: Callable[[], object], seconds: float) -> bool:
    """Do something that an interrupt may cut short after so many seconds; tell whether it came before the end."""
    armed = True

    def interrupt(number: int, frame: object) -> None:
        if armed:
            raise KeyboardInterrupt("of a campaign")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        do()
        armed = False
    except KeyboardInterrupt:
        return True
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return False


def _seconds(do: Callable[[], object]) -> float:
    do()
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _check_idle() -> None:
    """Raise if something of an interrupted call is still at work, or holds BLAS."""
    assert not blas._holders, "BLAS is still limited"
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("allconv")]
    assert len(threads) < ac.get_num_threads() + 3, f"{len(threads)} threads"


def training() -> Iterator[Case]:
    """A plain loop over `train`: it goes on, or says that it stands within a step, and then goes on from a state."""
    ac.set_num_threads(3)
    wanted = trained()
    whole = _seconds(trained)

    def case(rng: np.random.Generator) -> str:
        parts = Parts()
        run = parts.train()
        saved = [run.state]

        def loop() -> None:
            saved.extend(record.state for record in run)

        end = "interrupted" if _interrupted(loop, rng.uniform(1e-4, whole)) else "done"
        _check_idle()
        try:
            run.state  # noqa: B018 - it is refused within a step
        except RuntimeError as error:
            assert "within epoch" in str(error), error  # noqa: PT017 - no error is right, too
            run.load_state(saved[-1])
            end = "within a step"
        for _ in run:
            pass
        check_same(wanted, run.state, "training")
        assert all(parameter.grad is None for parameter in parts.model.parameters()), "a gradient is left"
        return end

    yield case


def inference() -> Iterator[Case]:
    """An evaluation and a prediction: the next ones have the same bits."""
    ac.set_num_threads(3)
    parts = Parts()
    for _ in parts.train():
        pass
    before = model_state(parts.model)
    evaluated, predicted = parts.evaluate(), parts.predict()
    both = {do: _seconds(do) for do in (parts.evaluate, parts.predict)}

    def case(rng: np.random.Generator) -> str:
        do, whole = list(both.items())[rng.integers(2)]
        end = "interrupted" if _interrupted(do, rng.uniform(1e-4, whole)) else "done"
        _check_idle()
        assert parts.evaluate() == evaluated, "another evaluation"
        assert np.array_equal(parts.predict(), predicted), "another prediction"
        assert not differing(before, model_state(parts.model)), "another model"
        return end

    yield case


def saving() -> Iterator[Case]:
    """`save_weights` and `checkpoint.save`: the older file or the newer one is there, whole."""
    with tempfile.TemporaryDirectory() as name:
        path, folder = Path(name) / "weights.npz", Path(name) / "checkpoints"
        old, new = small_model(), small_model()
        new[0].weight.value += 1
        seconds = _seconds(lambda: (ac.save_weights(old, path), ac.checkpoint.save(folder, {"step": 1})))

        def case(rng: np.random.Generator) -> str:
            ac.save_weights(old, path)
            ac.checkpoint.save(folder, {"step": 1, **model_state(old)})

            def save() -> None:
                ac.checkpoint.save(folder, {"step": 1, **model_state(new)})
                ac.save_weights(new, path)

            end = "interrupted" if _interrupted(save, rng.uniform(1e-5, seconds)) else "done"
            loaded = small_model()
            for source in (path, ac.checkpoint.load(folder)):
                state = source if isinstance(source, dict) else None
                if state is None:
                    ac.load_weights(loaded, path)
                    state = model_state(loaded)
                found = {key: state[key] for key in ("model", "layers")}
                assert any(not differing(found, model_state(each)) for each in (old, new)), "another state"
            ac.save_weights(new, path)
            ac.checkpoint.save(folder, {"step": 1})
            left = [item.name for item in Path(name).rglob("*.tmp")]
            assert not left, f"left behind: {left}"
            return end

        yield case


@contextlib.contextmanager
def _without_effect() -> Iterator[None]:
    """Let a signal pass that comes just before a run opens or just after it has ended."""
    before = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def runs() -> Iterator[Case]:
    """SIGINT or SIGTERM during a run of `open_run`: it stops after a step and is saved, and ends with the same bits."""
    ac.set_num_threads(3)
    options = {"columns": ["epoch", "loss"], "progress": False}
    seen: list[int] = []

    def train(folder: Path, *, resume: bool) -> None:
        parts = Parts()
        seen.clear()
        with ac.open_run(folder, {}, resume=resume, **options) as run:
            for record in run.steps(parts.train(resume=run.saved)):
                seen.append(record.epoch * record.steps + record.step)
                if record.epoch_ended:
                    run.log({"epoch": record.epoch, "loss": record.loss})

    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        train(Path(name) / "whole", resume=False)
        seconds = time.perf_counter() - started
        wanted = ac.checkpoint.load(Path(name) / "whole" / "checkpoints")

        def case(rng: np.random.Generator) -> str:
            number = signal.SIGINT if rng.integers(2) else signal.SIGTERM
            end = "done"
            with _without_effect(), tempfile.TemporaryDirectory(dir=name) as folder:
                timer = threading.Timer(rng.uniform(1e-4, seconds), os.kill, (os.getpid(), number))
                timer.start()
                try:
                    train(Path(folder), resume=False)
                except ac.Stopped as stopped:
                    assert stopped.exit_status == 128 + number  # noqa: PT017 - no error is right, too
                    saved = ac.checkpoint.load(Path(folder) / "checkpoints")["step"]
                    assert saved == seen[-1], f"step {saved} is saved of {seen[-1]}"
                    end = "stopped"
                finally:
                    timer.cancel()
                    timer.join()
                train(Path(folder), resume=True)
                check_same(wanted, ac.checkpoint.load(Path(folder) / "checkpoints"), "the run")
            return end

        yield case


CAMPAIGNS = {
    "interrupt-train": ("interrupts of a training loop, which then went on", training),
    "interrupt-infer": ("interrupts of an evaluation or a prediction", inference),
    "interrupt-save": ("interrupts of save_weights and checkpoint.save", saving),
    "interrupt-runs": ("SIGINT and SIGTERM in a run, which was then resumed", runs),
}
