"""LeNet-5 as a user would write it without this project: python plain_keras.py DATA.npz EPOCHS BATCH [ACTIVATION]"""

import sys

import keras
import numpy as np
from keras import layers

path, epochs, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
name = (sys.argv[4:] or ["relu"])[0]


class Maxout(layers.Layer):
    def call(self, z):
        return keras.ops.max(keras.ops.reshape(z, (-1, *z.shape[1:-1], z.shape[-1] // 2, 2)), axis=-1)


def activated(layer, units, *arguments, **more):
    if name == "maxout":
        units = 2 * round(units / 2**0.5)  # about as many weights
    own = {"maxout": Maxout, "prelu": layers.PReLU}
    return [layer(units, *arguments, **more), own[name]() if name in own else layers.Activation(name)]


with np.load(path) as data:
    x, y, x_val, y_val = data["x_train"], data["y_train"], data["x_val"], data["y_val"]

model = keras.Sequential(
    [
        keras.Input(x.shape[1:]),
        *activated(layers.Conv2D, 6, 5, padding="same"),
        layers.MaxPooling2D(),
        *activated(layers.Conv2D, 16, 5, padding="same"),
        layers.MaxPooling2D(),
        *activated(layers.Conv2D, 120, 5, padding="same"),
        layers.Flatten(),
        *activated(layers.Dense, 84),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
report = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(f"epoch {epoch + 1}/{epochs}  {logs}", flush=True))
model.fit(x, y, batch_size=batch, epochs=epochs, validation_data=(x_val, y_val), verbose=0, callbacks=[report])
