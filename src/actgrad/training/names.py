"""Names of the metrics of a run. Imports nothing, so that readers of results need no Keras."""

TRAIN_LOSS, TRAIN_ACCURACY = "train/loss", "train/accuracy"
VAL_LOSS, VAL_ACCURACY = "val/loss", "val/accuracy"
TEST = TEST_LOSS, TEST_ACCURACY = "test/loss", "test/accuracy"
HISTORY = (TRAIN_LOSS, TRAIN_ACCURACY, VAL_LOSS, VAL_ACCURACY)
