"""Every optimizer once more, one number at a time in Python floats, written from the papers' equations."""

import math


def sgd(w, gradients, *, rate, momentum=0.0, nesterov=False, dampening=0.0, weight_decay=0.0):
    u = None
    for g in gradients:
        g = g + weight_decay * w
        u = g if u is None else momentum * u + (1 - dampening) * g
        if momentum == 0:
            w = w - rate * g
        elif nesterov:
            w = w - rate * (g + momentum * u)
        else:
            w = w - rate * u
    return w


def adam(w, gradients, *, rate, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, epsilon_hat=False, decoupled=False):
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        if decoupled:
            w = w - rate * weight_decay * w
        else:
            g = g + weight_decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        if epsilon_hat:  # TensorFlow 1's documentation of AdamOptimizer
            rate_t = rate * math.sqrt(1 - beta2**t) / (1 - beta1**t)
            w = w - rate_t * m / (math.sqrt(v) + eps)
        else:  # Kingma and Ba, Algorithm 1
            m_hat = m / (1 - beta1**t)
            v_hat = v / (1 - beta2**t)
            w = w - rate * m_hat / (math.sqrt(v_hat) + eps)
    return w


def adamw(w, gradients, **options):
    return adam(w, gradients, decoupled=True, **options)


def amsgrad(
    w,
    gradients,
    *,
    rate,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    epsilon_hat=False,
    bias_correction="after_max",
    maximum="elementwise",
):
    """Of one element, the two kinds of `maximum` are the same."""
    m = v = largest = 0.0
    for t, g in enumerate(gradients, start=1):
        g = g + weight_decay * w
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        if bias_correction == "none":  # Reddi, Kale and Kumar, Algorithm 2
            largest = max(largest, v)
            w = w - rate * m / (math.sqrt(largest) + eps)
        elif bias_correction == "before_max":  # optax's documentation of scale_by_amsgrad
            largest = max(largest, v / (1 - beta2**t))
            w = w - rate * (m / (1 - beta1**t)) / (math.sqrt(largest) + eps)
        elif epsilon_hat:  # Keras' documentation of Adam(amsgrad=True)
            largest = max(largest, v)
            w = w - rate * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (math.sqrt(largest) + eps)
        else:  # PyTorch's documentation of Adam(amsgrad=True)
            largest = max(largest, v)
            w = w - rate * (m / (1 - beta1**t)) / (math.sqrt(largest / (1 - beta2**t)) + eps)
    return w


def rmsprop(w, gradients, *, rate, decay=0.99, eps=1e-8, momentum=0.0, centered=False, weight_decay=0.0):
    v = mean = u = 0.0
    for g in gradients:
        g = g + weight_decay * w
        v = decay * v + (1 - decay) * g**2
        mean = decay * mean + (1 - decay) * g
        spread = math.sqrt(v - mean**2) if centered else math.sqrt(v)
        u = momentum * u + g / (spread + eps)
        w = w - rate * u
    return w


def adagrad(w, gradients, *, rate, eps=1e-10, initial_accumulator=0.0, weight_decay=0.0):
    squares = initial_accumulator
    for g in gradients:
        g = g + weight_decay * w
        squares = squares + g**2
        w = w - rate * g / (math.sqrt(squares) + eps)
    return w
