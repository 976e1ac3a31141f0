"""The fused copy computes what the model computes, and is frozen."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import allconv as ac
from allconv.models import article_net, residual_net
from allconv.models.fusion import Fused, fuse

ACTIVATIONS = [ac.ELU(0.7), ac.GELU(), ac.LeakyReLU(0.2), ac.ReLU(), ac.ReLU6(), ac.Sigmoid(), ac.SiLU(), ac.Tanh()]


def rng():
    return np.random.default_rng(5)


def stir(model):
    """Give every parameter a value of its own, the running statistics too."""
    for parameter in model.parameters():
        parameter.value += 0.3 * rng().random(parameter.value.shape)
    return model


def conv(in_channels, out_channels, kernel=3, **options):
    return ac.Conv2D(in_channels, out_channels, kernel, dtype=np.float64, rng=rng(), **options)


def linear(in_features, out_features, **options):
    return ac.Linear(in_features, out_features, dtype=np.float64, rng=rng(), **options)


def norm(channels):
    return ac.BatchNorm(channels, dtype=np.float64)


MODELS = {
    "a convolution": lambda: conv(3, 5),
    "with a norm": lambda: ac.Sequential(conv(3, 5, bias=False), norm(5)),
    "with two norms and a bias": lambda: ac.Sequential(conv(3, 5), norm(5), norm(5), ac.ReLU()),
    "a norm first": lambda: ac.Sequential(norm(3), ac.ReLU(), conv(3, 5), ac.MaxPool2D(2)),
    "a norm after the activation": lambda: ac.Sequential(conv(3, 5), ac.ReLU(), norm(5), ac.ELU()),
    "strided, grouped, depthwise": lambda: ac.Sequential(
        conv(3, 8, 5, stride=2), norm(8), ac.SiLU(), conv(8, 4, groups=2, bias=False), norm(4), conv(4, 4, groups=4),
        norm(4), ac.Tanh(),
    ),
    "wide": lambda: ac.Sequential(conv(3, 70, padding="valid"), norm(70), ac.ReLU(), conv(70, 130), ac.ELU()),
    "fully connected": lambda: ac.Sequential(
        ac.Flatten(), linear(9 * 8 * 3, 7, bias=False), norm(7), ac.ReLU(), linear(7, 4), ac.Softmax()
    ),
    "nested": lambda: ac.Sequential(
        ac.Sequential(conv(3, 4), ac.Sequential(norm(4))), ac.ReLU(), ac.Dropout(0.5, rng=rng()),
        ac.Skip(ac.Sequential(conv(4, 4), norm(4), ac.ReLU()), scale=0.4), ac.GlobalAveragePool2D(),
    ),
    "a shortcut": lambda: ac.Skip(ac.Sequential(conv(3, 3), norm(3)), scale=-2.0, in_forward=True),
    "side by side": lambda: ac.Branches(
        ac.Sequential(conv(3, 4, 1), norm(4), ac.ReLU()),
        ac.Skip(ac.Sequential(conv(3, 4), norm(4)), scale=0.3, shortcut=ac.Sequential(conv(3, 4, 1), norm(4))),
        merge="sum",
    ),
    "a shortcut of the backward pass": lambda: ac.Skip(conv(3, 3), in_forward=False),
    "a layer twice": lambda: (lambda shared: ac.Sequential(shared, norm(3), ac.ReLU(), shared, ac.ReLU()))(conv(3, 3)),
    "no weights": lambda: ac.Sequential(ac.ReLU(), ac.MeanPool2D(2)),
}  # fmt: skip


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("n", [1, 6])
def test_a_fused_copy_computes_the_same(build, n):
    model = stir(build())
    x = rng().standard_normal((n, 9, 8, 3))
    fused = fuse(model)
    np.testing.assert_allclose(fused(x), model(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(fused.forward(x)[0], fused(x))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("algorithm", ["im2col", "banded", "winograd"])
def test_an_activation_is_fused(activation, algorithm):
    model = ac.Sequential(stir(conv(3, 6, algorithm=algorithm)), activation)
    fused = fuse(model)
    assert len(fused) == 1
    assert repr(fused[0]).endswith(f" + {activation!r}")
    assert repr(copy.deepcopy(fused)) == repr(pickle.loads(pickle.dumps(fused))) == repr(fused)
    x = rng().standard_normal((3, 11, 7, 3))
    np.testing.assert_allclose(fused(x), model(x), rtol=1e-12, atol=1e-12)


def test_norms_and_activations_go_into_the_convolutions():
    fused = fuse(residual_net(1, option="B", rng=rng()))
    kinds = [type(layer).__mro__[1].__name__ for layer in fused.walk()]
    assert not any(isinstance(layer, ac.BatchNorm) for layer in fused.walk())
    assert kinds.count("Conv2D") == 9  # two of them on shortcuts
    assert sum(type(layer) is ac.ReLU for layer in fused) == 3  # those after a sum


@pytest.mark.parametrize("kind", ["allcnn", "convpool"])
@pytest.mark.parametrize("n", [1, 3])
def test_the_article_nets_in_float32(kind, n):
    model = article_net(kind, dilated=True, rng=rng())
    x = rng().standard_normal((n, 32, 32, 3)).astype(np.float32)
    y = model(x)
    fused = fuse(model)(x)
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, y, rtol=0, atol=1e-5 * np.abs(y).max())


def test_training_the_model_changes_the_model_and_not_the_copy():
    model = stir(MODELS["nested"]())
    x = rng().standard_normal((2, 9, 8, 3))
    fused = fuse(model)
    before, kept = model(x), fused(x)
    for parameter in model.parameters():
        parameter.value += 0.1
    model.layers[3].scale = 5.0
    assert not np.allclose(model(x), before)  # it reads the current weights
    np.testing.assert_array_equal(fused(x), kept)


def test_the_copy_and_its_copies_are_frozen():
    fused = fuse(MODELS["strided, grouped, depthwise"]())
    for each in (fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        parameters = each.parameters()
        assert len(parameters) == 6
        for parameter in parameters:
            assert not parameter.trainable
            with pytest.raises(ValueError, match="read-only"):
                parameter.value += 1
            with pytest.raises(ValueError, match="read-only"):
                parameter.value = np.zeros_like(parameter.value)


def test_there_is_no_way_back():
    fused = fuse(MODELS["with a norm"]())
    y, cache = fused.forward(np.ones((1, 9, 8, 3)))
    assert cache is None
    for backward in (fused.backward, fused.backward_parameters):
        with pytest.raises(
            RuntimeError, match="backward must be called on the model itself: a fused copy is for prediction only"
        ):
            backward(y, cache)
        with pytest.raises(RuntimeError, match="backward must be called on the model itself"):
            backward(y, cache, release=True)
    with pytest.raises(ValueError, match="training must be False for a fused copy, .* got True"):
        fused.forward(np.ones((1, 9, 8, 3)), training=True)


def test_a_layer_of_one_s_own_is_copied_and_not_looked_into():
    class Twice(ac.Conv2D):
        def forward(self, x, *, training=False):
            y, cache = super().forward(x, training=training)
            return 2 * y, cache

    own = Twice(3, 3, 3, dtype=np.float64, rng=rng())
    model = ac.Sequential(own, norm(3), ac.ReLU())
    fused = fuse(stir(model))
    assert [type(layer) for layer in fused] == [Twice, ac.BatchNorm, ac.ReLU]
    assert fused[0] is not own
    x = rng().standard_normal((2, 9, 8, 3))
    np.testing.assert_allclose(fused(x), model(x), rtol=1e-12)


def test_bad_input_is_refused_as_by_the_model():
    fused = fuse(MODELS["a convolution"]())
    with pytest.raises(ValueError, match="x must have shape"):
        fused(np.ones((1, 9, 8, 4)))
    with pytest.raises(TypeError, match="x must be an array of real floating dtype"):
        fused(np.ones((1, 9, 8, 3), int))


def test_it_may_be_fused_again():
    model = MODELS["nested"]()
    x = rng().standard_normal((2, 9, 8, 3))
    np.testing.assert_allclose(fuse(fuse(model))(x), model(x), rtol=1e-12)


def test_predicting_takes_no_more_memory_for_more_images(one_thread):
    fused = fuse(ac.Sequential(conv(3, 16), ac.ReLU(), ac.GlobalAveragePool2D()))
    peaks = []
    for n in (32, 320):
        images = np.zeros((n, 16, 16, 3))
        ac.free_memory()
        tracemalloc.start()
        ac.predict(fused, images, batch_size=32)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda fused: pickle.loads(pickle.dumps(fused))])
def test_a_fused_copy_can_be_pickled_and_copied(build, copied):
    x = rng().standard_normal((2, 9, 8, 3))
    fused = fuse(stir(build()))
    other = copied(fused)
    assert isinstance(other, Fused)
    assert repr(other) == repr(fused)
    np.testing.assert_array_equal(other(x), fused(x))
    for mine, its in zip(fused.parameters(), other.parameters(), strict=True):
        assert not np.shares_memory(mine.value, its.value)
        assert mine.value.flags.writeable == its.value.flags.writeable
        assert mine.trainable == its.trainable


def test_a_pickle_holds_the_weights_once():
    fused = fuse(article_net("allcnn", rng=rng()))
    weights = sum(parameter.value.nbytes for parameter in fused.parameters())
    assert len(pickle.dumps(fused)) < 1.05 * weights
