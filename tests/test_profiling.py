from types import SimpleNamespace

import numpy as np
import pytest

import allconv as ac
from allconv.inspection import profile as profiling
from allconv.inspection.profile import profile
from allconv.models.fusion import fuse
from allconv.parallel.buffers import empty


def rng():
    return np.random.default_rng(3)


def images(n=4):
    return rng().standard_normal((n, 12, 10, 3)).astype(np.float32)


def network():
    return ac.Sequential(
        ac.Conv2D(3, 8, 3, rng=rng()),
        ac.ReLU(),
        ac.Skip(ac.Sequential(ac.Conv2D(8, 8, 3, groups=8, rng=rng()), ac.BatchNorm(8))),
        ac.Dropout(0.3, rng=rng()),
        ac.MeanPool2D(2),
        ac.Flatten(),
        ac.Linear(5 * 6 * 8, 4, rng=rng()),
    )


def test_the_ledger_has_what_the_layers_are():
    model = network()
    ledger = profile(model, images(), runs=2)
    summary = model.summary((12, 10, 3))
    assert [row.path for row in ledger.rows] == [row.path for row in summary.rows]
    assert [row.layer for row in ledger.rows] == [row.layer for row in summary.rows]
    assert [row.output_shape for row in ledger.rows] == [(4, *row.output_shape) for row in summary.rows]
    assert [row.parameters for row in ledger.rows] == [row.parameters for row in summary.rows]
    assert [row.multiply_adds for row in ledger.rows] == [4 * row.multiply_adds for row in summary.rows]
    assert [row.algorithm for row in ledger.rows] == ["banded", "", "depthwise", "", "", "", "", ""]


def test_the_share_of_the_peak_counts_the_passes(monkeypatch):
    class Timed(ac.Linear):
        def forward(self, x, *, training=False):
            clock[0] += 1.0
            return super().forward(x, training=training)

        def backward(self, dy, cache):
            clock[0] += 2.0
            self.backward_parameters(dy, cache)
            return dy @ self.weight.value.T

        def backward_parameters(self, dy, cache):
            clock[0] += 0.5
            super().backward_parameters(dy, cache)

    clock = [0.0]
    monkeypatch.setattr(profiling, "_gemm_peak", lambda dtype: 1000.0)
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: clock[0])
    ledger = profile(ac.Sequential(Timed(10, 20), Timed(20, 30)), np.ones((5, 10), np.float32), runs=2)
    first, second = ledger.rows
    assert (first.forward, first.backward, ledger.forward, ledger.backward) == (1000, 500, 2000, 3000)
    assert first.multiply_adds == 5 * 10 * 20
    assert first.peak_share == pytest.approx(2 * 1000 / 1.5 / 1000)  # y and dW
    assert second.multiply_adds == 5 * 20 * 30
    assert second.backward == pytest.approx(2500)  # what backward calls is counted once
    assert second.peak_share == pytest.approx(3 * 3000 / 3.5 / 1000)  # y, dx and dW


def test_kept_bytes_are_those_of_arrays_that_live_on():
    ledger = profile(network(), images(), runs=1)
    maps = 4 * 12 * 10 * 8 * 4  # bytes of a batch of feature maps
    kept = [row.kept_bytes for row in ledger.rows]
    # The convolution keeps the images, which the caller has anyway; ReLU its output, which the next convolution shares.
    assert kept[:3] == [0, maps, 0]
    assert maps <= kept[3] < maps + 200  # the batch norm its input, and two statistics
    assert kept[4] == maps // 4  # dropout a mask of bools
    assert kept[5] == 0  # pooling nothing but sizes
    assert kept[7] == 4 * 5 * 6 * 8 * 4  # the fully connected layer its input


def test_kept_bytes_of_large_arrays_are_those_of_the_arrays_and_not_of_their_buffers():
    x = rng().standard_normal((8, 32, 32, 16)).astype(np.float32)
    model = ac.Sequential(ac.Conv2D(16, 16, 1, rng=rng()), ac.ReLU(), ac.Tanh())
    larger = [empty((x.nbytes * 15 // 8,), np.dtype(np.uint8)) for _ in range(8)]
    del larger  # what follows gets this memory
    assert [row.kept_bytes for row in profile(model, x, runs=1).rows] == [0, x.nbytes, x.nbytes]


def test_kept_bytes_of_a_cache_of_any_form():
    class Odd(ac.Layer):
        def forward(self, x, *, training=False):
            return x, SimpleNamespace(copy=x.copy(), row=np.broadcast_to(x[:1].copy(), x.shape))

        def backward(self, dy, cache):
            return dy

    (row,) = profile(Odd(), images(), runs=1).rows
    assert row.kept_bytes == images().nbytes + images()[0].nbytes


def test_the_passes_of_frozen_layers(monkeypatch):
    monkeypatch.setattr(profiling, "_gemm_peak", lambda dtype: 1.0)
    model = ac.Sequential(*(ac.Conv2D(3, 3, 3, rng=rng()) for _ in range(4)))
    model[1].weight.trainable = model[2].weight.trainable = model[2].bias.trainable = False
    passes = [
        row.peak_share * (row.forward + row.backward) / 1e3 / row.multiply_adds
        for row in profile(model, images(), runs=1).rows
    ]
    assert passes == pytest.approx([2, 2, 2, 3])  # y and dW, y and dx, y and dx, y and dx and dW


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_peak_is_that_of_the_models_dtype(monkeypatch, dtype):
    seen = []
    monkeypatch.setattr(profiling, "_gemm_peak", lambda dtype: seen.append(dtype) or 1.0)
    profile(ac.Sequential(ac.ReLU(), ac.Conv2D(3, 5, 3, dtype=dtype)), images(), runs=1)
    assert seen == [dtype]
    monkeypatch.undo()
    products = []
    matmul = np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b, out: products.append(a.dtype) or matmul(a, b, out=out))
    assert profiling._gemm_peak(dtype, size=2) > 0
    assert set(products) == {np.dtype(dtype)}


def test_a_layer_that_stands_twice_has_one_line():
    shared = ac.Conv2D(3, 3, 3, rng=rng())
    ledger = profile(ac.Sequential(shared, ac.ReLU(), shared), images(), runs=1)
    assert [row.path for row in ledger.rows] == ["0", "1"]
    assert ledger.rows[0].multiply_adds == 2 * 4 * 12 * 10 * 27 * 3


def test_a_single_layer_has_the_empty_path():
    (row,) = profile(ac.Conv2D(3, 5, 3, rng=rng(), algorithm="winograd"), images(), runs=1).rows
    assert (row.path, row.algorithm) == ("", "winograd")


def test_a_fused_copy_is_measured_at_prediction():
    fused = fuse(network())
    ledger = profile(fused, images(), backward=False, runs=1)
    assert ledger.rows[0].layer == "Conv2D(3, 8, 3) + ReLU()"
    assert ledger.backward == 0
    assert all(row.backward == row.kept_bytes == 0 for row in ledger.rows)
    with pytest.raises(ValueError, match="training must be False for a fused copy"):
        profile(fused, images(), runs=1)


def test_it_prints_as_a_table(monkeypatch):
    ledger = profile(network(), images(), runs=1)
    lines = str(ledger).splitlines()
    assert len(lines) == 1 + 1 + 8 + 1 + 1 + 1
    assert lines[0].split("  ")[0] == "path"
    assert len({len(line) for line in lines[2:4]}) == 1
    assert "2.body.0" in lines[4]
    assert lines[-2].split()[0] == "total"
    workers = ac.get_num_threads()
    assert lines[-1].startswith(f"{workers} worker{'s' * (workers > 1)}, BLAS held to one thread; peak")
    assert repr(ledger) == str(ledger)


def test_it_says_where_blas_cannot_be_limited(monkeypatch):
    monkeypatch.setattr(profiling, "blas_can_be_limited", lambda: False)
    monkeypatch.setattr("allconv.parallel.pool.blas_can_be_limited", lambda: False)
    ledger = profile(ac.ReLU(), images(), runs=1)
    assert (ledger.workers, ledger.blas_is_limited) == (1, False)
    assert "1 worker, BLAS cannot be held to one thread, so no more; peak" in str(ledger)
