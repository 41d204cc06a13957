"""Do the gradients of a deep network vanish, and do residual paths help? Looks at both before any training."""

import keras
from keras import layers
from sklearn.datasets import load_digits

import actgrad

digits = load_digits()
x, y = digits.images[:256, ..., None].astype("float32") / 16, digits.target[:256]


def network(residual: bool, depth: int = 20) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    signal = layers.Conv2D(16, 3, padding="same")(inputs)
    for i in range(depth):
        block = layers.Conv2D(16, 3, padding="same", activation="sigmoid", name=f"block_{i + 1}")(signal)
        signal = layers.Add()([signal, block]) if residual else block
    features = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(signal))
    outputs = layers.Dense(10, activation="softmax")(features)
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


for residual in (False, True):
    found = actgrad.inspect(network(residual), x, y)
    print(f"{'with' if residual else 'without'} residual paths, {found.attenuation:.1f} decades. {found.sentence}")
