"""Make ``tf2onnx_files.zip`` again: ``python tests/interop/make_tf2onnx_files.py``.

TensorFlow 2.15.1 and tf2onnx 1.16.1 have written the files in it. ``NET_OPSET.onnx`` takes NHWC images, and
``NET_OPSET_nchw.onnx`` takes NCHW. The ``.npz`` of a net holds a batch and the outputs that Keras computes.
"""

import contextlib
import tempfile
import zipfile
from pathlib import Path

import numpy as np

OPSETS = (8, 11, 17)


def row():
    """Return layers in a row, with a Flatten of images of several channels."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((6, 9, 3)),
            layers.Conv2D(4, 3, padding="same", strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
            layers.ReLU(6.0),
            layers.Conv2D(4, 1, use_bias=False),
            layers.BatchNormalization(scale=False),
            layers.Activation("swish"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(5, activation="elu"),
            layers.Dense(3, activation="softmax"),
        ],
        name="row",
    )


def graph():
    """Return a residual and branching graph."""
    import keras
    from keras import layers

    start = x = keras.Input((8, 6, 3))
    x = layers.SeparableConv2D(4, 3, padding="same")(layers.ZeroPadding2D(((1, 0), (0, 2)))(x))
    x = layers.ReLU()(layers.Add()([layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)), x]))
    x = layers.Add()([layers.Conv2D(6, 3, strides=2, padding="same")(x), layers.Conv2D(6, 1, strides=2)(x)])
    pooled = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([pooled, layers.PReLU(shared_axes=[1, 2])(x), layers.LeakyReLU()(x)])
    x = layers.UpSampling2D(2)(layers.Conv2D(5, 1, activation="tanh")(x))
    return keras.Model(start, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)), name="graph")


def write(model):
    """Write a model with other weights than at the start, a batch, and its outputs."""
    import tensorflow as tf
    import tf2onnx

    rng = np.random.default_rng(0)
    model.set_weights([0.5 + rng.random(array.shape) - (array.ndim > 1) for array in model.get_weights()])
    x = rng.standard_normal((2, *model.input_shape[1:])).astype(np.float32)
    np.savez(f"{model.name}.npz", x=x, y=model.predict(x, verbose=0))
    spec = (tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="x"),)
    for opset in OPSETS:
        for ending, turned in (("", None), ("_nchw", ["x"])):
            path = f"{model.name}_{opset}{ending}.onnx"
            tf2onnx.convert.from_keras(model, spec, opset=opset, inputs_as_nchw=turned, output_path=path)


if __name__ == "__main__":
    target = Path(__file__).with_name("tf2onnx_files.zip")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write(row())
        write(graph())
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path().iterdir()):
                archive.write(path)
