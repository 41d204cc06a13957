"""The instruments against values worked out by other means."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from actgrad.config.schema import Activation
from actgrad.data.storage import probe_batch
from actgrad.monitor import gradients
from actgrad.monitor.gradients import Probe, TappedModel
from actgrad.networks import activations, lenet5, seeding
from actgrad.results.run import ACTIVATED_LAYERS, LAYERS
from actgrad.training import loop as training


def batches(dataset, configuration, epoch: int = 1) -> tf.data.Dataset:
    images, labels = dataset.images["train"], dataset.labels["train"]
    order = seeding.order(configuration.seed, epoch, len(images))
    return training._batches(tf.constant(images), tf.constant(labels), order, configuration.recipe.batch_size)


def unit_census(layer: keras.layers.Layer, z: tf.Tensor) -> tuple[np.ndarray, float]:
    dead, saturated = gradients.unit_census(layer, z, activations.derivative(layer, z))
    return dead.numpy(), float(saturated)


def chain(weights: list[float], biases: list[float]) -> tuple[keras.Input, keras.KerasTensor]:
    """One unit a layer, under the names of the network's layers: x -> w x + b -> ... ."""
    inputs = x = keras.Input((1,))
    for name, weight, bias in zip(LAYERS, weights, biases, strict=True):
        constants = {"kernel_initializer": keras.initializers.Constant(weight), "bias_initializer": keras.initializers.Constant(bias)}
        x = keras.layers.Dense(1, name=name, **constants)(x)
    return inputs, x


def test_the_tap_against_a_network_worked_out_by_hand():
    weights, biases = [2.0, -1.0, 3.0, 0.5, 4.0], [1.0, 0.0, -1.0, 0.0, 2.0]
    x, y = 3.0, -10.0
    model = TappedModel(*chain(weights, biases), steps_per_epoch=1)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError())
    model.fit(tf.data.Dataset.from_tensors((tf.constant([[x]]), tf.constant([[y]]))), verbose=0, shuffle=False)
    values = [x]  # 3, 7, -7, -22, -11, -42
    for weight, bias in zip(weights, biases, strict=True):
        values.append(weight * values[-1] + bias)
    assert values == [3, 7, -7, -22, -11, -42]
    delta, expected = 2 * (values[-1] - y), []  # d(output - y)^2 / d output
    for layer in range(4, -1, -1):
        expected.insert(0, abs(delta) * np.hypot(values[layer], 1))  # kernel: delta * input, bias: delta
        delta *= weights[layer]
    assert model.grad_norms.numpy()[0] == pytest.approx(expected, rel=1e-6)
    assert model.get_layer("output").kernel.numpy().item() == pytest.approx(4 - 0.1 * -64 * -11)


@pytest.mark.parametrize("activation", ["tanh", "prelu", "maxout"])
def test_the_tap_against_a_separate_gradient_tape(cell, few_digits, activation):
    configuration = cell(f"activation={activation}")
    seeding.make_deterministic(0, 2)
    network = lenet5.build(configuration, few_digits.images["train"], 10)
    model = training.compiled(network, configuration, 10)
    images, labels = next(iter(batches(few_digits, configuration)))
    layers = [network.get_layer(name) for name in LAYERS]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, network(images)))
    kernels, biases = tape.gradient(loss, [[layer.kernel.value for layer in layers], [layer.bias.value for layer in layers]])
    norms = [np.hypot(np.linalg.norm(kernel), np.linalg.norm(bias)) for kernel, bias in zip(kernels, biases, strict=True)]
    model.fit(batches(few_digits, configuration).take(1), verbose=0, shuffle=False)
    assert model.grad_norms.numpy()[0] == pytest.approx(norms, rel=1e-4)


def test_the_tap_is_right_when_several_steps_are_executed_at_once(cell, few_digits):
    def norms(steps: int) -> np.ndarray:
        configuration = cell("activation=tanh", f"recipe.steps_per_execution={steps}")
        result, _ = training.train(configuration, few_digits)
        return result.gradients

    one, four = norms(1), norms(4)  # ten steps an epoch: the last execution has two
    assert len(one) == 20
    assert one["step"].tolist() == list(range(1, 21))
    assert one.equals(four)


def test_measuring_does_not_change_a_single_bit_of_the_weights(cell, few_digits):
    configuration = cell("activation=relu")
    measured, network = training.train(configuration, few_digits)
    seeding.make_deterministic(configuration.seed, configuration.recipe.threads)
    plain = lenet5.build(configuration, few_digits.images["train"], 10)
    model = keras.Model(plain.input, plain.get_layer("output").output)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    losses = [model.fit(batches(few_digits, configuration, epoch), verbose=0, shuffle=False).history["loss"][0] for epoch in (1, 2)]
    for ours, theirs in zip(network.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert measured.history["train/loss"].tolist() == pytest.approx(losses, rel=1e-6)


def test_the_probe_changes_nothing_and_repeats_itself(trained, few_digits):
    _, _, network = trained
    before = network.get_weights()
    probe = Probe(network, *probe_batch(few_digits.images["val"], few_digits.labels["val"], 32))
    assert probe.measure().equals(probe.measure())
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_delta_against_the_chain_rule_by_hand(trained, few_digits):
    """delta of `output` is softmax minus one-hot; that of dense1 is followed through the weights by hand."""
    _, _, network = trained
    images, labels = few_digits.images["val"][:16], few_digits.labels["val"][:16]
    rows = Probe(network, images, labels).measure().set_index("layer")["delta_rms"]
    delta = network(images.astype(np.float32)).numpy() - np.eye(10)[labels]
    assert rows["output"] == pytest.approx(np.sqrt(np.mean(delta**2)), rel=1e-5)
    z = keras.Model(network.input, network.get_layer("dense1").output)(images.astype(np.float32)).numpy()
    delta = delta @ network.get_layer("output").kernel.numpy().T * (1 - np.tanh(z) ** 2)
    assert rows["dense1"] == pytest.approx(np.sqrt(np.mean(delta**2)), rel=1e-4)


def test_a_network_with_k_dead_units_has_k_dead_units(cell, few_digits):
    network = lenet5.build(cell("activation=relu"), few_digits.images["train"], 10)
    for layer, dead in (("conv1", 2), ("conv3", 17), ("dense1", 5)):
        kernel, bias = network.get_layer(layer).get_weights()
        bias = np.where(np.arange(len(bias)) < dead, -1, 1)
        network.get_layer(layer).set_weights([0 * kernel, bias])
    rows = Probe(network, few_digits.images["val"], few_digits.labels["val"]).measure().set_index("layer")
    assert rows.loc[["conv1", "conv3", "dense1"], "dead"].tolist() == [2, 17, 5]
    assert rows.loc[["conv1", "conv3", "dense1"], "units"].tolist() == [6, 120, 84]
    assert rows.loc["dense1", "saturated"] == pytest.approx(5 / 84)


def test_units_that_die_and_units_that_come_to_life_are_told_apart(cell, few_digits):
    """Three units are dead at first; then one of them is revived, and four others have died."""
    network = lenet5.build(cell("activation=relu"), few_digits.images["train"], 10)
    dense = network.get_layer("dense1")
    probe = Probe(network, few_digits.images["val"], few_digits.labels["val"])

    def with_dead(units: list[int]) -> dict:
        dense.set_weights([0 * dense.kernel.numpy(), np.where(np.isin(np.arange(84), units), -1.0, 1.0)])
        return probe.measure().set_index("layer").loc["dense1", ["dead", "died", "revived"]].to_dict()

    assert with_dead([0, 1, 2]) == {"dead": 3, "died": 0, "revived": 0}
    assert with_dead([0, 1, 10, 11, 12, 13]) == {"dead": 6, "died": 4, "revived": 1}


@pytest.mark.parametrize(("pooling", "kept"), [("max", 1 / 4), ("average", 1 / 16)])
@pytest.mark.parametrize("activation", ["tanh", "maxout"])
def test_the_gain_of_weights_and_pooling_is_that_of_the_jacobian(cell, few_digits, pooling, kept, activation):
    """The mean square of an independent signal is multiplied by ||J||^2 / inputs."""
    network = lenet5.build(cell(f"activation={activation}", f"model.pooling={pooling}"), few_digits.images["train"], 10)
    for layer, following in zip(ACTIVATED_LAYERS, LAYERS[1:], strict=True):
        output = network.get_layer(lenet5.activation_name(layer)).output
        between = keras.Model(output, network.get_layer(following).output)
        x = tf.constant(np.random.default_rng(0).normal(size=(1, *output.shape[1:])), tf.float32)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            z = between(x)
        jacobian = tape.jacobian(z, x, experimental_use_pfor=False).numpy()
        gains = gradients.gains(network, layer)
        assert gains["weight_gain"] * gains["pooling_gain"] == pytest.approx(np.sum(jacobian**2) / np.prod(x.shape), rel=1e-5)
        assert gains["pooling_gain"] == (kept if layer in ("conv1", "conv2") else 1)


def test_a_known_attenuation_is_measured_and_predicted(cell, few_digits):
    """A tenth of a kernel passes a tenth of the signal back; derivatives of 1 leave it to the weights alone."""
    network = lenet5.build(cell("activation=linear", "model.pooling=average"), few_digits.images["train"], 10)
    probe = Probe(network, few_digits.images["val"], few_digits.labels["val"])

    def shares() -> tuple[float, float]:
        rows = probe.measure().set_index("layer")
        return rows.loc["conv3", "delta_rms"] / rows.loc["dense1", "delta_rms"], np.sqrt(
            rows.loc["conv3", ["slope_ms", "weight_gain", "pooling_gain"]].prod()
        )

    measured, predicted = shares()
    assert measured == pytest.approx(predicted, rel=0.1)
    dense = network.get_layer("dense1")
    dense.kernel.assign(dense.kernel / 10)
    now = shares()
    assert now[0] == pytest.approx(measured / 10, rel=0.02)  # the signal that arrives has turned a little with the logits
    assert now[1] == pytest.approx(predicted / 10, rel=1e-5)


def test_batch_normalisation_is_probed_as_it_trains_and_left_as_it_was(cell, few_digits):
    network = lenet5.build(cell("activation=relu", "model.batch_normalization=true"), few_digits.images["train"], 10)
    before = network.get_weights()
    rows = Probe(network, few_digits.images["val"], few_digits.labels["val"]).measure().set_index("layer")
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    assert rows.loc[list(ACTIVATED_LAYERS), "slope_ms"].tolist() == pytest.approx([0.5] * 4, abs=0.1)  # half of what is normalised is positive
    assert rows["weight_gain"].isna().all()


@pytest.mark.parametrize(
    ("name", "z", "dead", "saturated"),
    [
        ("relu", [[-1, 1], [-2, -1]], 1, 3 / 4),  # the second unit lives for the first example
        ("leaky_relu", [[-1, 1], [-2, -1]], 0, 3 / 4),  # a slope of 0.01 is below 5 % of 1
        ("prelu", [[-1, 1], [-2, -1]], 0, 0),
        ("linear", [[-1, 1], [-2, -1]], 0, 0),
        ("sigmoid", [[0, 4.3], [-4.4, 4.4]], 0, 2 / 4),  # phi'(4.3) = 0.0132 and phi'(4.4) = 0.0120, the bound is 0.0125
        ("tanh", [[0, 2.1], [-2.2, 2.2]], 0, 2 / 4),  # phi'(2.1) = 0.0588 and phi'(2.2) = 0.0476, the bound is 0.05
        ("tanh", [[20, 0], [-20, 1]], 1, 2 / 4),  # in float32 tanh(20) is 1
    ],
)
def test_dead_and_saturated_units_by_hand(cell, name, z, dead, saturated):
    layer = activations.build(cell(f"activation={name}").activation)
    of_unit, share = unit_census(layer, tf.constant(z, tf.float32))
    assert (len(of_unit), of_unit.sum(), share) == (2, dead, pytest.approx(saturated))


def test_a_channel_is_one_unit_and_dies_only_at_every_position(cell):
    layer = activations.build(cell("activation=relu").activation)
    z = -np.ones((3, 4, 4, 5), np.float32)
    z[2, 3, 1, 0] = 1
    dead, saturated = unit_census(layer, tf.constant(z))
    assert dead.tolist() == [False, True, True, True, True]
    assert saturated == pytest.approx(1 - 1 / z.size)


def test_a_unit_of_maxout_is_as_steep_as_its_steepest_piece():
    layer = activations.build(Activation(name="maxout", layer="actgrad.networks.layers.Maxout", config={"pieces": 2}))
    dead, saturated = unit_census(layer, tf.constant([[-5.0, -1.0, 2.0, 9.0]]))
    assert (dead.tolist(), saturated) == ([False, False], 0)


@pytest.mark.parametrize("layer", ["PReLU", "ReLU", "actgrad.networks.layers.Maxout"])
def test_the_largest_derivative_is_that_of_the_function_wherever_the_layer_keeps_weights(layer):
    built = activations.build(Activation(name="x", layer=layer))
    z = tf.ones((2, 3, 3, 4))
    assert unit_census(built, z)[1] == 0
    assert gradients._slopes(built, activations.derivative(built, tf.constant(gradients._grid(built, z.shape)))).numpy().max() == 1


def test_layers_are_probed_in_their_order(trained):
    _, result, _ = trained
    assert result.probe["layer"].tolist() == list(LAYERS) * 3
    assert result.probe["epoch"].unique().tolist() == [0, 1, 2]
    measured = result.probe.set_index("layer")
    of_activations = ["slope_ms", "weight_gain", "pooling_gain", "dead", "died", "revived", "saturated"]
    assert measured.loc["output", of_activations].isna().all(axis=None)
    assert measured.loc[list(ACTIVATED_LAYERS), of_activations].notna().all(axis=None)
    assert gradients.SATURATION == 0.05
