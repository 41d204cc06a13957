"""Your own convolutional network: what training does to each layer. Writes gradients.html and diagnosis.json."""

import keras
from keras import layers
from sklearn.datasets import load_digits

from actgrad import GradientMonitor

digits = load_digits()
x, y = digits.images[..., None].astype("float32"), digits.target
x_val, y_val, x, y = x[:512], y[:512], x[512:], y[512:]

model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

monitor = GradientMonitor(probe=(x_val, y_val), census=x)
model.fit(x, y, epochs=3, validation_data=(x_val, y_val), verbose=2, callbacks=[monitor])

print(monitor.diagnose("diagnosis.json")[["rule", "source", "layer", "step", "value"]].to_string(index=False))
print(monitor.census.to_string(index=False))
monitor.report("gradients.html")
