"""Which activation for your own network? Trains it with four, three seeds each, and writes comparison/index.html."""

import keras
from keras import layers
from sklearn.datasets import load_digits

import actgrad

digits = load_digits()
x, y = digits.images[..., None] / 16, digits.target


def build(activation):
    inputs = keras.Input((8, 8, 1))
    features = layers.Conv2D(16, 3, padding="same", activation=activation())(inputs)
    for _ in range(2):
        more = layers.Conv2D(16, 3, padding="same", activation=activation())(features)
        features = layers.Add()([features, more])
    features = layers.Dense(32, activation=activation())(layers.Flatten()(features))
    return keras.Model(inputs, layers.Dense(10)(features))


found = actgrad.compare(build, ["sigmoid", "tanh", "relu", "gelu"], (x, y), seeds=3, epochs=5)
print(found)
print(found.pairs[["first", "second", "difference", "significant"]].to_string(index=False))
print(found.report("comparison"))
