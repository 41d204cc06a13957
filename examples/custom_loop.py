"""Your own training loop, on any backend of Keras: `watching` records it, `step_done` counts its steps."""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

from actgrad import GradientMonitor

digits = load_digits()
x, y = digits.images[..., None].astype("float32") / 16, digits.target

model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(32, activation="tanh"), layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.Adam()
optimizer.build(model.trainable_variables)
model.compile(loss=loss)  # the probe asks the model for its loss


def step_on_tensorflow(x, y):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=True))
    optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)


def step_on_torch(x, y):
    model.zero_grad()
    loss(keras.ops.convert_to_tensor(y), model(x, training=True)).backward()
    optimizer.apply([variable.value.grad for variable in model.trainable_variables], model.trainable_variables)


def step_on_jax(x, y):
    import jax

    def value(weights):
        return loss(y, model.stateless_call(weights, [], x, training=True)[0])

    weights, state = [v.value for v in model.trainable_variables], [v.value for v in optimizer.variables]
    weights, state = optimizer.stateless_apply(state, jax.grad(value)(weights), weights)
    for variable, new in zip([*model.trainable_variables, *optimizer.variables], [*weights, *state], strict=True):
        variable.assign(new)


step = {"tensorflow": step_on_tensorflow, "torch": step_on_torch, "jax": step_on_jax}[keras.backend.backend()]
monitor = GradientMonitor(probe=(x[:256], y[:256]))
with monitor.watching(model, optimizer):
    monitor.measure()
    for batch in np.random.default_rng(0).permutation(len(x))[:1600].reshape(50, 32):
        step(x[batch], y[batch])
        monitor.step_done()

print(monitor.steps.tail(2).to_string(index=False))
print(monitor.probes[["step", "layer", "preact_grad_rms", "loss"]].to_string(index=False))
