"""Measurements of a run during training, compared with values computed in other ways. For the probe itself, see test_monitor_probe."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from actgrad.config.schema import Config
from actgrad.monitor.names import COUNTS
from actgrad.networks.build import Network, build
from actgrad.networks.initial_weights import initializers
from actgrad.pipeline.environment import environment
from actgrad.training import batches, determinism
from actgrad.training.measurements import Measurements
from conftest import LAYERS, SITES, layer_named, train

# Values by the definition of commit 610c25a, for the same run: L2 norm of the gradient of a layer's kernel and bias together.
GRAD_NORMS = {
    1: {
        "conv1": 1.0723820924758911,
        "conv2": 0.4453340768814087,
        "conv3": 1.2163087129592896,
        "dense1": 0.5437710285186768,
        "output": 0.26439350843429565,
    },
    20: {
        "conv1": 8.233830451965332,
        "conv2": 1.6746842861175537,
        "conv3": 1.1585371494293213,
        "dense1": 0.5353007316589355,
        "output": 0.4849579632282257,
    },
}


def batches_of(dataset, config: Config, epoch: int = 1) -> tf.data.Dataset:
    """The batches of an epoch, made without training.batches."""
    order = np.random.default_rng([config.seed, epoch]).permutation(len(dataset.images["train"]))
    images, labels = dataset.images["train"][order].astype(np.float32), dataset.labels["train"][order]
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(config.recipe.batch_size)


def probe_of(dataset, config: Config) -> tuple[np.ndarray, np.ndarray]:
    images, labels = batches.probe_batch(dataset.images["val"], dataset.labels["val"], config.recipe.probe_size)
    return images.astype(np.float32), labels


def fresh(config: Config, dataset) -> Network:
    """The network of a run, before any update."""
    determinism.start(config.seed, config.recipe.threads)
    return build(config, dataset.images["train"], 10)


def at_start(run) -> pd.DataFrame:
    """The measurement of a run before any update, by layer."""
    return run.probe[run.probe["epoch"] == 0].set_index("layer")


# --- every update


@pytest.mark.parametrize("step", [1, 20])
def test_gradient_norms_are_those_that_the_study_has_always_recorded(trained, step):
    other = environment()["cpu"] != "x86_64_v4"  # recorded on that type; twenty updates amplify another processor's rounding
    rel = 1e-3 if other and step == 20 else 1e-5
    assert trained[1].gradients.set_index("step").loc[step].to_dict() == pytest.approx(GRAD_NORMS[step], rel=rel)


@pytest.mark.parametrize("overrides", [["tanh"], ["prelu"], ["maxout"], ["tanh", "model=mlp"], ["relu", "condition=batch_norm"]], ids=" ".join)
@pytest.mark.slow
def test_norms_of_the_first_step_against_a_separate_gradient_tape(run_config, few_digits, overrides):
    """With plain gradient descent, whose update is the gradient times the learning rate."""
    config = run_config(f"activation={overrides[0]}", "recipe.optimizer=SGD", "recipe.learning_rate=0.01", "recipe.epochs=1", *overrides[1:])
    result, _ = train(config, few_digits)
    network = fresh(config, few_digits)
    assert {layer for layer, _ in result.steps[["layer", "step"]].to_numpy()} == set(result.layers)
    layers = [layer_named(network.model, name) for name in result.layers]
    images, labels = next(iter(batches_of(few_digits, config)))
    with tf.GradientTape() as tape:
        probabilities = tf.nn.softmax(network.model(images, training=True))
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, probabilities))
    gradients = tape.gradient(loss, [[weight.value for weight in layer.trainable_weights] for layer in layers])

    def norms(tensors) -> list[float]:
        return [np.sqrt(sum(np.sum(np.square(np.float64(one))) for one in of_layer)) for of_layer in tensors]

    first = result.steps[result.steps["step"] == 1]
    assert first["grad_norm"].tolist() == pytest.approx(norms(gradients), rel=1e-4)
    assert first["weight_norm"].tolist() == pytest.approx(norms([layer.get_weights()[: len(layer.trainable_weights)] for layer in layers]), rel=1e-6)
    assert first["update_norm"].tolist() == pytest.approx([0.01 * norm for norm in norms(gradients)], rel=1e-2, abs=1e-6)


@pytest.mark.slow
def test_steps_that_are_executed_together_are_recorded_one_by_one(run_config, few_digits, trained):
    """Ten steps per epoch, so the last execution has two. The first epoch is trained in parts of 1, 1, 2, 4 and 2 steps."""
    four, _ = train(run_config("activation=tanh", "recipe.steps_per_execution=4"), few_digits)
    one = trained[1]
    assert one.gradients["step"].tolist() == list(range(1, 21))
    assert four.steps.equals(one.steps)
    assert four.probes.equals(one.probes)
    assert four.history.equals(one.history)


@pytest.mark.parametrize("overrides", [[], ["condition=batch_norm"], ["recipe.optimizer=RMSprop"]], ids=["Adam", "batch_norm", "RMSprop"])
@pytest.mark.slow
def test_measuring_does_not_change_a_single_bit_of_the_weights(run_config, few_digits, overrides):
    """Compared with the same network, compiled and fitted epoch by epoch with plain Keras."""
    config = run_config("activation=relu", *overrides)
    measured, network = train(config, few_digits)
    plain = fresh(config, few_digits).model
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(getattr(keras.optimizers, config.recipe.optimizer)(1e-3), loss, metrics=["accuracy"])
    fitted = [plain.fit(batches_of(few_digits, config, epoch), verbose=0, shuffle=False).history for epoch in (1, 2)]
    assert len(network.get_weights()) == len(plain.get_weights())
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(network.get_weights(), plain.get_weights(), strict=True))
    assert measured.history["train/loss"].tolist() == pytest.approx([one["loss"][0] for one in fitted], rel=1e-6)
    assert measured.history["train/accuracy"].tolist() == pytest.approx([one["accuracy"][0] for one in fitted], abs=1e-6)


# --- the probe


def test_layers_are_measured_in_their_order_and_often_at_first(trained):
    _, result, _ = trained
    moments = [(0, 0), (None, 1), (None, 2), (None, 4), (None, 8), (1, 10), (2, 20)]
    assert result.probes["layer"].tolist() == [*SITES, "output"] * len(moments)
    assert [(None if pd.isna(epoch) else epoch, step) for epoch, step in result.probes[["epoch", "step"]].to_numpy()[::5]] == moments
    assert result.probe["epoch"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert result.probes["hidden"].tolist() == [True, True, True, True, False] * len(moments)
    measured = result.probe.set_index("layer")
    of_units = ["units", "slope_ms", "gain", "predicted", "dead", "newly_dead", "revived", "saturated"]
    assert measured.loc["output", of_units].isna().all(axis=None)
    assert measured.loc[list(SITES), of_units].notna().all(axis=None)
    assert measured.loc[list(SITES), "kind"].eq("tanh").all()
    assert [(one["layer"], one["kind"]) for one in result.metrics["layers"]] == [
        *((layer, "Conv2D") for layer in LAYERS[:3]),
        *((layer, "Dense") for layer in LAYERS[3:]),
    ]
    assert [one["parameters"] for one in result.metrics["layers"]] == [156, 2416, 48120, 40404, 850]
    assert "preact_grad_rms_batch" not in result.probes


@pytest.mark.slow
def test_the_probe_is_within_the_first_epoch_whatever_its_length(run_config, few_digits):
    """An epoch of 38 steps is measured after 1, 2, 4, 8, 16 and 32 of them; one of four steps after 1 and 2, and at its end."""
    long, short = (train(run_config(f"recipe.batch_size={size}"), few_digits)[0] for size in (8, 90))
    assert long.probes["step"].unique().tolist() == [0, 1, 2, 4, 8, 16, 32, 38, 76]
    assert short.probes["step"].unique().tolist() == [0, 1, 2, 4, 8]
    assert short.probe["step"].unique().tolist() == [0, 4, 8]


def test_preact_grad_rms_of_a_run_against_the_chain_rule_by_hand(trained, few_digits):
    """dL/dz of `output` is softmax minus one-hot; that of dense1 is followed through the weights by hand."""
    config, result, network = trained
    images, labels = probe_of(few_digits, config)
    rows = result.probe[result.probe["epoch"] == 2].set_index("layer")["preact_grad_rms"]
    gradient = network(images).numpy() - np.eye(10)[labels]
    assert rows["output"] == pytest.approx(np.sqrt(np.mean(gradient**2)), rel=1e-5)
    inner = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    z = keras.Model(inner.input, layer_named(inner, "dense1").output)(images).numpy()
    gradient = gradient @ layer_named(network, "output").kernel.numpy().T * (1 - np.tanh(z) ** 2)
    assert rows["dense1_activation"] == pytest.approx(np.sqrt(np.mean(gradient**2)), rel=1e-4)


def test_preact_grad_rms_of_a_perceptron_against_the_chain_rule_by_hand(run_config, few_digits):
    """In NumPy, before any update, from its initial weights alone."""
    config = run_config("activation=tanh", "model=mlp", "model.config.depth=3", "model.config.width=12", "seed=3", "recipe.epochs=1")
    result, _ = train(config, few_digits)
    images, labels = probe_of(few_digits, config)
    shapes = {"dense1": (64, 12), "dense2": (12, 12), "dense3": (12, 12), "output": (12, 10)}
    kernels = [np.asarray(initializers("glorot_uniform", 3)(name)(shape)) for name, shape in shapes.items()]
    values = [images.reshape(len(images), -1)]
    for kernel in kernels[:-1]:
        values.append(np.tanh(values[-1] @ kernel))
    logits = values[-1] @ kernels[-1]
    gradient = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(10)[labels]
    rms = [np.sqrt(np.mean(gradient**2))]
    for kernel, value in zip(kernels[:0:-1], values[:0:-1], strict=True):
        gradient = gradient @ kernel.T * (1 - value**2)
        rms.insert(0, np.sqrt(np.mean(gradient**2)))
    start = at_start(result)
    assert start.index.tolist() == ["dense1_activation", "dense2_activation", "dense3_activation", "output"]
    assert start["preact_grad_rms"].tolist() == pytest.approx(rms, rel=1e-4)
    assert start["slope_ms"].tolist()[:3] == pytest.approx([np.mean((1 - value**2) ** 2) for value in values[1:]], rel=1e-4)


@pytest.mark.slow
def test_with_batch_normalisation_the_gradient_of_the_batch_is_measured_too(run_config, few_digits):
    """dL/dz by a separate tape, once with the moving statistics and once with those of the batch."""
    config = run_config("activation=tanh", "model.config.batch_normalization=true", "recipe.epochs=1")
    start = at_start(train(config, few_digits)[0])
    images, labels = probe_of(few_digits, config)
    inner = fresh(config, few_digits).model.layers[-1]
    after = keras.Model(layer_named(inner, "dense1_activation").output, inner.output)
    before = keras.Model(inner.input, layer_named(inner, "dense1_normalization").output)
    for column, training in (("preact_grad_rms", False), ("preact_grad_rms_batch", True)):
        z = before(images, training=training)
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels.astype(int), after(tf.tanh(z)))
        assert start.loc["dense1_activation", column] == pytest.approx(np.sqrt(np.mean(tape.gradient(loss, z).numpy() ** 2)), rel=1e-4)
    assert start.loc["conv1_activation", "preact_grad_rms_batch"] != pytest.approx(start.loc["conv1_activation", "preact_grad_rms"], rel=0.1)


def measurements_of(network: Network, dataset, config: Config) -> Measurements:
    """As training.prepared makes them."""
    network.model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.model.optimizer.build(network.model.trainable_variables)
    return Measurements(network.model, network.activations, *probe_of(dataset, config), steps=10)


def test_a_network_with_k_dead_units_has_k_dead_units(run_config, few_digits):
    config = run_config("activation=relu")
    network = fresh(config, few_digits)
    measurements = measurements_of(network, few_digits, config)
    for name, dead in (("conv1", 2), ("conv3", 17), ("dense1", 5)):
        layer = layer_named(network.model, name)
        kernel, bias = layer.get_weights()
        layer.set_weights([0 * kernel, np.where(np.arange(len(bias)) < dead, -1, 1)])
    rows = measurements.probe(0, 0).set_index("layer")
    planted = ["conv1_activation", "conv3_activation", "dense1_activation"]
    assert rows.loc[planted, "dead"].tolist() == [2, 17, 5]
    assert rows.loc[planted, "units"].tolist() == [6, 120, 84]
    assert rows.loc["dense1_activation", "saturated"] == pytest.approx(5 / 84)
    census = measurements.census(few_digits.images["train"])
    assert {name: census[name] for name in planted} == {
        "conv1_activation": {"units": 6, "dead": 2},
        "conv3_activation": {"units": 120, "dead": 17},
        "dense1_activation": {"units": 84, "dead": 5},
    }


def test_the_census_counts_what_is_dead_on_the_whole_training_split(run_config, few_digits):
    """A unit that only one training image activates is dead on the probe, but not in the census."""
    config = run_config("activation=relu", "model=mlp", "model.config.depth=2", "model.config.width=4")
    network = fresh(config, few_digits)
    measurements = measurements_of(network, few_digits, config)
    train_pixels, probe_pixels = few_digits.images["train"].reshape(-1, 64).astype(float), probe_of(few_digits, config)[0].reshape(-1, 64)
    brightness, of_probe = train_pixels.sum(axis=1).max(), probe_pixels.sum(axis=1).max()
    assert brightness > of_probe
    kernel = np.ones((64, 4), np.float32)
    bias = np.array([-(brightness + of_probe) / 2, -brightness - 1, 1, 1], np.float32)
    layer_named(network.model, "dense1").set_weights([kernel, bias])
    assert measurements.probe(0, 0).set_index("layer").loc["dense1_activation", "dead"] == 2
    assert measurements.census(few_digits.images["train"])["dense1_activation"] == {"units": 4, "dead": 1}


def test_a_run_is_compared_with_its_own_start(run_config, few_digits):
    """Units that die and revive are counted from the first measurement after `restart`."""
    config = run_config("activation=relu")
    network = fresh(config, few_digits)
    measurements, dense = measurements_of(network, few_digits, config), layer_named(network.model, "dense1")

    def with_dead(units: list[int]) -> dict:
        dense.set_weights([0 * dense.kernel.numpy(), np.where(np.isin(np.arange(84), units), -1.0, 1.0)])
        return measurements.probe(0, None).set_index("layer").loc["dense1_activation", list(COUNTS[1:])].to_dict()

    assert with_dead([0, 1, 2]) == {"dead": 3, "newly_dead": 0, "revived": 0, "revived_since_last": 0}
    assert with_dead([0, 1, 10, 11, 12, 13]) == {"dead": 6, "newly_dead": 4, "revived": 1, "revived_since_last": 1}
    measurements.restart()
    assert with_dead([0, 1, 10]) == {"dead": 3, "newly_dead": 0, "revived": 0, "revived_since_last": 0}
    assert with_dead([0]) == {"dead": 1, "newly_dead": 0, "revived": 2, "revived_since_last": 2}


def test_a_known_attenuation_is_measured_and_predicted(run_config, few_digits):
    """A tenth of a kernel passes a tenth of the gradient back. With derivatives of 1, the weights alone decide."""
    config = run_config("activation=linear", "condition=average_pooling")
    network = fresh(config, few_digits)
    measurements = measurements_of(network, few_digits, config)

    def shares() -> tuple[float, float]:
        rows = measurements.probe(0, 0).set_index("layer")
        share = rows.loc["conv3_activation", "preact_grad_rms"] / rows.loc["dense1_activation", "preact_grad_rms"]
        return share, rows.loc["conv3_activation", "predicted"]

    measured, predicted = shares()
    assert measured == pytest.approx(predicted, rel=0.1)
    dense = layer_named(network.model, "dense1")
    dense.kernel.assign(dense.kernel / 10)
    now = shares()
    assert now[0] == pytest.approx(measured / 10, rel=0.02)  # the gradient that arrives has changed a little with the logits
    assert now[1] == pytest.approx(predicted / 10, rel=1e-4)


@pytest.mark.parametrize("pieces", [2, 3])
@pytest.mark.slow
def test_what_maxout_passes_back_is_predicted(run_config, few_digits, pieces):
    """A unit of several pieces is one unit. Its gradient goes to the largest piece."""
    start = at_start(train(run_config("activation=maxout", f"activation.config.pieces={pieces}", "recipe.epochs=1"), few_digits)[0])
    shares = (start["preact_grad_rms"] / start["preact_grad_rms"].shift(-1))[list(SITES)]
    assert shares.to_dict() == pytest.approx(start.loc[list(SITES), "predicted"].to_dict(), rel=0.3)


# --- bfloat16


@pytest.fixture
def as_in_float32():
    """Afterwards, Keras is reset as at the start of a run."""
    yield
    determinism.start(0, 2)


@pytest.mark.usefixtures("as_in_float32")
@pytest.mark.slow
def test_a_network_of_a_builder_that_is_given_is_judged_in_float32_too(run_config, few_digits):
    def shallow(input_shape, classes, activation, *_, **__):
        inputs = keras.Input(input_shape)
        x = activation()(keras.layers.Dense(8)(keras.layers.Flatten()(inputs)))
        return keras.Model(inputs, keras.layers.Dense(classes, dtype="float32")(x))

    config = run_config("activation=linear", "recipe.precision=mixed_bfloat16", "recipe.epochs=1")
    result, _ = train(config, few_digits, builder=shallow)
    assert result.metrics["linearity"]["folding_error"] < 1e-4


@pytest.mark.usefixtures("as_in_float32")
@pytest.mark.slow
def test_bfloat16_does_not_hide_that_a_network_is_affine(run_config, few_digits):
    """bfloat16's rounding would be about 1e-2, so the trained weights are folded in float32."""
    result, network = train(run_config("activation=linear", "condition=average_pooling", "recipe.precision=mixed_bfloat16"), few_digits)
    assert layer_named(network, "conv1").compute_dtype == "bfloat16"
    assert 0 < result.metrics["linearity"]["folding_error"] < 1e-4
    assert result.metrics["linearity"]["superposition_error"] < 1e-4


@pytest.mark.usefixtures("as_in_float32")
def test_bfloat16_rounds_no_unit_of_the_sigmoid_dead(run_config, few_digits):
    """phi'(12) is 6e-6, and sigmoid(12) is 1 in bfloat16."""
    config = run_config("activation=sigmoid", "recipe.precision=mixed_bfloat16")
    network = fresh(config, few_digits)
    measurements, layer = measurements_of(network, few_digits, config), layer_named(network.model, "dense1")
    layer.set_weights([0 * layer.kernel.numpy(), np.full(84, 12.0)])
    assert float(tf.sigmoid(tf.constant(12, tf.bfloat16))) == 1
    row = measurements.probe(0, 0).set_index("layer").loc["dense1_activation"]
    assert (row["dead"], row["saturated"], row["active"]) == (0, 1, 1)
    assert row["slope_ms"] == pytest.approx((np.exp(-12) / (1 + np.exp(-12)) ** 2) ** 2, rel=1e-2)
    assert measurements.census(few_digits.images["train"])["dense1_activation"] == {"units": 84, "dead": 0}


@pytest.mark.usefixtures("as_in_float32")
@pytest.mark.parametrize("condition", ["baseline", "he"])
@pytest.mark.slow
def test_a_run_in_bfloat16_has_no_dead_unit_that_its_twin_in_float32_has_not(run_config, few_digits, condition):
    overrides = ["activation=sigmoid", f"condition={condition}"]
    twin, half = (train(run_config(*overrides, f"recipe.precision={precision}"), few_digits)[0] for precision in ("float32", "mixed_bfloat16"))
    start, of_twin = at_start(half).loc[list(SITES)], at_start(twin).loc[list(SITES)]
    assert start["saturated"].tolist() == pytest.approx(of_twin["saturated"].tolist(), abs=0.02)
    measured, expected = (one.probes[one.probes["hidden"]] for one in (half, twin))
    assert measured[["step", "layer"]].equals(expected[["step", "layer"]])
    assert (measured["dead"] <= expected["dead"]).all()
    assert all(half.metrics["census"][site]["dead"] <= twin.metrics["census"][site]["dead"] for site in SITES)


@pytest.mark.slow
def test_the_distance_from_the_start_is_the_norm_of_all_updates_together(run_config, few_digits):
    config = run_config("activation=relu", "recipe.epochs=1")
    moved, network = train(config, few_digits)
    start = build(config, few_digits.images["train"], 10).model
    for layer in LAYERS:
        before, after = (np.concatenate([w.ravel() for w in layer_named(model, layer).get_weights()]) for model in (start, network))
        assert moved.metrics["distance"][layer] == pytest.approx(np.linalg.norm(after - before), rel=1e-5)
