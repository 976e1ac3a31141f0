"""Networks of PyTorch and Keras come in, leave as ONNX, run in ONNX Runtime and come back: the same outputs each time.

Each network is written three times, by hand: for PyTorch, for Keras and here. Files are made by the frameworks.
"""

from itertools import pairwise

import numpy as np
import pytest
from helpers.onnx_files import agree, exported, run

import allconv as ac
from allconv.interop import assign, from_keras, from_onnx, load_keras, load_torch, to_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

# "3-96/2" is a 3x3 convolution with 96 maps of stride 2, "pool" a mean pool 2x2.
SPECS = {
    "ConvPool of the article": ("3-96 3-96 3-192 pool 3-192 3-192 3-192 pool 3-192 1-192 1-10", "elu", False),
    "All-CNN of the article": ("3-96 3-96 3-192/2 3-192 3-192 3-192/2 3-192 1-192 1-10", "elu", False),
    "All-CNN-C": ("3-96 3-96 3-96/2 3-192 3-192 3-192/2 3-192 1-192 1-10", "relu", True),
}
MOBILE = ((16, 1), (32, 2), (32, 1))  # the maps and strides of the pairs of convolutions in the small MobileNet


def normalized(*arguments, **options):
    return [ac.Conv2D(*arguments, bias=False, **options), ac.BatchNorm(arguments[1]), ac.ReLU()]


def mobile_net():
    layers, channels = normalized(3, 8, 3), 8
    for maps, stride in MOBILE:
        layers += normalized(channels, channels, 3, stride=stride, padding=1, groups=channels)
        layers += normalized(channels, maps, 1)
        channels = maps
    return ac.Sequential(*layers, ac.GlobalAveragePool2D(), ac.Linear(channels, 10))


def concat_net():
    branches = ac.Branches(
        ac.Conv2D(8, 4, 1),
        ac.Sequential(ac.Conv2D(8, 3, 1), ac.ReLU(), ac.Conv2D(3, 6, 3)),  # Keras has these two before the first
        ac.MaxPool2D(3, stride=1, padding="same"),
        merge="concat",
    )
    return ac.Sequential(ac.Conv2D(3, 8, 3), ac.ReLU(), branches, ac.Conv2D(18, 8, 1), ac.Flatten(), ac.Linear(640, 5))


OURS = {
    "ConvPool of the article": (lambda: ac.models.article_net("convpool"), (32, 32, 3)),
    "All-CNN of the article": (lambda: ac.models.article_net("allcnn"), (32, 32, 3)),
    "All-CNN-C": (lambda: ac.models.all_cnn("C", "allcnn"), (32, 32, 3)),
    "LeNet": (ac.models.lenet, (28, 28, 1)),
    "ResNet-20": (lambda: ac.models.resnet20("B"), (32, 32, 3)),
    "MobileNet": (mobile_net, (16, 16, 3)),
    "Concat": (concat_net, (8, 10, 3)),
}


def parts(spec):
    """Yield (kernel, maps, stride) for each convolution of a row in `SPECS`, and None for a pool."""
    for word in spec.split():
        kernel, _, rest = word.partition("-")
        maps, _, stride = rest.partition("/")
        yield (int(kernel), int(maps), int(stride or 1)) if maps else None


def of_torch(name, nn):
    """Return a network as a module of PyTorch."""
    import torch

    def conv_norm(*arguments, **options):
        return nn.Sequential(nn.Conv2d(*arguments, bias=False, **options), nn.BatchNorm2d(arguments[1]))

    class Block(nn.Module):
        def __init__(self, inputs, maps, stride):
            super().__init__()
            self.one, self.two = conv_norm(inputs, maps, 3, stride, 1), conv_norm(maps, maps, 3, 1, 1)
            self.short = conv_norm(inputs, maps, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x):
            return torch.relu(self.two(torch.relu(self.one(x))) + self.short(x))

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1)
            self.three = nn.Conv2d(3, 6, 3, padding=1)

        def forward(self, x):
            pooled = nn.functional.max_pool2d(x, 3, 1, 1)
            return torch.cat([self.one(x), self.three(torch.relu(self.two(x))), pooled], 1)

    mean = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if name in SPECS:
        spec, activation, bias = SPECS[name]
        layers, channels = [], 3
        for part in parts(spec):
            if part is None:
                layers += [nn.AvgPool2d(2)]
                continue
            kernel, maps, stride = part  # the zeros of "same" at stride 2 are at the bottom and right
            layers += [nn.ZeroPad2d((0, 1, 0, 1))] if stride > 1 else []
            layers += [nn.Conv2d(channels, maps, kernel, stride, kernel // 2 if stride == 1 else 0, bias=bias)]
            layers += [nn.ELU() if activation == "elu" else nn.ReLU()]
            channels = maps
        return nn.Sequential(*layers, *mean)
    if name == "LeNet":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip
    if name == "ResNet-20":
        widths = [16] * 4 + [32] * 3 + [64] * 3
        blocks = [Block(a, b, b // a) for a, b in pairwise(widths)]
        return nn.Sequential(conv_norm(3, 16, 3, 1, 1), nn.ReLU(), *blocks, *mean, nn.Linear(64, 10))
    if name == "MobileNet":
        layers, channels = [conv_norm(3, 8, 3, padding=1), nn.ReLU()], 8
        for maps, stride in MOBILE:
            layers += [conv_norm(channels, channels, 3, stride=stride, padding=1, groups=channels), nn.ReLU()]
            layers += [conv_norm(channels, maps, 1), nn.ReLU()]
            channels = maps
        return nn.Sequential(*layers, *mean, nn.Linear(channels, 10))
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), Inception(), nn.Conv2d(18, 8, 1), nn.Flatten(), nn.Linear(640, 5)
    )


def of_keras(name, layers, shape):
    """Return the input and the output of a network as tensors of Keras."""
    import keras

    def conv_norm(x, maps, kernel, stride=1, depthwise=False, active=True):
        if stride > 1 and kernel > 1:
            x = layers.ZeroPadding2D(1)(x)
        options = {"strides": stride, "padding": "valid" if stride > 1 else "same", "use_bias": False}
        x = layers.DepthwiseConv2D(kernel, **options)(x) if depthwise else layers.Conv2D(maps, kernel, **options)(x)
        x = layers.BatchNormalization(epsilon=1e-5)(x)
        return layers.ReLU()(x) if active else x

    start = x = keras.Input(shape)
    if name in SPECS:
        spec, activation, bias = SPECS[name]
        for part in parts(spec):
            if part is None:
                x = layers.AveragePooling2D(2)(x)
                continue
            kernel, maps, stride = part
            conv = layers.Conv2D(maps, kernel, stride, padding="same", activation=activation, use_bias=bias)
            x = conv(x)
        return start, layers.GlobalAveragePooling2D()(x)
    if name == "LeNet":
        x = layers.MaxPooling2D()(layers.Conv2D(6, 5, padding="same", activation="relu")(x))
        x = layers.Flatten()(layers.MaxPooling2D()(layers.Conv2D(16, 5, activation="relu")(x)))
        x = layers.Dense(84, activation="relu")(layers.Dense(120, activation="relu")(x))
        return start, layers.Dense(10)(x)
    if name == "ResNet-20":
        x, width = conv_norm(x, 16, 3), 16
        for maps in [16] * 3 + [32] * 3 + [64] * 3:
            body = conv_norm(conv_norm(x, maps, 3, maps // width), maps, 3, active=False)
            short = conv_norm(x, maps, 1, 2, active=False) if maps > width else x
            x, width = layers.ReLU()(layers.Add()([body, short])), maps
        return start, layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    if name == "MobileNet":
        x = conv_norm(x, 8, 3)
        for maps, stride in MOBILE:
            x = conv_norm(conv_norm(x, None, 3, stride, depthwise=True), maps, 1)
        return start, layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    one, two = layers.Conv2D(4, 1)(x), layers.Conv2D(3, 1, activation="relu")(x)
    two = layers.Conv2D(6, 3, padding="same")(two)
    x = layers.Concatenate()([one, two, layers.MaxPooling2D(3, 1, padding="same")(x)])
    return start, layers.Dense(5)(layers.Flatten()(layers.Conv2D(8, 1)(x)))


def images_of(shape):
    return np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)


def check_onnx(model, folder, x, wanted):
    """Check the outputs of a model, of its ONNX file in ONNX Runtime, and of what comes back from that file."""
    agree(model, x, wanted)
    to_onnx(model, folder / "ours.onnx", x.shape[1:])
    agree(lambda images: run(folder / "ours.onnx", images), x, wanted)
    agree(from_onnx(folder / "ours.onnx"), x, wanted)


@pytest.mark.parametrize("way", ["weights", "ONNX"])
@pytest.mark.parametrize("name", OURS)
def test_from_pytorch(tmp_path, name, way):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    build, shape = OURS[name]
    theirs = of_torch(name, torch.nn)
    for key, value in theirs.state_dict().items():
        value.copy_(torch.rand(value.shape) + 0.5) if "running_var" in key else None
    x = images_of(shape)
    with torch.no_grad():
        wanted = theirs.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    if way == "weights":
        torch.save(theirs.state_dict(), tmp_path / "a.pt")
        model = build()
        assign(model, load_torch(tmp_path / "a.pt"))
    else:
        (tmp_path / "a.onnx").write_bytes(exported(torch, theirs, (shape[2], *shape[:2])))
        model = from_onnx(tmp_path / "a.onnx")
    check_onnx(model, tmp_path, x, wanted)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras calls NumPy in the old way
@pytest.mark.parametrize("way", ["weights", "model"])
@pytest.mark.parametrize("name", OURS)
def test_from_keras(tmp_path, monkeypatch, name, way):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    pytest.importorskip("h5py")
    keras.utils.set_random_seed(0)
    build, shape = OURS[name]
    theirs = keras.Model(*of_keras(name, keras.layers, shape))
    rng = np.random.default_rng(0)
    theirs.set_weights([a + (rng.random(a.shape) - 0.2 if a.ndim == 1 else 0) for a in theirs.get_weights()])
    x = images_of(shape)
    theirs.save(tmp_path / "a.keras")
    if way == "model":
        model = from_keras(tmp_path / "a.keras")
    else:
        model = build()
        assign(model, load_keras(tmp_path / "a.keras"), source="keras")
    check_onnx(model, tmp_path, x, theirs.predict(x, verbose=0))
