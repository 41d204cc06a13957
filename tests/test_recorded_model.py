"""RecordedModel and LayerProbe against values that are worked out by other means."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from actgrad.config.schema import Activation
from actgrad.monitor import names
from actgrad.monitor.derivatives import derivative, slopes
from actgrad.networks import activations, lenet5
from actgrad.networks.names import ACTIVATED_LAYERS, LAYERS
from actgrad.training import batches, determinism, loop
from actgrad.training import layer_probe as probing
from actgrad.training.layer_probe import LayerProbe
from actgrad.training.recorded_model import RecordedModel
from conftest import train


def batches_of(dataset, config, epoch: int = 1) -> tf.data.Dataset:
    images, labels = dataset.images["train"], dataset.labels["train"]
    order = batches.order(config.seed, epoch, len(images))
    return batches.batches(tf.constant(images), tf.constant(labels), order, config.recipe.batch_size)


def probe_of(network: keras.Model, images: np.ndarray, labels: np.ndarray) -> LayerProbe:
    return LayerProbe(network, lenet5.ACTIVATION_LAYERS, "output", images, labels)


def unit_states(layer: keras.layers.Layer, z: tf.Tensor) -> tuple[np.ndarray, float]:
    dead, saturated = probing.unit_states(layer, z, derivative(layer, z))
    return dead.numpy(), float(saturated)


def chain(weights: list[float], biases: list[float]) -> tuple[keras.Input, keras.KerasTensor]:
    """One unit a layer, under the names of the network's layers: x -> w x + b -> ... ."""
    inputs = x = keras.Input((1,))
    for name, weight, bias in zip(LAYERS, weights, biases, strict=True):
        constants = {"kernel_initializer": keras.initializers.Constant(weight), "bias_initializer": keras.initializers.Constant(bias)}
        x = keras.layers.Dense(1, name=name, **constants)(x)
    return inputs, x


def test_the_monitor_against_a_network_worked_out_by_hand():
    weights, biases = [2.0, -1.0, 3.0, 0.5, 4.0], [1.0, 0.0, -1.0, 0.0, 2.0]
    x, y = 3.0, -10.0
    model = RecordedModel(*chain(weights, biases), monitored=LAYERS, steps_per_epoch=1)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError())
    model.fit(tf.data.Dataset.from_tensors((tf.constant([[x]]), tf.constant([[y]]))), verbose=0, shuffle=False)
    values = [x]  # 3, 7, -7, -22, -11, -42
    for weight, bias in zip(weights, biases, strict=True):
        values.append(weight * values[-1] + bias)
    assert values == [3, 7, -7, -22, -11, -42]
    gradient, expected = 2 * (values[-1] - y), []  # dL/dz of the output, with L = (output - y)^2
    for layer in range(4, -1, -1):
        expected.insert(0, abs(gradient) * np.hypot(values[layer], 1))  # kernel: dL/dz * input, bias: dL/dz
        gradient *= weights[layer]
    assert model.grad_norms.numpy()[0] == pytest.approx(expected, rel=1e-6)
    assert model.get_layer("output").kernel.numpy().item() == pytest.approx(4 - 0.1 * -64 * -11)


@pytest.mark.parametrize("activation", ["tanh", "prelu", "maxout"])
def test_the_monitor_against_a_separate_gradient_tape(run_config, few_digits, activation):
    config = run_config(f"activation={activation}")
    determinism.start(0, 2)
    network = lenet5.build(config, few_digits.images["train"], 10)
    model = loop.compiled(network, config, 10)
    images, labels = next(iter(batches_of(few_digits, config)))
    layers = [network.get_layer(name) for name in LAYERS]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, network(images)))
    kernels, biases = tape.gradient(loss, [[layer.kernel.value for layer in layers], [layer.bias.value for layer in layers]])
    norms = [np.hypot(np.linalg.norm(kernel), np.linalg.norm(bias)) for kernel, bias in zip(kernels, biases, strict=True)]
    model.fit(batches_of(few_digits, config).take(1), verbose=0, shuffle=False)
    assert model.grad_norms.numpy()[0] == pytest.approx(norms, rel=1e-4)


def test_the_monitor_is_right_when_several_steps_are_executed_at_once(run_config, few_digits):
    def norms(steps: int) -> np.ndarray:
        config = run_config("activation=tanh", f"recipe.steps_per_execution={steps}")
        result, _ = train(config, few_digits)
        return result.gradients

    one, four = norms(1), norms(4)  # ten steps an epoch: the last execution has two
    assert len(one) == 20
    assert one["step"].tolist() == list(range(1, 21))
    assert one.equals(four)


def test_measuring_does_not_change_a_single_bit_of_the_weights(run_config, few_digits):
    config = run_config("activation=relu")
    measured, network = train(config, few_digits)
    determinism.start(config.seed, config.recipe.threads)
    plain = lenet5.build(config, few_digits.images["train"], 10)
    model = keras.Model(plain.input, plain.get_layer("output").output)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    losses = [model.fit(batches_of(few_digits, config, epoch), verbose=0, shuffle=False).history["loss"][0] for epoch in (1, 2)]
    for ours, theirs in zip(network.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert measured.history["train/loss"].tolist() == pytest.approx(losses, rel=1e-6)


def test_the_probe_changes_nothing_and_repeats_itself(trained, few_digits):
    _, _, network = trained
    before = network.get_weights()
    probe = probe_of(network, *batches.probe_batch(few_digits.images["val"], few_digits.labels["val"], 32))
    assert probe.measure().equals(probe.measure())
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_preact_grad_rms_against_the_chain_rule_by_hand(trained, few_digits):
    """dL/dz of `output` is softmax minus one-hot; that of dense1 is followed through the weights by hand."""
    _, _, network = trained
    images, labels = few_digits.images["val"][:16], few_digits.labels["val"][:16]
    rows = probe_of(network, images, labels).measure().set_index("layer")["preact_grad_rms"]
    gradient = network(images.astype(np.float32)).numpy() - np.eye(10)[labels]
    assert rows["output"] == pytest.approx(np.sqrt(np.mean(gradient**2)), rel=1e-5)
    z = keras.Model(network.input, network.get_layer("dense1").output)(images.astype(np.float32)).numpy()
    gradient = gradient @ network.get_layer("output").kernel.numpy().T * (1 - np.tanh(z) ** 2)
    assert rows["dense1"] == pytest.approx(np.sqrt(np.mean(gradient**2)), rel=1e-4)


def test_a_network_with_k_dead_units_has_k_dead_units(run_config, few_digits):
    network = lenet5.build(run_config("activation=relu"), few_digits.images["train"], 10)
    for layer, dead in (("conv1", 2), ("conv3", 17), ("dense1", 5)):
        kernel, bias = network.get_layer(layer).get_weights()
        bias = np.where(np.arange(len(bias)) < dead, -1, 1)
        network.get_layer(layer).set_weights([0 * kernel, bias])
    rows = probe_of(network, few_digits.images["val"], few_digits.labels["val"]).measure().set_index("layer")
    assert rows.loc[["conv1", "conv3", "dense1"], "dead"].tolist() == [2, 17, 5]
    assert rows.loc[["conv1", "conv3", "dense1"], "units"].tolist() == [6, 120, 84]
    assert rows.loc["dense1", "saturated"] == pytest.approx(5 / 84)


def test_units_that_die_and_units_that_revive_are_counted(run_config, few_digits):
    """Three units are dead at first; then one of them is revived, and four others have died."""
    network = lenet5.build(run_config("activation=relu"), few_digits.images["train"], 10)
    dense = network.get_layer("dense1")
    probe = probe_of(network, few_digits.images["val"], few_digits.labels["val"])

    def with_dead(units: list[int]) -> dict:
        dense.set_weights([0 * dense.kernel.numpy(), np.where(np.isin(np.arange(84), units), -1.0, 1.0)])
        return probe.measure().set_index("layer").loc["dense1", ["dead", "newly_dead", "revived"]].to_dict()

    assert with_dead([0, 1, 2]) == {"dead": 3, "newly_dead": 0, "revived": 0}
    assert with_dead([0, 1, 10, 11, 12, 13]) == {"dead": 6, "newly_dead": 4, "revived": 1}


@pytest.mark.parametrize(("pooling", "kept"), [("max", 1 / 4), pytest.param("average", 1 / 16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("activation", ["tanh", pytest.param("maxout", marks=pytest.mark.slow)])
def test_the_gain_of_weights_and_pooling_is_that_of_the_jacobian(run_config, few_digits, pooling, kept, activation):
    """The mean square of an independent gradient is multiplied by ||J||^2 / inputs."""
    network = lenet5.build(run_config(f"activation={activation}", f"model.pooling={pooling}"), few_digits.images["train"], 10)
    for layer, following in zip(ACTIVATED_LAYERS, LAYERS[1:], strict=True):
        output = network.get_layer(lenet5.activation_name(layer)).output
        between = keras.Model(output, network.get_layer(following).output)
        x = tf.constant(np.random.default_rng(0).normal(size=(1, *output.shape[1:])), tf.float32)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            z = between(x)
        jacobian = tape.jacobian(z, x, experimental_use_pfor=False).numpy()
        gains = probing.gains(network, lenet5.activation_name(layer), following)
        assert gains["weight_gain"] * gains["pooling_gain"] == pytest.approx(np.sum(jacobian**2) / np.prod(x.shape), rel=1e-5)
        assert gains["pooling_gain"] == (kept if layer in ("conv1", "conv2") else 1)


def test_a_known_attenuation_is_measured_and_predicted(run_config, few_digits):
    """A tenth of a kernel passes a tenth of the gradient back. With derivatives of 1, the weights alone decide."""
    network = lenet5.build(run_config("activation=linear", "model.pooling=average"), few_digits.images["train"], 10)
    probe = probe_of(network, few_digits.images["val"], few_digits.labels["val"])

    def shares() -> tuple[float, float]:
        rows = probe.measure().set_index("layer")
        return rows.loc["conv3", "preact_grad_rms"] / rows.loc["dense1", "preact_grad_rms"], np.sqrt(
            rows.loc["conv3", ["slope_ms", "weight_gain", "pooling_gain"]].prod()
        )

    measured, predicted = shares()
    assert measured == pytest.approx(predicted, rel=0.1)
    dense = network.get_layer("dense1")
    dense.kernel.assign(dense.kernel / 10)
    now = shares()
    assert now[0] == pytest.approx(measured / 10, rel=0.02)  # the gradient that arrives has changed a little with the logits
    assert now[1] == pytest.approx(predicted / 10, rel=1e-5)


def test_batch_normalisation_is_probed_as_it_trains_and_left_as_it_was(run_config, few_digits):
    network = lenet5.build(run_config("activation=relu", "model.batch_normalization=true"), few_digits.images["train"], 10)
    before = network.get_weights()
    rows = probe_of(network, few_digits.images["val"], few_digits.labels["val"]).measure().set_index("layer")
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
def test_dead_and_saturated_units_by_hand(run_config, name, z, dead, saturated):
    layer = activations.build(run_config(f"activation={name}").activation)
    of_unit, share = unit_states(layer, tf.constant(z, tf.float32))
    assert (len(of_unit), of_unit.sum(), share) == (2, dead, pytest.approx(saturated))


def test_a_channel_is_one_unit_and_dies_only_at_every_position(run_config):
    layer = activations.build(run_config("activation=relu").activation)
    z = -np.ones((3, 4, 4, 5), np.float32)
    z[2, 3, 1, 0] = 1
    dead, saturated = unit_states(layer, tf.constant(z))
    assert dead.tolist() == [False, True, True, True, True]
    assert saturated == pytest.approx(1 - 1 / z.size)


def test_a_unit_of_maxout_is_as_steep_as_its_steepest_piece():
    layer = activations.build(Activation(name="maxout", layer="actgrad.networks.layers.Maxout", config={"pieces": 2}))
    dead, saturated = unit_states(layer, tf.constant([[-5.0, -1.0, 2.0, 9.0]]))
    assert (dead.tolist(), saturated) == ([False, False], 0)


@pytest.mark.parametrize("layer", ["PReLU", "ReLU", "actgrad.networks.layers.Maxout"])
def test_the_largest_derivative_is_that_of_the_function_wherever_the_layer_keeps_weights(layer):
    built = activations.build(Activation(name="x", layer=layer))
    z = tf.ones((2, 3, 3, 4))
    assert unit_states(built, z)[1] == 0
    assert slopes(built, derivative(built, tf.constant(probing._grid(built, z.shape)))).numpy().max() == 1


def test_layers_are_probed_in_their_order(trained):
    _, result, _ = trained
    assert result.probe["layer"].tolist() == list(LAYERS) * 3
    assert result.probe["epoch"].unique().tolist() == [0, 1, 2]
    measured = result.probe.set_index("layer")
    of_activations = ["slope_ms", "weight_gain", "pooling_gain", "dead", "newly_dead", "revived", "saturated"]
    assert measured.loc["output", of_activations].isna().all(axis=None)
    assert measured.loc[list(ACTIVATED_LAYERS), of_activations].notna().all(axis=None)
    assert names.SATURATION == 0.05
