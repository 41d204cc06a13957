"""A text classifier with an embedding and attention: which page of Python's manual do twenty words come from?"""

from pydoc_data.topics import topics

import keras
import numpy as np
from keras import layers

from actgrad import GradientMonitor

LENGTH = 20
pages = sorted(topics, key=lambda name: len(topics[name]), reverse=True)[:8]
words = [topics[name].split() for name in pages]
known = {word: i + 1 for i, word in enumerate(sorted({word for page in words for word in page}))}
pieces = [(page[i : i + LENGTH], label) for label, page in enumerate(words) for i in range(0, len(page) - LENGTH, LENGTH)]
order = np.random.default_rng(0).permutation(len(pieces))
x = np.array([[known[word] for word in pieces[i][0]] for i in order])
y = np.array([pieces[i][1] for i in order])

inputs = keras.Input((LENGTH,), dtype="int32")
signal = layers.Embedding(len(known) + 1, 32)(inputs)
signal = layers.LayerNormalization()(layers.Add()([signal, layers.MultiHeadAttention(2, 16)(signal, signal)]))
signal = layers.Dense(64, activation="gelu")(signal)
outputs = layers.Dense(len(pages), activation="softmax")(layers.GlobalAveragePooling1D()(signal))
model = keras.Model(inputs, outputs)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

monitor = GradientMonitor(probe=(x[:256], y[:256]))
model.fit(x[256:], y[256:], epochs=3, verbose=2, callbacks=[monitor])
print(monitor.layers.to_string(index=False))
print(monitor.steps.groupby("layer", sort=False)[["grad_norm", "update_ratio"]].mean().to_string())
