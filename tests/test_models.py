import numpy as np
import pytest

import allconv as ac

KINDS = ["convpool", "allcnn"]


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


@pytest.mark.parametrize("activation", ["elu", "relu"])
@pytest.mark.parametrize("dilated", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_network_passes_the_gradient_check(kind, dilated, activation):
    model = ac.models.article_net(
        kind, dilated=dilated, activation=activation, dtype=np.float64, rng=np.random.default_rng(0)
    )
    x = np.random.default_rng(1).standard_normal((2, 8, 8, 3))
    ac.gradcheck.check(model, x, separate=False).raise_if_failed()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"kind": "resnet"}, "kind"),
        ({"kind": None}, "kind"),
        ({"kind": 1}, "kind"),
        ({"activation": "gelu"}, "activation"),
        ({"activation": None}, "activation"),
        ({"dilated": 1}, "dilated"),
        ({"dilated": "yes"}, "dilated"),
        ({"dtype": int}, "dtype"),
        ({"dtype": "float16"}, "dtype"),
        ({"rng": 0}, "rng"),
        ({"rng": "seed"}, "rng"),
        ({"kind": ["allcnn"]}, "kind"),
    ],
)
def test_bad_arguments_are_refused(arguments, name):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be .*, got"):
        ac.models.article_net(**{"kind": "allcnn"} | arguments)
