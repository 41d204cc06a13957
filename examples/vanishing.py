"""Does the gradient of a deep sigmoid network vanish, and where? Writes gradients.html."""

import keras
from keras import layers
from sklearn.datasets import load_digits

from actgrad import GradientMonitor

digits = load_digits()
x, y = digits.data / 16, digits.target
x_val, y_val, x, y = x[:512], y[:512], x[512:], y[512:]

keras.utils.set_random_seed(0)
hidden = [layers.Dense(32, activation="sigmoid", name=f"dense{number}") for number in range(1, 9)]
model = keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10, activation="softmax", name="output")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

monitor = GradientMonitor(probe=(x_val, y_val))
model.fit(x, y, epochs=5, validation_data=(x_val, y_val), verbose=2, callbacks=[monitor])
monitor.report("gradients.html")
