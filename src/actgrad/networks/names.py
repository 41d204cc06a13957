"""Names of LeNet-5's layers. Imports nothing, so that readers of results need no Keras."""

LAYERS = ("conv1", "conv2", "conv3", "dense1", "output")
ACTIVATED_LAYERS = LAYERS[:-1]
