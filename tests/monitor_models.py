"""Models for the monitor's tests, and settings under which GradientMonitor must not change a bit of the training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

BACKEND = keras.backend.backend()
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(38, 8, 8, 3)).astype("float32")
LABELS = RANDOM.integers(0, 4, 38)
TOKENS = RANDOM.integers(0, 50, (38, 12))
NUMBERS = RANDOM.normal(size=(38, 1)).astype("float32")
BATCH = 16
X = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)
Y = np.array([[1.0], [0.0]], np.float32)
"""Two examples, so that expected values can be computed by hand."""


@dataclass
class Case:
    """A model, how it is compiled, and its training data."""

    build: Callable[[], keras.Model]
    x: Any = None
    y: Any = None
    compiled: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    policy: str = "float32"
    probe: tuple[Any, Any] = (IMAGES[:16], LABELS[:16])
    slow: bool = True


def line(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """y = x w + b with w = (0.5, -1), b = 0.25; its loss is the mean square of the error."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="line")])
    model.layers[0].set_weights([np.array([[0.5], [-1.0]], np.float32), np.array([0.25], np.float32)])
    model.compile(optimizer, "mse")
    return model


def images(*middle: keras.Layer, **more: Any) -> keras.Model:
    return keras.Sequential([keras.Input((8, 8, 3)), *middle, layers.Flatten(), layers.Dense(4, activation="softmax", **more)])


def convolutional() -> keras.Model:
    return images(layers.Conv2D(4, 3, activation="relu"), layers.Dropout(0.2))


def deeper() -> keras.Model:
    normalised = [layer for _ in range(3) for layer in (layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization(), layers.ReLU())]
    return images(*normalised, layers.Conv2D(8, 3, activation="gelu"))


class Subclassed(keras.Model):
    """A model that calls a function outside any layer."""

    def __init__(self):
        super().__init__()
        self.convolution, self.flat, self.dense = layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(4)

    def call(self, x):
        return keras.ops.softmax(self.dense(self.flat(keras.ops.relu(self.convolution(x)))))


def nested() -> keras.Model:
    inner = keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()], name="inner")
    inputs = keras.Input((8, 8, 3))
    x = layers.Activation("gelu")(layers.Conv2D(4, 1)(inner(inputs)))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def residual() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    for _ in range(2):
        x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", activation="relu")(layers.LayerNormalization()(x))])
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))


def shared() -> keras.Model:
    again = layers.Dense(8, activation="relu", name="again")
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(again(again(layers.Dense(8)(layers.Flatten()(inputs))))))


def frozen() -> keras.Model:
    model = images(layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(4, 3, activation="relu"))
    model.layers[0].trainable = False
    return model


def two_ends() -> keras.Model:
    first, second = keras.Input((8, 8, 3)), keras.Input((5,))
    x = layers.Dense(8, activation="tanh")(layers.Concatenate()([layers.Flatten()(first), second]))
    return keras.Model([first, second], [layers.Dense(4, activation="softmax")(x), layers.Dense(1)(x)])


def recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((12,)), layers.Embedding(50, 6), layers.GRU(5), layers.Dense(4, activation="softmax")])


def attention() -> keras.Model:
    inputs = keras.Input((12,))
    x = layers.Embedding(50, 8)(inputs)
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 8), activation="gelu")(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def separable() -> keras.Model:
    return images(
        layers.DepthwiseConv2D(3), layers.PReLU(shared_axes=[1, 2]), layers.SeparableConv2D(4, 3, activation="silu"), layers.GroupNormalization(2)
    )


class OwnStep(keras.Model):
    """A model with a custom train_step."""

    if BACKEND == "tensorflow":

        def train_step(self, data):
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}


class OwnLoss(keras.Model):
    """A model with an older Keras' compute_loss, which has no `training`, and with noise from the backend's own generator."""

    def __init__(self):
        super().__init__()
        self.flat, self.dense, self.out = layers.Flatten(), layers.Dense(8, activation="tanh"), layers.Dense(4, activation="softmax")

    def call(self, x):
        return self.out(self.dense(self.flat(noisy(x))))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):  # noqa: ARG002
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred))


def noisy(x: Any) -> Any:
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return x + tf.random.normal(tf.shape(x))
    if BACKEND == "torch":
        import torch

        return x + torch.randn_like(x)
    return x


def own_step() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    return OwnStep(inputs, layers.Dense(4, activation="softmax")(layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))))


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return IMAGES[i * BATCH : (i + 1) * BATCH], LABELS[i * BATCH : (i + 1) * BATCH]


def generator():
    while True:
        yield from (Batches()[i] for i in range(2))


def dataset() -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(BATCH)


def sgd(**more: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.05, momentum=0.9, **more)


def everything() -> keras.optimizers.Optimizer:
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.5)
    return keras.optimizers.AdamW(rate, weight_decay=0.01, use_ema=True, ema_overwrite_frequency=4)


CASES = {
    "sequential": Case(convolutional, slow=False),
    "subclassed": Case(Subclassed),
    "nested, batch normalisation": Case(nested, slow=False),
    "residual": Case(residual),
    "shared layer": Case(shared),
    "frozen layer": Case(frozen),
    "two inputs and outputs": Case(
        two_ends,
        [IMAGES, IMAGES[:, 0, :5, 0]],
        [LABELS, NUMBERS],
        {"loss": ["sparse_categorical_crossentropy", "mse"], "metrics": [["accuracy"], ["mae"]]},
        probe=([IMAGES[:16], IMAGES[:16, 0, :5, 0]], [LABELS[:16], NUMBERS[:16]]),
        slow=False,
    ),
    "recurrent": Case(recurrent, TOKENS, probe=(TOKENS[:16], LABELS[:16])),
    "attention": Case(attention, TOKENS, probe=(TOKENS[:16], LABELS[:16])),
    "depthwise, separable, PReLU": Case(separable),
    "own train_step": Case(own_step, compiled={"metrics": None}),
    "sample_weight": Case(convolutional, fit={"sample_weight": np.linspace(0, 2, 38).astype("float32")}),
    "class_weight": Case(convolutional, fit={"class_weight": {0: 1.0, 1: 2.0, 2: 0.5, 3: 1.0}}),
    "jit_compile": Case(convolutional, compiled={"jit_compile": BACKEND != "torch"}),
    "eager": Case(convolutional, compiled={"run_eagerly": True}),
    "clipping": Case(deeper, compiled={"optimizer": lambda: keras.optimizers.Adam(0.01, clipnorm=0.1)}),
    "global clipping": Case(deeper, compiled={"optimizer": lambda: sgd(global_clipnorm=0.1)}),
    "own loss, own noise": Case(OwnLoss, compiled={"run_eagerly": True}),
    "accumulation": Case(convolutional, compiled={"optimizer": lambda: sgd(gradient_accumulation_steps=3)}, slow=False),
    "decay, schedule, EMA": Case(convolutional, compiled={"optimizer": everything}),
    "mixed_float16": Case(convolutional, policy="mixed_float16"),
    "mixed_bfloat16": Case(convolutional, policy="mixed_bfloat16"),
    "PyDataset": Case(convolutional, Batches()),
    "generator": Case(convolutional, generator, fit={"steps_per_epoch": 2, "shuffle": False}),
    "regularizer": Case(lambda: images(layers.Conv2D(4, 3, kernel_regularizer="l2", activation="elu"))),
    "not built": Case(
        lambda: keras.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(4, activation="softmax")]), slow=False
    ),
}
if BACKEND == "tensorflow":
    CASES["tf.data"] = Case(convolutional, dataset, fit={"shuffle": False})
if BACKEND != "torch":
    CASES["steps_per_execution"] = Case(convolutional, compiled={"steps_per_execution": 2}, slow=False)


def compiled(case: Case) -> keras.Model:
    """A case's model, built and compiled with a fixed seed."""
    keras.utils.clear_session()
    keras.config.set_dtype_policy(case.policy)
    keras.utils.set_random_seed(3)
    given = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | case.compiled
    model = case.build()
    model.compile(**{name: value() if name == "optimizer" and callable(value) else value for name, value in given.items()})
    return model


def fit(model: keras.Model, case: Case, *callbacks: keras.callbacks.Callback, epochs: int = 2) -> dict[str, list[float]]:
    x = IMAGES if case.x is None else case.x() if callable(case.x) else case.x
    more = {} if not isinstance(x, (np.ndarray, list)) else {"y": LABELS if case.y is None else case.y, "batch_size": BATCH}
    return model.fit(x, epochs=epochs, verbose=0, callbacks=list(callbacks), **more, **case.fit).history


def state(model: keras.Model) -> list[np.ndarray]:
    """Weights, statistics, states of random generators, and the optimizer's variables."""
    return [keras.ops.convert_to_numpy(variable) for variable in (*model.variables, *model.optimizer.variables)]
