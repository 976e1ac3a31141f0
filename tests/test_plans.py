"""Plans of a fused copy: the same function, the same bits in any number of threads, and bounded memory."""

import copy
import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from test_fuse import MODELS, conv, linear, norm, rng, stir

import allconv as ac
from allconv.models import all_cnn, article_net, fuse, lenet, resnet20
from allconv.models.planning import builder, pools
from allconv.parallel import buffers

SIZES = {
    "wide": ([conv(3, 40), ac.ReLU(), conv(40, 36), ac.ReLU()], (9, 8)),
    "winograd, odd sizes": ([conv(3, 8, algorithm="winograd")], (11, 7)),
    "winograd, 5x5": ([conv(3, 8, 5, algorithm="winograd", padding="valid")], (13, 10)),
    "winograd, stride 2": ([conv(3, 8, stride=2, algorithm="winograd")], (9, 12)),
    "winograd, two strides": ([conv(3, 8, (3, 5), stride=(1, 2), padding=3, algorithm="winograd")], (9, 12)),
    "winograd, many tiles": ([conv(3, 4, algorithm="winograd")], (33, 30)),
    "im2col": ([conv(3, 8, (3, 2), stride=(2, 1), padding=(1, 0, 2, 3), dilation=(1, 2))], (9, 12)),
    "banded": ([conv(3, 4, 5, algorithm="banded")], (9, 12)),
    "1x1": ([conv(3, 8, 1), ac.ReLU(), conv(8, 5, 1, stride=2)], (9, 12)),
    "1x1 with padding": ([conv(3, 8, 1, padding=1)], (4, 5)),
    "a padded copy": ([conv(3, 4), ac.Skip(conv(4, 5, 1, stride=2), shortcut=conv(4, 5, stride=2))], (8, 8)),
    "a layer of its own": ([conv(3, 4), ac.Skip(ac.Sequential(ac.Dropout(0.5), norm(4))), conv(4, 4)], (9, 8)),
    "pools": ([conv(3, 4), ac.MaxPool2D(3, stride=2), ac.MeanPool2D((2, 3)), ac.MaxPool2D(1)], (14, 15)),
    "padded pools": (
        [ac.MaxPool2D(3, stride=2, padding="same"), ac.MeanPool2D(2, ceil_mode=True), conv(3, 4)],
        (14, 15),
    ),
    "a long mean": ([conv(3, 4), ac.GlobalAveragePool2D(keepdims=True)], (14, 15)),
    "a mean with margins": ([ac.Skip(ac.Sequential(ac.GlobalAveragePool2D(keepdims=True), conv(3, 3)))], (1, 1)),
    "linear": ([ac.Flatten(), linear(24, 9), ac.ReLU(), linear(9, 1, bias=False)], (4, 2)),
    "a cut shortcut": ([ac.Skip(conv(3, 3), scale=0.0)], (6, 6)),
}


def draw(n, size, channels=3, dtype=np.float64):
    return np.random.default_rng(7).standard_normal((n, *size, channels)).astype(dtype)


def has_plan(fused, x):
    plan = fused._plans._waiting.take(x.shape)
    if plan is not None:
        fused._plans._waiting.put_back(x.shape, plan)
    return plan is not None


@pytest.fixture
def cut_everything(monkeypatch):
    """Let two threads share the smallest layers."""
    monkeypatch.setattr(builder, "_LEAST_SHARED_WORK", 1)
    monkeypatch.setattr(pools, "_LEAST_SHARED", 1)


def model_and_images(name, n):
    """Return one of the models of SIZES, or of the tests of `fuse`, and n images for it."""
    if name in MODELS:
        return stir(MODELS[name]()), draw(n, (9, 8))
    layers, size = SIZES[name]
    return stir(copy.deepcopy(ac.Sequential(*layers))), draw(n, size)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("n", [1, 3])
def test_a_plan_computes_what_the_model_computes(name, n):
    model, x = model_and_images(name, n)
    fused = fuse(model)
    for _ in range(2):
        np.testing.assert_allclose(fused(x), model(x), rtol=1e-9, atol=1e-9)
        assert has_plan(fused, x)


@pytest.mark.usefixtures("cut_everything")
@pytest.mark.parametrize("name", [*SIZES, *MODELS])
@pytest.mark.parametrize("n", [1, 3])
def test_two_parts_compute_the_same_in_any_number_of_threads(name, n):
    model, x = model_and_images(name, n)
    fused = fuse(model)
    y = same_with_any_threads(lambda: fused(x))
    np.testing.assert_allclose(y, model(x), rtol=1e-9, atol=1e-9)
    assert has_plan(fused, x) or name == "no weights"


NETS = {
    "convpool": (lambda: article_net("convpool", activation="relu", rng=rng()), (32, 32, 3)),
    "allcnn": (lambda: article_net("allcnn", dilated=True, rng=rng()), (32, 32, 3)),
    "all_cnn": (lambda: all_cnn("C", "base", rng=rng()), (32, 32, 3)),
    "lenet": (lambda: lenet(rng=rng()), (28, 28, 1)),
    "resnet20": (lambda: resnet20("B", rng=rng()), (32, 32, 3)),
}


@pytest.mark.parametrize(("build", "shape"), NETS.values(), ids=NETS)
def test_an_image_through_a_net_has_the_same_bits_in_any_number_of_threads(build, shape):
    model, x = build(), draw(1, shape[:2], shape[2], np.float32)
    fused = fuse(model)
    y = same_with_any_threads(lambda: [fused(x) for _ in range(3)])[0]
    expected = model(x)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert has_plan(fused, x)


def test_sixteen_threads_predict_at_once():
    ac.set_num_threads(2)
    fused = fuse(NETS["convpool"][0]())
    images = [draw(1, (16 + 8 * (k % 3), 32), 3, np.float32) * (k + 1) for k in range(24)]
    expected = [fused(x).tobytes() for x in images]
    with ThreadPoolExecutor(16) as threads:
        assert [y.tobytes() for y in threads.map(fused, images * 4)] == expected * 4


def test_a_prediction_allocates_its_result_alone(one_thread):
    """NumPy's ufuncs take a buffer of 8192 numbers for each array, one call after another."""
    fused = fuse(NETS["convpool"][0]())
    x = draw(1, (32, 32), 3, np.float32)
    fused(x)
    gc.collect()
    tracemalloc.start()
    fused(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 8192 * 4


def test_an_output_is_an_array_of_the_caller():
    fused = fuse(NETS["lenet"][0]())
    x = draw(1, (28, 28), 1, np.float32)
    first = fused(x)
    kept = first.copy()
    fused(-x)[...] = 7
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(fused(x), kept)


def test_memory_is_bounded_over_many_sizes():
    ac.free_memory()
    fused = fuse(NETS["all_cnn"][0]())
    kept = []
    for k in range(200):
        x = draw(1, (8 + k // 10, 9 + 2 * (k % 10)), 3, np.float32)
        fused(x)
        kept.append(buffers.kept_bytes())
    assert len(fused._plans._waiting._waiting) == 8
    assert max(kept) < 160 << 20
    assert max(kept[100:]) < 2 * max(kept[:100])
    ac.free_memory()
    assert not has_plan(fused, x)
    assert buffers.kept_bytes() == 0


def test_without_kept_memory_no_plan_waits():
    limit = ac.get_memory_limit()
    fused, x = fuse(NETS["all_cnn"][0]()), draw(1, (32, 32), 3, np.float32)
    expected = fused(x)
    try:
        ac.set_memory_limit(0)
        np.testing.assert_array_equal(fused(x), expected)
        assert not has_plan(fused, x)
    finally:
        ac.set_memory_limit(limit)


def test_a_large_batch_is_computed_layer_by_layer():
    model = NETS["lenet"][0]()
    fused, x = fuse(model), draw(600, (28, 28), 1, np.float32)
    for _ in range(2):
        np.testing.assert_allclose(fused(x), model(x), rtol=0, atol=1e-4)
        assert not has_plan(fused, x)
    assert list(fused._plans._too_large) == [x.shape]


def test_settings_that_change_later_count():
    fused = fuse(ac.Sequential(conv(3, 3), ac.Skip(conv(3, 3), scale=0.5), conv(3, 3), ac.LeakyReLU(0.1), norm(3)))
    x = draw(1, (9, 8))
    before = fused(x)
    fused[1].scale = 3.0
    other = fused(x)
    np.testing.assert_allclose(other, copy.deepcopy(fused)(x), rtol=1e-12)
    assert not np.allclose(other, before)
    fused[1].scale = 0.5
    np.testing.assert_array_equal(fused(x), before)
    last, fused[3] = fused[3], ac.ReLU()
    np.testing.assert_allclose(fused(x), np.maximum(fused[:3](x), 0), rtol=1e-12)
    fused[3] = last
    np.testing.assert_array_equal(fused(x), before)


def test_observers_see_each_call():
    fused = fuse(ac.Sequential(conv(3, 3), ac.ReLU(), ac.MaxPool2D(2)))
    x, seen = draw(1, (8, 8)), []
    before = fused(x)

    def watch(call, x):
        seen.append(call.path)
        return call(x)

    with ac.observe(fused, forward=watch):
        np.testing.assert_allclose(fused(x), before, rtol=1e-12)
    assert seen == ["0", "1"]
    np.testing.assert_array_equal(fused(x), before)
    assert seen == ["0", "1"]


def test_any_floating_image_is_taken():
    fused = fuse(NETS["lenet"][0]())
    x = draw(1, (28, 28), 1, np.float32)
    expected = fused(x)
    wide = np.zeros((1, 56, 28, 1), np.float32)
    wide[:, ::2] = x
    for same in (x.astype(np.float64), wide[:, ::2], np.asfortranarray(x), x.astype(">f4")):
        np.testing.assert_array_equal(fused(same), expected)
    with pytest.raises(ValueError, match="x must hold numbers that fit into float32"):
        fused(np.full((1, 28, 28, 1), 1e300))


def test_infinities_warn_no_more_than_in_the_model():
    model = NETS["lenet"][0]()
    fused, x = fuse(model), np.full((1, 28, 28, 1), np.inf, np.float32)
    assert np.isnan(fused(x)).all()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        fused(x)
    np.testing.assert_allclose(fused(np.ones_like(x)), model(np.ones_like(x)), atol=1e-5)


def test_layers_of_two_dtypes_and_of_one_s_own_have_no_plan():
    class Own(ac.ReLU):
        pass

    x = draw(1, (8, 8))
    for model in (ac.Sequential(conv(3, 3), ac.Conv2D(3, 3, 3)), ac.Sequential(conv(3, 3), Own())):
        fused = fuse(model)
        np.testing.assert_allclose(fused(x), model(x), rtol=1e-6)
        assert not has_plan(fused, x)
