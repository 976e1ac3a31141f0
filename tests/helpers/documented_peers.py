"""Keras, optax and TensorFlow 1 as their public documentation describes them: plain formulae, not a line of allconv.

They stand in where these packages are not installed; where they are, `test_matching.py` compares with both. The
formulae take complex arrays, so that a complex step gives their derivatives to the last digits.

Sources: keras.io/api (Conv2D, AveragePooling2D, BatchNormalization, SGD, Adam, AdamW, RMSprop, Adagrad, HeNormal);
optax.readthedocs.io/en/latest/api (sgd, adam, adamw, amsgrad, rmsprop, adagrad);
tensorflow.org/api_docs/python/tf/compat/v1 (nn.conv2d, train.MomentumOptimizer, train.AdamOptimizer, nn.dropout) and
tensorflow.org/api_docs/python/tf/nn, "Notes on padding". The article's: its code of AMSGrad, case c.
"""

import math
from types import SimpleNamespace

import numpy as np
from scipy import stats

# Convolution and pooling


def padding_of(size, kernel, stride, padding):
    """Return (before, after): "Notes on padding", with the cases size % stride == 0 and != 0 written out."""
    if padding.upper() == "VALID":
        return 0, 0
    total = max(kernel - (stride if size % stride == 0 else size % stride), 0)
    return total // 2, total - total // 2


def windows(x, kernel, stride, padding, fill, dilation=1):
    """Return (N, H_out, W_out, kh, kw, C), with `fill` where a window lies over padding."""
    extent = [dilation * (k - 1) + 1 for k in kernel]
    pads = [padding_of(x.shape[1 + a], extent[a], stride, padding) for a in (0, 1)]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    rows, columns = ((padded.shape[1 + a] - extent[a]) // stride + 1 for a in (0, 1))
    y = np.empty((len(x), rows, columns, *kernel, x.shape[3]), x.dtype)
    for u, v in np.ndindex(*kernel):
        y[:, :, :, u, v] = padded[:, u * dilation :: stride, v * dilation :: stride][:, :rows, :columns]
    return y


def convolution(x, w, stride, padding, dilation=1, groups=1):
    seen = windows(x, w.shape[:2], stride, padding, 0, dilation)
    parts = zip(np.split(seen, groups, axis=-1), np.split(w, groups, axis=-1), strict=True)
    return np.concatenate([np.einsum("nijuvc,uvco->nijo", *part) for part in parts], axis=-1)


def mean_pooling(x, size, stride, padding):
    return np.nanmean(windows(x, (size, size), stride, padding, np.nan), axis=(3, 4))


def max_pooling(x, size, stride, padding):
    seen = windows(x, (size, size), stride, padding, -np.inf)
    seen = seen.reshape(*seen.shape[:3], -1, seen.shape[-1])
    first = seen.real.argmax(axis=3)[:, :, :, None]
    return np.take_along_axis(seen, first, axis=3)[:, :, :, 0]


def exponential_linear(x):
    return np.where(x.real > 0, x, np.exp(x) - 1)


def leaky(x, slope):
    return np.where(x.real > 0, x, slope * x)


# Each layer is a function of x, weight and bias as they lie here: its peer's own arrays, reshaped as the page says.


def keras_conv(filters, kernel_size, *, strides=1, padding="valid", dilation_rate=1, groups=1):
    return lambda x, weight, bias: convolution(x, weight, strides, padding, dilation_rate, groups) + bias


def keras_depthwise(kernel_size, *, padding, depth_multiplier):
    return lambda x, weight, bias: convolution(x, weight, 1, padding, groups=x.shape[-1]) + bias


class KerasBatchNormalization:
    """The only layer with a state: the moving statistics."""

    in_modes = True

    def __init__(self, epsilon=1e-3, momentum=0.99):
        self.epsilon, self.momentum = epsilon, momentum
        self.running_mean, self.running_var = np.zeros(4), np.ones(4)

    def __call__(self, x, weight, bias, *, training):
        mean, var = self.running_mean, self.running_var
        if training:
            mean = x.mean(axis=(0, 1, 2))
            var = ((x - mean) ** 2).mean(axis=(0, 1, 2))
        return weight * (x - mean) / np.sqrt(var + self.epsilon) + bias

    def update(self, x):
        self.running_mean = self.running_mean * self.momentum + x.mean(axis=(0, 1, 2)) * (1 - self.momentum)
        self.running_var = self.running_var * self.momentum + x.var(axis=(0, 1, 2)) * (1 - self.momentum)


class Dropout:
    """Masks every third number; which ones is the library's own affair."""

    in_modes = True

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x, *, training):
        kept = np.arange(x.size).reshape(x.shape) % 3 > 0
        return x * kept / (1 - self.rate) if training else x


# Losses: log p_k = s_k - log sum exp s_j


def log_softmax(scores):
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def sparse_cross_entropy(scores, labels):
    return -np.take_along_axis(log_softmax(scores), labels[:, None], axis=1)[:, 0]


def cross_entropy(scores, rows):
    return -(rows * log_softmax(scores)).sum(axis=1)


def smooth_labels(rows, alpha):
    return rows * (1 - alpha) + alpha / rows.shape[1]


# Optimizers: each returns step(w, g, t, s), the next w at step t = 1, 2, ... of one array with the state s, a dict


def keras_sgd(rate, momentum, *, nesterov=False):
    def step(w, g, t, s):
        s["v"] = momentum * s.get("v", 0) - rate * g
        return w + momentum * s["v"] - rate * g if nesterov else w + s["v"]

    return step


def optax_sgd(rate, momentum, *, nesterov=False):
    def step(w, g, t, s):
        s["trace"] = g + momentum * s.get("trace", 0)
        return w - rate * (g + momentum * s["trace"] if nesterov else s["trace"])

    return step


def tensorflow_momentum(rate, momentum, *, use_nesterov=False):
    def step(w, g, t, s):
        s["accumulation"] = momentum * s.get("accumulation", 0) + g
        return w - (rate * g + rate * momentum * s["accumulation"] if use_nesterov else rate * s["accumulation"])

    return step


def moments(g, s, beta1=0.9, beta2=0.999):
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g**2
    return s["m"], s["v"]


def epsilon_hat_adam(rate, epsilon, *, weight_decay=0.0, amsgrad=False):
    """TensorFlow's and Keras': the formula just before section 2.1 of Kingma and Ba."""

    def step(w, g, t, s):
        w = w - w * weight_decay * rate
        m, v = moments(g, s)
        if amsgrad:
            v = s["vhat"] = np.maximum(s.get("vhat", 0), v)
        return w - rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + epsilon)

    return step


def optax_adam(rate, *, weight_decay=0.0, amsgrad=False):
    def step(w, g, t, s):
        m, v = moments(g, s)
        m, v = m / (1 - 0.9**t), v / (1 - 0.999**t)
        if amsgrad:
            v = s["vmax"] = np.maximum(s.get("vmax", 0), v)
        return w - rate * (m / (np.sqrt(v) + 1e-8) + weight_decay * w)

    return step


def article_amsgrad(rate):
    def step(w, g, t, s):
        m, v = moments(g, s, 0.9, 0.9)
        s["vmax"] = v if v.sum() > np.sum(s.get("vmax", 0)) else s["vmax"]
        return w - rate * m / (np.sqrt(s["vmax"]) + 1e-8)

    return step


def adagrad(rate):
    def step(w, g, t, s):
        s["sum"] = s.get("sum", 0.1) + g**2
        return w - rate * g / np.sqrt(s["sum"] + 1e-7)

    return step


def rmsprop(rate, decay=0.9, eps=1e-8, *, eps_in_sqrt=True):
    def step(w, g, t, s):
        s["v"] = decay * s.get("v", 0) + (1 - decay) * g**2
        return w - rate * g / (np.sqrt(s["v"] + eps) if eps_in_sqrt else np.sqrt(s["v"]) + eps)

    return step


# Initializers: the law of the weights w (3, 3, 24, 48)

FAN_IN, FAN_OUT = 3 * 3 * 24, 3 * 3 * 48
GLOROT = math.sqrt(6 / (FAN_IN + FAN_OUT))
HE_UNCUT = math.sqrt(2 / FAN_IN) / stats.truncnorm.std(-2, 2)  # so that the cut law has the variance 2 / fan_in

keras = {
    "layers": SimpleNamespace(
        Conv2D=keras_conv,
        DepthwiseConv2D=keras_depthwise,
        Dense=lambda units: lambda x, weight, bias: x @ weight + bias,
        AveragePooling2D=lambda size, strides=None, padding="valid": (
            lambda x: mean_pooling(x, size, strides or size, padding)
        ),
        MaxPooling2D=lambda size, strides, padding: lambda x: max_pooling(x, size, strides, padding),
        GlobalAveragePooling2D=lambda: lambda x: x.mean(axis=(1, 2)),
        ELU=lambda: exponential_linear,
        LeakyReLU=lambda: lambda x: leaky(x, 0.3),
        BatchNormalization=KerasBatchNormalization,
        Dropout=Dropout,
    ),
    "losses": SimpleNamespace(
        SparseCategoricalCrossentropy=lambda from_logits: (
            lambda labels, scores: sparse_cross_entropy(scores, labels).mean()
        ),
        CategoricalCrossentropy=lambda from_logits, label_smoothing: (
            lambda rows, scores: cross_entropy(scores, smooth_labels(rows, label_smoothing)).mean()
        ),
        MeanSquaredError=lambda: lambda rows, scores: ((rows - scores) ** 2).mean(),
    ),
    "optimizers": SimpleNamespace(
        SGD=keras_sgd,
        Adam=lambda rate, amsgrad=False: epsilon_hat_adam(rate, 1e-7, amsgrad=amsgrad),
        AdamW=lambda rate: epsilon_hat_adam(rate, 1e-7, weight_decay=0.004),
        Adagrad=adagrad,
        RMSprop=lambda rate: rmsprop(rate, eps=1e-7),
    ),
    "initializers": SimpleNamespace(
        HeNormal=lambda: stats.truncnorm(-2, 2, scale=HE_UNCUT),
        GlorotUniform=lambda: stats.uniform(-GLOROT, 2 * GLOROT),
        RandomNormal=lambda stddev: stats.norm(scale=stddev),
    ),
}

optax = {
    "optax": SimpleNamespace(
        softmax_cross_entropy_with_integer_labels=sparse_cross_entropy,
        softmax_cross_entropy=cross_entropy,
        smooth_labels=smooth_labels,
        sgd=optax_sgd,
        adam=optax_adam,
        adamw=lambda rate: optax_adam(rate, weight_decay=1e-4),
        amsgrad=lambda rate: optax_adam(rate, amsgrad=True),
        rmsprop=rmsprop,
        adagrad=adagrad,
    )
}

tensorflow_1 = {
    "tf": SimpleNamespace(
        nn=SimpleNamespace(
            conv2d=lambda x, w, strides, padding: convolution(x, w, strides[1], padding),
            avg_pool=lambda x, ksize, strides, padding: mean_pooling(x, ksize[1], strides[1], padding),
            max_pool=lambda x, ksize, strides, padding: max_pooling(x, ksize[1], strides[1], padding),
            elu=exponential_linear,
            dropout=lambda x, keep_prob: Dropout(1 - keep_prob)(x, training=True),
            softmax_cross_entropy_with_logits=lambda labels, logits: cross_entropy(logits, labels),
        ),
        reduce_mean=np.mean,
        random_normal=lambda shape, stddev: stats.norm(scale=stddev),
        train=SimpleNamespace(
            MomentumOptimizer=tensorflow_momentum, AdamOptimizer=lambda rate: epsilon_hat_adam(rate, 1e-8)
        ),
    )
}

article = {"amsgrad": article_amsgrad}
