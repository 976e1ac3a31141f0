"""Several processes that train as one: with ranks that are threads, and with real ones under mpiexec."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers import rank_program
from helpers.programs import ROOT
from helpers.ranks import on_ranks

import allconv as ac
from allconv import distributed
from allconv.parallel.process_group import current
from allconv.parameter import Parameter


def test_gradients_are_summed_in_one_collective():
    def rank(group):
        single, double = Parameter(np.zeros((2, 3), np.float32)), Parameter(np.zeros((3, 1)))
        frozen = Parameter(np.zeros(4), trainable=False)
        own = np.full((2, 3), 1.0 + group.rank, np.float32)
        single.add_grad(own)
        double.add_grad(np.arange(3.0)[:, None] * 10**group.rank)
        distributed.sum_gradients([single, frozen, double])
        assert (own == 1 + group.rank).all(), "the giver's array is left alone"
        assert frozen.grad is None
        return single.grad, double.grad, group.collectives

    for single, double, collectives in on_ranks(3, rank):
        np.testing.assert_array_equal(single, np.full((2, 3), 1 + 2 + 3))
        np.testing.assert_array_equal(double, [[0], [111], [222]])
        assert collectives == ["all_reduce"]


def test_a_missing_gradient_is_named_before_the_ranks_meet():
    def rank(group):
        with pytest.raises(RuntimeError, match="every trainable parameter must have a gradient, got none for 0"):
            distributed.sum_gradients([Parameter(np.zeros(2))])
        return group.collectives

    assert on_ranks(2, rank) == [[], []]


def test_the_gradients_memory_is_used_again():
    def rank(group):
        weight = Parameter(np.zeros(1 << 16, np.float32))
        optimizer, places = ac.SGD([weight], 0.1), []
        for _ in range(4):
            weight.add_grad(np.ones(1 << 16, np.float32))
            distributed.sum_gradients(optimizer.parameters)
            places.append(weight.grad.ctypes.data)
            optimizer.step()
        return places, weight.value

    results = on_ranks(2, rank)
    # The ranks are threads of one process here, so that one may take what the other has given back.
    assert len({place for places, _ in results for place in places}) <= 2
    for _, value in results:
        np.testing.assert_allclose(value, -0.1 * 2 * 4, rtol=1e-6)


def test_one_process_keeps_its_gradients():
    weight, gradient = Parameter(np.zeros(2)), np.ones(2)
    weight.add_grad(gradient)
    distributed.sum_gradients([weight])
    assert weight.grad is gradient
    distributed.check_same("anything", b"")
    distributed.check_same_model(ac.Linear(2, 2))


def test_what_is_not_the_same_on_all_ranks_is_named():
    def rank(group):
        distributed.check_same("the seed", b"5")
        with pytest.raises(RuntimeError) as caught:
            distributed.check_same("the seed", b"%d" % (group.rank // 2))
        return str(caught.value)

    message = "the seed must be the same on all 4 ranks, got others than rank 0's on [2, 3]"
    assert on_ranks(4, rank) == [message] * 4


@pytest.mark.parametrize("change", ["weight", "generator", "nothing"])
def test_models_that_went_apart(change):
    def rank(group):
        rng = np.random.default_rng(0)
        model = ac.Sequential(ac.Linear(3, 2, rng=rng), ac.Dropout(0.5, rng=rng))
        if group.rank == 1 and change == "weight":
            model[0].weight.value[0, 0] = np.nextafter(model[0].weight.value[0, 0], 9)
        if group.rank == 1 and change == "generator":
            with distributed.alone():
                model[1].forward(np.ones((1, 3)), training=True)
        distributed.check_same_model(model)

    message = r"the model's weights .* on all 2 ranks, got others.* on \[1\]"
    with nullcontext() if change == "nothing" else pytest.raises(RuntimeError, match=message):
        on_ranks(2, rank)


def test_started_alone_it_is_one_process():
    before, threads = current(), ac.get_num_threads()
    try:
        group = distributed.start()
        assert (group.rank, group.size, ac.get_num_threads()) == (0, 1, threads)
        distributed.start(3)
        assert ac.get_num_threads() in (1, 3)  # 1 where BLAS cannot be held to one thread
    finally:
        distributed.set_process_group(before)
    with pytest.raises(ValueError, match="threads must be a positive int, got 0"):
        distributed.start(0)


@pytest.mark.parametrize("missing", ["package", "library"])
def test_without_mpi_the_extra_is_named(missing, monkeypatch):
    class WithoutLibrary(ModuleType):
        def __getattr__(self, name):
            raise RuntimeError("cannot load MPI library")

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None if missing == "package" else WithoutLibrary("mpi4py"))
    with pytest.raises(ImportError, match=r"several processes need mpi4py and an MPI: pip install 'allconv\[mpi\]'"):
        distributed.start()


# A whole training, against that of one process: in float64, so that another order of the sums is all that may show.


@pytest.fixture(scope="module")
def alone():
    return rank_program.run()


def assert_same_training(outcome, expected):
    for name in ("losses", "test"):
        np.testing.assert_allclose(outcome[name], expected[name][-len(outcome[name]) :], rtol=1e-9)
    for own, other in zip(outcome["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_train_as_one_process_does(size, alone):
    outcomes = on_ranks(size, lambda group: rank_program.run(rank=group.rank))
    assert_same_training(outcomes[0], alone)
    assert all(outcome == outcomes[0] for outcome in outcomes), "the same bits on all ranks"


def test_a_step_has_one_sum_of_gradients_and_one_gathering_of_scores():
    def rank(group):
        rng = np.random.default_rng(0)
        model = ac.Sequential(ac.Flatten(), ac.Linear(48, 5, rng=rng), ac.ReLU(), ac.Linear(5, 2, rng=rng))
        data = ac.data.Dataset(np.zeros((8, 4, 4, 3), np.uint8), np.arange(8) % 2)
        loss, optimizer = ac.SoftmaxCrossEntropy(), ac.SGD(model.parameters(), 0.1)
        training = ac.train(model, loss, optimizer, ac.data.Loader(data, 4), epochs=1, report_every=1)
        next(training)
        group.collectives.clear()
        next(training)
        return group.collectives

    assert on_ranks(2, rank) == [["all_gather", "all_reduce"]] * 2


@pytest.mark.parametrize("what", ["seed", "data", "weights"])
def test_ranks_that_differ_are_refused_when_train_is_called(what):
    def rank(group):
        parts = rank_program.Parts(seed=group.rank if what == "weights" else 0)
        if what == "seed":
            parts.loader.seed += group.rank
        if what == "data":
            parts.data.labels[3] = group.rank
        parts.train()

    words = "the model's weights" if what == "weights" else "the run "
    with pytest.raises(RuntimeError, match=rf"{words}.* must be the same on all 2 ranks, got others .* on \[1\]"):
        on_ranks(2, rank)


# With MPI, each rank a process.


def mpiexec(ranks, *program, status=0, **environment):
    """Run a program on so many ranks; return what it printed and what it said of errors."""
    pytest.importorskip("mpi4py")
    launcher = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if launcher is None:
        pytest.skip("no mpiexec")
    clean = {name: value for name, value in os.environ.items() if name != "ALLCONV_NUM_THREADS"}
    command = [launcher, "-n", str(ranks), sys.executable, *map(str, program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean | environment)
    assert (result.returncode == 0) == (status == 0), result.stdout + result.stderr
    return result.stdout, result.stderr


PROGRAM = ["-m", "mpi4py", ROOT / "tests" / "helpers" / "rank_program.py"]


@pytest.mark.scripts
@pytest.mark.parametrize("size", [2, 3])
def test_processes_train_as_one_does(size, alone, tmp_path):
    mpiexec(size, *PROGRAM, tmp_path)
    outcomes = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(size)]
    assert_same_training(outcomes[0], alone)
    assert all(outcome == outcomes[0] for outcome in outcomes), "the same bits on all ranks"
    assert outcomes[0]["threads"] == max(1, len(os.sched_getaffinity(0)) // size)


@pytest.mark.scripts
def test_a_run_goes_on_with_another_number_of_processes(alone, tmp_path):
    mpiexec(2, *PROGRAM, tmp_path, "half", ALLCONV_NUM_THREADS="2")
    assert json.loads((tmp_path / "rank1.json").read_text())["threads"] == 2
    outcome = rank_program.run(tmp_path)
    assert len(outcome["losses"]) == 5
    assert_same_training(outcome, alone)


@pytest.mark.scripts
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raise", "ValueError: this rank has had enough"),
        ("die", ""),
        ("apart", "the model's weights .* must be the same on all 2 ranks, got others than rank 0's on [1]"),
    ],
)
def test_a_rank_that_fails_ends_the_job(what, message, tmp_path):
    printed, errors = mpiexec(2, *PROGRAM, tmp_path, what, status=1)
    if what == "die":
        assert "signal 9" in printed + errors or "Killed" in printed + errors
    for words in message.split(".*"):
        assert words in errors
    assert not list(tmp_path.glob("rank*.json"))


@pytest.mark.scripts
def test_without_m_mpi4py_it_is_refused(tmp_path):
    _, errors = mpiexec(2, ROOT / "tests" / "helpers" / "rank_program.py", tmp_path, status=1)
    assert "must be started by mpiexec -n N python -m mpi4py PROGRAM" in errors
