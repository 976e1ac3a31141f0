"""Make ``keras3_files.zip`` again: ``KERAS_BACKEND=torch python tests/interop/make_keras_files.py``.

Keras 3.15.1 has written the files in it. Where Keras 2 is installed, the same command makes ``keras2_files.zip``; those
are of Keras 2.15.0. The ``.npz`` of a net holds a batch and the outputs that Keras computes.
"""

import contextlib
import tempfile
import zipfile
from pathlib import Path

import numpy as np


def row():
    """Return layers in a row, with activations in layers and a Flatten of images of several channels."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((6, 9, 3)),
            layers.Conv2D(4, 3, padding="same", strides=2, activation="relu"),
            layers.BatchNormalization(scale=False),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu6"),
            layers.Conv2D(4, 1, use_bias=False, groups=2, name="by_itself"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(5, activation="gelu"),
            layers.Dense(3, activation="softmax"),
        ],
        name="row",
    )


def graph():
    """Return a residual and branching graph, whose layers are made in another order than they run."""
    import keras
    from keras import layers

    head, shared = layers.Dense(3), layers.Conv2D(4, 3, padding="same", name="shared")
    start = x = keras.Input((8, 6, 3))
    x = layers.SeparableConv2D(4, 3, padding="same")(layers.ZeroPadding2D(((1, 0), (0, 2)))(x))
    x = layers.ReLU()(layers.Add()([layers.BatchNormalization(momentum=0.9)(shared(x)), x]))
    x = layers.Add()([layers.Conv2D(6, 3, strides=2, padding="same")(x), layers.Conv2D(6, 1, strides=2)(x)])
    branches = [
        layers.AveragePooling2D(3, strides=1, padding="same")(x),
        layers.PReLU(shared_axes=[1, 2])(x),
        layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(2, 3, strides=2, padding="same")(x)),
    ]
    branches[2] = layers.Conv2D(2, (2, 1))(branches[2])
    x = layers.Concatenate()([*branches[:2], layers.LeakyReLU()(x)])
    x = layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation="elu")(x)
    x = layers.GroupNormalization(3)(layers.LayerNormalization()(x))
    return keras.Model(start, head(layers.GlobalAveragePooling2D()(x)), name="graph")


def nchw(name, **flatten):
    """Return a graph of NCHW images; Flatten has the arguments `flatten`."""
    import keras
    from keras import layers

    first = {"data_format": "channels_first"}
    start = x = keras.Input((3, 6, 8))
    x = layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3, padding="same", activation="relu", **first)(x))
    x = layers.Concatenate(axis=1)([x, layers.DepthwiseConv2D(3, padding="same", **first)(x)])
    x = layers.Softmax(axis=1)(layers.PReLU(shared_axes=[2, 3])(x))
    x = layers.MaxPooling2D(2, **first)(layers.ZeroPadding2D(((0, 0), (2, 0)), **first)(x))
    x = layers.BatchNormalization()(layers.Flatten(**flatten)(x))
    return keras.Model(start, layers.Dense(5, activation="softmax")(x), name=name)


def write(model, *endings):
    """Write a model with other weights than at the start, a batch, and its outputs."""
    rng = np.random.default_rng(0)
    model.set_weights([0.5 + rng.random(array.shape) - (array.ndim > 1) for array in model.get_weights()])
    x = rng.standard_normal((2, *model.input_shape[1:])).astype(np.float32)
    np.savez(f"{model.name}.npz", x=x, y=model.predict(x, verbose=0))
    for ending in endings:
        model.save_weights(model.name + ending) if "weights" in ending else model.save(model.name + ending)


if __name__ == "__main__":
    import keras

    version = keras.__version__[0]
    target = Path(__file__).with_name(f"keras{version}_files.zip")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write(row(), ".keras", ".h5", ".weights.h5")
        write(graph(), ".keras", ".h5")
        if version == "3":  # TensorFlow has no convolution of NCHW images on a processor
            write(nchw("nchw"), ".keras", ".h5")
            write(nchw("nchw_turned", data_format="channels_first"), ".keras")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:  # HDF5 leaves much of a small file empty
            for path in sorted(Path().iterdir()):
                archive.write(path)
