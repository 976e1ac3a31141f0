"""Several processes that train as one: with ranks that are threads, and with real ones under mpiexec."""

import numpy as np
import pytest
from ranks import on_ranks

import allconv as ac
from allconv import distributed
from allconv.functional.group import current
from allconv.parameter import Parameter


def test_gradients_are_summed_in_one_meeting():
    def rank(group):
        single, frozen, double = (
            Parameter(np.zeros((2, 3), np.float32)),
            Parameter(np.zeros(4), trainable=False),
            Parameter(np.zeros((3, 1))),
        )
        own = np.full((2, 3), 1.0 + group.rank, np.float32)
        single.add_grad(own)
        double.add_grad(np.arange(3.0)[:, None] * 10**group.rank)
        distributed.sum_gradients([single, frozen, double])
        assert (own == 1 + group.rank).all(), "the giver's array is left alone"
        assert frozen.grad is None
        return single.grad, double.grad, group.meetings

    for single, double, meetings in on_ranks(3, rank):
        np.testing.assert_array_equal(single, np.full((2, 3), 1 + 2 + 3))
        np.testing.assert_array_equal(double, [[0], [111], [222]])
        assert meetings == ["sum"]


def test_a_missing_gradient_is_named_before_the_ranks_meet():
    def rank(group):
        with pytest.raises(RuntimeError, match="every trainable parameter must have a gradient, got none for 0"):
            distributed.sum_gradients([Parameter(np.zeros(2))])
        return group.meetings

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
        return len(set(places)), weight.value

    for places, value in on_ranks(2, rank):
        assert places == 1
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

    if change == "nothing":
        on_ranks(2, rank)
    else:
        with pytest.raises(RuntimeError, match=r"the model's weights .* on all 2 ranks, got others.* on \[1\]"):
            on_ranks(2, rank)


def test_started_alone_it_is_one_process():
    before, threads = current(), ac.get_num_threads()
    try:
        group = distributed.start()
        assert (group.rank, group.size, ac.get_num_threads()) == (0, 1, threads)
        distributed.start(3)
        assert ac.get_num_threads() in (1, 3)  # 1 where BLAS cannot be held to one thread
    finally:
        ac.set_num_threads(threads)
        distributed.set_process_group(before)
    with pytest.raises(ValueError, match="threads must be a positive int, got 0"):
        distributed.start(0)


@pytest.mark.parametrize("missing", ["package", "library"])
def test_without_mpi_the_extra_is_named(missing, monkeypatch):
    import sys
    from types import ModuleType

    class WithoutLibrary(ModuleType):
        def __getattr__(self, name):
            raise RuntimeError("cannot load MPI library")

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None if missing == "package" else WithoutLibrary("mpi4py"))
    with pytest.raises(ImportError, match=r"several processes need mpi4py and an MPI: pip install 'allconv\[mpi\]'"):
        distributed.start()
