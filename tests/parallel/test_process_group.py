"""Who has which rows, and the layers whose batch is on several ranks: what they compute is what one process would."""

import threading

import numpy as np
import pytest
from helpers.ranks import on_ranks

from allconv.layers.batchnorm import BatchNorm
from allconv.layers.dropout import Dropout
from allconv.parallel.process_group import ProcessGroup, current, set_process_group, shard_of, shared_over, use_group


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shards_are_consecutive_and_even(size):
    for total in range(30):
        parts = [shard_of(total, rank, size) for rank in range(size)]
        assert [row for part in parts for row in range(total)[part]] == list(range(total))
        lengths = [part.stop - part.start for part in parts]
        assert max(lengths) - min(lengths) <= 1


def test_one_process_is_a_group_of_its_own():
    group, array = ProcessGroup(), np.arange(3.0)
    assert current().size == 1
    assert array[group.shard(3)].tolist() == [0, 1, 2]
    assert group.all_reduce(array) is array
    assert group.all_gather(array, 3) is array
    assert group.offset(5) == (0, 5)
    group.barrier()


def test_a_thread_may_work_in_another_group_than_its_process():
    process, other = ProcessGroup(), ProcessGroup()
    before = current()
    set_process_group(process)
    try:
        seen = []
        with use_group(other):
            with use_group(process):
                assert current() is process
            assert current() is other
            thread = threading.Thread(target=lambda: seen.append(current()))
            thread.start()
            thread.join()
        assert seen == [process]
        assert current() is process
    finally:
        set_process_group(before)


def test_too_few_images_are_not_shared():
    def sizes(group):
        found = []
        for total in (1, 2, 3, 4):
            with shared_over(total) as shared:
                found.append(shared.size)
                assert current() is shared
            assert current() is group
        return found

    assert on_ranks(3, sizes) == [[1, 1, 3, 3]] * 3


@pytest.mark.parametrize("counts", [(2, 3, 2), (0, 4, 1)])
def test_the_offset_of_a_ranks_rows(counts):
    assert on_ranks(3, lambda group: group.offset(counts[group.rank])) == [
        (0, sum(counts)),
        (counts[0], sum(counts)),
        (counts[0] + counts[1], sum(counts)),
    ]


@pytest.mark.parametrize("shape", [(7, 3), (5, 4, 2, 3), (3, 3)])
def test_batchnorm_over_all_ranks(shape):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(3, 2, shape), rng.normal(size=shape)

    def layer():
        fresh, values = BatchNorm(3, dtype=np.float64), np.random.default_rng(1)
        for parameter in fresh.parameters():
            parameter.value = values.uniform(0.5, 2, 3)
        return fresh

    def passes(layer, part):
        y, cache = layer.forward(x[part], training=True)
        return y, layer.backward(dy[part], cache)

    whole = layer()
    y, dx = passes(whole, slice(None))

    def rank(group):
        own = layer()
        return own, *passes(own, group.shard(len(x)))

    layers, ys, dxs = zip(*on_ranks(3, rank), strict=True)
    np.testing.assert_allclose(np.concatenate(ys), y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(dxs), dx, rtol=1e-10, atol=1e-12)
    for name in ("weight", "bias"):
        summed = sum(getattr(own, name).grad for own in layers)
        np.testing.assert_allclose(summed, getattr(whole, name).grad, rtol=1e-12, atol=1e-12)
    for name in ("running_mean", "running_var"):
        for own in layers:
            np.testing.assert_allclose(getattr(own, name).value, getattr(whole, name).value, rtol=1e-12)
            np.testing.assert_array_equal(getattr(own, name).value, getattr(layers[0], name).value)


def test_batchnorm_over_all_ranks_keeps_a_small_variance_beside_a_large_mean():
    x = (1e4 + np.arange(6)[:, None, None, None] + np.random.default_rng(5).normal(size=(6, 8, 8, 4))).astype("f")
    exact = x.astype(np.float64)

    def rank(group):
        layer = BatchNorm(4, momentum=1.0)
        layer.forward(x[group.shard(6)], training=True)
        return layer

    for layer in on_ranks(3, rank):
        np.testing.assert_allclose(layer.running_mean.value, exact.mean(axis=(0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(layer.running_var.value, exact.var(axis=(0, 1, 2), ddof=1), rtol=1e-3)


def test_batchnorm_at_inference_needs_no_other_rank():
    def rank(group):
        layer = BatchNorm(3)
        y, cache = layer.forward(np.ones((1, 3), np.float32))
        layer.backward(y, cache)
        return group.collectives

    assert on_ranks(2, rank) == [[], []]


def test_dropout_has_the_mask_of_the_whole_batch():
    x = np.random.default_rng(0).normal(size=(7, 5, 3)).astype(np.float32)

    def passes(part, times):
        layer = Dropout(0.4, rng=np.random.default_rng(2))
        ys = [layer.forward(x[part], training=True)[0] for _ in range(times)]
        return ys, layer.state()

    ys, state = passes(slice(None), 3)
    ranks = on_ranks(3, lambda group: passes(group.shard(7), 3))
    for step, y in enumerate(ys):
        np.testing.assert_array_equal(np.concatenate([own[step] for own, _ in ranks]), y)
    assert [own for _, own in ranks] == [state] * 3
