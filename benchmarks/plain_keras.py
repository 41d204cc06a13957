"""The yardstick: LeNet-5 with ReLU as a user would write it, without any of this project: python plain_keras.py DATA.npz EPOCHS BATCH"""

import sys

import keras
import numpy as np
from keras import layers

path, epochs, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with np.load(path) as data:
    x, y, x_val, y_val = data["x_train"], data["y_train"], data["x_val"], data["y_val"]

model = keras.Sequential(
    [
        keras.Input(x.shape[1:]),
        layers.Conv2D(6, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(120, 5, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(84, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(f"epoch {epoch + 1}/{epochs}  {logs}", flush=True))
model.fit(x, y, batch_size=batch, epochs=epochs, validation_data=(x_val, y_val), verbose=0, callbacks=[report])
