"""plain_keras.py with the tap: the same network and the same fit, and the gradient norm of every layer at every step."""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import keras
import numpy as np
from keras import layers

from actgrad.monitor.gradients import TappedModel

path, epochs, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with np.load(path) as data:
    x, y, x_val, y_val = data["x_train"], data["y_train"], data["x_val"], data["y_val"]

sequence = [
    layers.Conv2D(6, 5, padding="same", activation="relu", name="conv1"),
    layers.MaxPooling2D(),
    layers.Conv2D(16, 5, padding="same", activation="relu", name="conv2"),
    layers.MaxPooling2D(),
    layers.Conv2D(120, 5, padding="same", activation="relu", name="conv3"),
    layers.Flatten(),
    layers.Dense(84, activation="relu", name="dense1"),
    layers.Dense(10, activation="softmax", name="output"),
]
image = outputs = keras.Input(x.shape[1:])
for layer in sequence:
    outputs = layer(outputs)
model = TappedModel(image, outputs, steps_per_epoch=-(-len(x) // batch))
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(f"epoch {epoch + 1}/{epochs}  {logs}", flush=True))
model.fit(x, y, batch_size=batch, epochs=epochs, validation_data=(x_val, y_val), verbose=0, callbacks=[report])
assert model.grad_norms.numpy().all()
