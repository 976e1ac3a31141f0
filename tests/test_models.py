import itertools
import re

import numpy as np
import pytest
from helpers.paper_nets import PAPER

import allconv as ac

KINDS, ACTIVATIONS = ["convpool", "allcnn"], ["relu", "sigmoid", "tanh"]
ARTICLE_NETS = list(itertools.product(KINDS, [False, True], ["elu", "relu"]))


@pytest.mark.parametrize("activation", ["elu", "relu"])
@pytest.mark.parametrize("dilated", [False, True])
@pytest.mark.parametrize(("kind", "multiply_adds"), [("convpool", 535_977_984), ("allcnn", 344_875_008)])
def test_the_article_nets_have_the_stated_sizes(kind, multiply_adds, dilated, activation):
    model = ac.models.article_net(kind, dilated=dilated, activation=activation, rng=np.random.default_rng(0))
    summary = model.summary((32, 32, 3))
    assert summary.parameters == 1_617_312
    assert summary.multiply_adds == multiply_adds
    assert model.output_shape((32, 32, 3)) == (10,)
    assert sum(isinstance(layer, ac.Skip) for layer in model.walk()) == (3 if dilated else 0)
    assert sum(isinstance(layer, ac.ELU if activation == "elu" else ac.ReLU) for layer in model.walk()) == 9
    convolutions = [layer for layer in model.walk() if isinstance(layer, ac.Conv2D)]
    assert [layer.out_channels for layer in convolutions] == [96, 96, 192, 192, 192, 192, 192, 192, 10]
    assert [layer.stride[0] for layer in convolutions] == (
        [1] * 9 if kind == "convpool" else [1, 1, 2, 1, 1, 2, 1, 1, 1]
    )
    assert all(layer.bias is None for layer in convolutions)


def test_the_weights_are_normal_with_deviation_0_05():
    weights = np.concatenate(
        [p.value.ravel() for p in ac.models.article_net("allcnn", rng=np.random.default_rng(0)).parameters()]
    )
    assert abs(weights.mean()) < 1e-4
    assert weights.std() == pytest.approx(0.05, rel=2e-3)
    assert np.abs(weights).max() > 0.2  # not truncated


@pytest.mark.parametrize("kind", KINDS)
def test_the_dilated_net_is_the_article_s_forward_and_backward_pass(kind):
    """a_2 + r a_1 enters convolution 3, a_5 + r a_4 convolution 6, a_8 + r a_7 convolution 9; written out here."""
    model = ac.models.article_net(kind, dilated=True, dtype=np.float64, rng=np.random.default_rng(0))
    for layer in model.walk():
        if isinstance(layer, ac.Skip):
            layer.scale = 0.3
    convolutions = [layer for layer in model.walk() if isinstance(layer, ac.Conv2D)]
    x = np.random.default_rng(1).standard_normal((2, 8, 8, 3))
    activate, pool = ac.ELU(), ac.MeanPool2D(2)
    a, kept = x, None
    for k, layer in enumerate(convolutions, start=1):
        if k in (3, 6, 9):
            a = a + 0.3 * kept
        a = activate(layer(a))
        if k in (3, 6) and kind == "convpool":
            a = pool(a)
        if k in (1, 4, 7):
            kept = a
    np.testing.assert_allclose(model(x), a.mean(axis=(1, 2)), rtol=1e-10)


COUNTS = {"A": (839_242, 1_254_250), "B": (885_610, 1_300_618), "C": (954_730, 1_369_738)}
every_paper_net = pytest.mark.parametrize(("kind", "variant"), PAPER)


def paper_net(kind, variant, **options):
    return ac.models.all_cnn(kind, variant, **{"dtype": np.float64, "rng": np.random.default_rng(0)} | options)


@every_paper_net
def test_the_paper_s_networks_are_the_ones_it_defines(kind, variant):
    model = ac.models.all_cnn(kind, variant, rng=np.random.default_rng(0))
    expected = []
    for word in PAPER[kind, variant].split():
        if word == "pool":
            expected.append("MaxPool2D(3, stride=2, padding='same')")
        else:
            kernel, width, _, stride = re.fullmatch(r"(\d)-(\d+)(/(2))?", word).groups()
            expected += [f"{width}, {kernel}{', stride=2' if stride else ''})", "ReLU()"]
    layers = [re.sub(r"Conv2D\(\d+, ", "", repr(layer)) for layer in model]
    assert layers == [*expected, "GlobalAveragePool2D()"]
    summary = model.summary((32, 32, 3))
    assert summary.parameters == summary.trainable == COUNTS[kind][variant in ("convpool", "allcnn")]
    assert model.output_shape((32, 32, 3)) == (10,)
    for layer in model:
        if isinstance(layer, ac.Conv2D):
            assert layer.weight.value.std() == pytest.approx(np.sqrt(2 / layer.weight.value[..., 0].size), rel=0.05)
            assert not layer.bias.value.any()
            assert layer.weight.value.dtype == np.float32


def test_all_cnn_c_without_biases_has_the_stated_count():
    model = ac.models.all_cnn("C", "allcnn")
    assert sum(p.value.size for path, p in model.named_parameters() if path.endswith("weight")) == 1_368_480


def test_base_is_the_default_variant():
    assert repr(ac.models.all_cnn("B")) == repr(ac.models.all_cnn("B", "base"))


@every_paper_net
def test_dropout_stands_on_the_input_and_after_each_halving(kind, variant):
    plain, model = paper_net(kind, variant), paper_net(kind, variant, dropout=True)
    assert repr(model[0]) == "Dropout(0.2)"
    places = [k for k, layer in enumerate(model) if isinstance(layer, ac.Dropout)]
    assert [repr(model[k]) for k in places[1:]] == ["Dropout(0.5)"] * 2
    for k in places[1:]:
        if variant in ("base", "convpool"):
            assert isinstance(model[k - 1], ac.MaxPool2D)
        else:
            assert isinstance(model[k - 1], ac.ReLU)
            assert model[k - 2].stride == (2, 2)
    assert [repr(layer) for layer in model if not isinstance(layer, ac.Dropout)] == [repr(layer) for layer in plain]
    x = np.random.default_rng(1).standard_normal((2, 8, 8, 3))
    np.testing.assert_array_equal(model(x), plain(x))  # the same weights
    assert not np.array_equal(model.forward(x, training=True)[0], plain(x))


def test_dropouts_draw_masks_of_their_own_that_the_seed_decides():
    x = np.ones((2, 8, 8, 3))
    first, again, other = (paper_net("A", "base", dropout=True, rng=np.random.default_rng(s)) for s in (5, 5, 6))
    masks = [[d.forward(x, training=True)[0] for d in m if isinstance(d, ac.Dropout)] for m in (first, again, other)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0][1], masks[0][2])


@pytest.mark.parametrize(("unpadded_last", "size"), [(False, 8), (True, 6)])
@every_paper_net
def test_the_last_map_is_8x8_or_the_paper_s_6x6(kind, variant, unpadded_last, size):
    model = ac.models.all_cnn(kind, variant, unpadded_last=unpadded_last)
    shape = (32, 32, 3)
    for layer in model.layers[:-1]:
        shape = layer.output_shape(shape)
    assert shape == (size, size, 10)
    paddings = [layer.padding for layer in model if isinstance(layer, ac.Conv2D)]
    assert paddings == ["same"] * (len(paddings) - 3) + ["valid" if unpadded_last else "same", "same", "same"]


@pytest.mark.parametrize(
    ("widths", "parameters", "products"), [((64, 128, 128), 569_016, 54.22e6), ((64, 256, 256), 1_971_640, 118.15e6)]
)
def test_the_fast_net_has_the_published_size(widths, parameters, products):
    model = ac.models.fast_net(np.zeros((2, 2, 3, 24), np.float32), widths, rng=np.random.default_rng(0))
    scales = sum(layer.weight.value.size for layer in model if isinstance(layer, ac.BatchNorm))
    table = model.summary((32, 32, 3))
    assert table.trainable == parameters - 288
    assert table.multiply_adds == pytest.approx(products, rel=1e-3)
    assert sum(p.value.size for p in model.parameters()) == parameters + 3 * scales  # scales and running statistics
    assert not model[0].weight.trainable


def test_the_fast_net_passes_the_gradient_check_and_starts_near_zero():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 32, 32, 3)).cumsum(axis=1)
    images /= images.std()
    model = ac.models.fast_net(ac.data.whitening_filters(images), (3, 25, 4), dtype=np.float64, rng=rng)
    scores, _ = model.forward(images, training=True)
    assert scores.std() < 0.3
    for p in model.parameters():
        p.value += 0.05 * rng.normal(size=p.value.shape)  # away from the biases of 0
    ac.gradcheck.check(model, images, training=True).raise_if_failed()


def test_an_image_too_small_for_the_unpadded_convolution_is_refused():
    model = ac.models.all_cnn("C", "allcnn", unpadded_last=True)
    assert model(np.zeros((1, 9, 9, 3), np.float32)).shape == (1, 10)
    with pytest.raises(ValueError, match="got"):
        model(np.zeros((1, 8, 8, 3), np.float32))


CHECKED = [
    *((ac.models.article_net, {"kind": k, "dilated": d, "activation": a}, False) for k, d, a in ARTICLE_NETS),
    *((ac.models.all_cnn, {"kind": kind, "variant": variant}, False) for kind, variant in PAPER),
    *((ac.models.lenet, {"activation": a, "pool": p}, False) for a in ACTIVATIONS for p in ("max", "mean")),
    (ac.models.all_cnn, {"kind": "C", "variant": "allcnn", "unpadded_last": True, "dropout": True}, True),
    *((ac.models.residual_net, {"blocks": 2, "width": 4, "option": o}, t) for o in "AB" for t in (False, True)),
]


@pytest.mark.parametrize(("build", "options", "training"), CHECKED)
def test_the_whole_network_passes_the_gradient_check(build, options, training):
    shape = (2, 28, 28, 1) if build is ac.models.lenet else (2, 12, 12, 3) if "dropout" in options else (3, 8, 8, 3)
    model = build(**options, dtype=np.float64, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal(shape)
    ac.gradcheck.check(model, x, separate=False, training=training).raise_if_failed()


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # 25 1 6 + 6, 25 6 16 + 16, 400 120 + 120, 120 84 + 84, 84 10 + 10
        ({}, 156 + 2416 + 48_120 + 10_164 + 850),
        ({"activation": "tanh", "pool": "mean"}, 61_706),
        ({"channels": 3}, 61_706 + 2 * 25 * 6),
        ({"classes": 7}, 61_706 - 3 * 85),
    ],
)
def test_lenet_has_the_size_that_its_layers_make(options, count):
    model = ac.models.lenet(**options, rng=np.random.default_rng(0))
    shape = (28, 28, options.get("channels", 1))
    assert model.summary(shape).parameters == model.summary(shape).trainable == count
    assert model.output_shape(shape) == (options.get("classes", 10),)
    with pytest.raises(ValueError, match="must"):
        model.output_shape((32, 32, shape[2]))


@pytest.mark.parametrize("option", ["A", "B"])
@pytest.mark.parametrize(("blocks", "width", "channels", "classes"), [(1, 16, 3, 10), (3, 16, 3, 10), (2, 5, 1, 7)])
def test_the_residual_net_has_the_size_that_its_layers_make(blocks, width, channels, classes, option):
    model = ac.models.residual_net(
        blocks, width=width, option=option, channels=channels, classes=classes, rng=np.random.default_rng(0)
    )
    stages = (width, 2 * width, 4 * width)
    convolutions = 9 * channels * width + sum(2 * blocks * 9 * w * w for w in stages)
    convolutions -= 9 * (stages[1] ** 2 + stages[2] ** 2) // 2  # the first of a stage sees half the channels
    normalizations = 2 * width + sum(2 * blocks * 2 * w for w in stages)
    projections = option == "B" and 2
    if projections:
        convolutions += (stages[1] ** 2 + stages[2] ** 2) // 2
        normalizations += 2 * (stages[1] + stages[2])
    summary = model.summary((32, 32, channels))
    assert summary.trainable == convolutions + normalizations + (4 * width + 1) * classes
    assert summary.parameters == summary.trainable + normalizations  # the running statistics
    kinds = [type(layer) for layer in model.walk()]
    assert kinds.count(ac.Skip) == 3 * blocks
    assert kinds.count(ac.Conv2D) + kinds.count(ac.Linear) == 6 * blocks + 2 + projections
    assert kinds.count(ac.BatchNorm) == kinds.count(ac.Conv2D)
    assert model.output_shape((32, 32, channels)) == (classes,)


@pytest.mark.scripts
@pytest.mark.parametrize("option", ["A", "B"])
def test_resnet20_trains_on_drawn_shapes(option):
    model, loss = ac.models.resnet20(option, rng=np.random.default_rng(0)), ac.SoftmaxCrossEntropy()
    optimizer = ac.Adam(model.parameters(), 0.003)
    drawn, fresh = (
        ac.data.Loader(ac.data.shapes(count, seed=count), 25, normalize=ac.data.per_step) for count in (500, 200)
    )
    for _ in ac.train(model, loss, optimizer, drawn, epochs=6, schedule=ac.schedules.cosine(0.003, 6)):
        pass
    assert ac.evaluate(model, loss, fresh).accuracy > 0.6  # of 10 classes, after 500 images


def test_the_initial_weights_fit_the_activation():
    for activation, deviation in (
        ("relu", np.sqrt(2 / 400)),
        ("tanh", np.sqrt(2 / 520)),
        ("sigmoid", np.sqrt(2 / 520)),
    ):
        model = ac.models.lenet(activation=activation, rng=np.random.default_rng(0))
        assert model[7].weight.value.std() == pytest.approx(deviation, rel=0.02)
    model = ac.models.residual_net(1, rng=np.random.default_rng(0))
    assert model[7].body[3].weight.value.std() == pytest.approx(np.sqrt(2 / 576), rel=0.02)


BUILDERS = {
    "all_cnn": lambda **options: ac.models.all_cnn("A", "strided", **options),
    "lenet": ac.models.lenet,
    "residual_net": lambda **options: ac.models.residual_net(1, **options),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_the_seed_decides_the_weights_and_the_dtype_only_rounds_them(name):
    first, again, double, other = (
        [p.value for p in BUILDERS[name](dtype=dtype, rng=np.random.default_rng(seed)).parameters()]
        for seed, dtype in ((3, np.float32), (3, np.float32), (3, np.float64), (4, np.float32))
    )
    assert {a.dtype.name for a in first} == {"float32"}
    assert {a.dtype.name for a in double} == {"float64"}
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(np.array_equal(a, b.astype(np.float32)) for a, b in zip(first, double, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("name", BUILDERS)
def test_classes_and_channels_are_the_ends_of_the_network(name):
    model = BUILDERS[name](classes=4, channels=2, rng=np.random.default_rng(0))
    assert model(np.zeros((3, 28, 28, 2), np.float32)).shape == (3, 4)
    with pytest.raises(ValueError, match=r"must have shape \(N, H, W, 2\), got"):
        model(np.zeros((3, 28, 28, 3), np.float32))
