"""Write benchmarks/README.md and the tables of docs/scale.md: what the benchmarks have measured."""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from actgrad import files
from actgrad.console import run_script
from actgrad.errors import UserError

HERE = Path(__file__).resolve().parent
README, SCALE = HERE / "README.md", HERE.parent / "docs" / "scale.md"
MEASURED = re.compile("(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)
"""What stands in docs/scale.md between these comments."""


def main() -> None:
    paths = [HERE / f"{name}.json" for name in ("training_time", "study_time", "growth")]
    if missing := [path.stem for path in paths if not path.is_file()]:
        raise UserError(f"not measured yet: {', '.join(missing)}; measure with python benchmarks/NAME.py, or all of them with make bench")
    training, study, growth = (json.loads(path.read_text()) for path in paths)
    if not MEASURED.search(SCALE.read_text()):
        raise UserError(f"{SCALE} has no lines <!-- measured --> and <!-- end -->; write them where the tables are to stand")
    files.write_bytes(README, text(training, study).encode())
    files.write_bytes(SCALE, MEASURED.sub(lambda _: growth_tables(growth), SCALE.read_text()).encode())
    print("benchmarks/README.md and docs/scale.md")


def text(training: dict, study: dict) -> str:
    ways, bfloat16 = training["ways"], training["bfloat16_accuracy"]
    own, plain = ways["actgrad"], ways["plain Keras"]
    forward = 2 * multiplications(*training["image_shape"])
    epoch = (3 * training["images"]["train"] + training["images"]["val"]) * forward
    gflops = {way: epoch / ways[way]["epoch_s"] / 1e9 for way in ("actgrad", "actgrad, bfloat16")}
    shares = [
        (precision, gflops[way], training["matrix_product_gflops"][precision])
        for precision, way in (("float32", "actgrad"), ("bfloat16", "actgrad, bfloat16"))
    ]
    epochs, rounds = training["epochs"], training["rounds"]
    parts = training["outside_s"]
    return f"""\
# What it costs

Written by `python benchmarks/overview.py` from what `make bench` measured. Everything is compared with the plain thing that a user would write:
[plain_keras.py](plain_keras.py) (`compile` and `fit`) and [plain_torch.py](plain_torch.py).

## One cell

`{training["command"]}`, {machine(training["machine"])}. LeNet-5 with ReLU on {training["dataset"]}, {training["images"]["train"]:,} images,
batches of {training["batch_size"]}, {training["threads"]} threads, {epochs} epochs; {rounds} rounds. Every training is a process
of its own; those of a round take turns of a quarter of a second, all others stopped meanwhile. Medians; ratios to plain Keras within a round, with
their 95 % intervals.

| | an epoch | to plain | processor time of an epoch | to plain | outside the epochs | to plain | memory at its peak | to plain |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{table_of_ways(ways)}

*actgrad* is `train.py` with all that it does: the gradient norm of every layer at every step, the probe, a checkpoint an epoch, and live
logging to MLflow. *The tap alone* is plain Keras with the norms ([tapped_keras.py](tapped_keras.py)). An epoch has its validation. The first
one also compiles: what it takes beyond the mean of the others counts as outside. Processor time, of all threads together, is moved
less by what else a shared machine does.

Where the {own["outside_s"]:.1f} s outside the epochs of actgrad go (plain Keras: {plain["outside_s"]:.1f} s):

| part | seconds |
| --- | --- |
{chr(10).join(f"| {part} | {value:.2f} |" for part, value in parts.items())}
| compiling, in the first epoch | {max(0.0, own["outside_s"] - sum(parts.values())):.2f} |

**Precision.** With `recipe.precision=mixed_bfloat16` an epoch takes {ways["actgrad, bfloat16"]["epoch_s"] / own["epoch_s"]:.2f} times as long as
in float32 on this processor; validation accuracy after {epochs} epochs differs by {interval(bfloat16, "+.1f", 100)} points
({rounds} seeds, paired).

**How far from the processor's limit.** An image takes {3 * forward / 1e6:.1f} MFLOP forward and backward, a third of it in validation. An epoch
has the probe, the checkpoint and the logging too.

| | this network | a product of 2048x2048 matrices | share |
| --- | --- | --- | --- |
{chr(10).join(f"| {precision} | {mine:.0f} GFLOP/s | {most:.0f} GFLOP/s | {100 * mine / most:.0f} % |" for precision, mine, most in shares)}

## A study

`{study["command"]}`, {machine(study["machine"])}: {study["cells"]} cells of digits of {study["epochs"]} epochs, from nothing,
with dataset, depth and report; each measured once.

| | seconds |
| --- | --- |
{chr(10).join(f"| {way} | {seconds:.0f} |" for way, seconds in study["seconds"].items())}
| dvc repro with nothing to do | {study["no_op_repro_s"]:.1f} |

dvc repro takes {study["repro_to_plain"]:.2f} times as long as the loop, whose scripts keep nothing of what they did. They use
all cores, a cell of digits one, so that a sweep trains as many cells at once as there are cores.

What activations cost is in [activation_time.json](activation_time.json) and in each report, the price of determinism in
[reproducibility.md](../docs/reproducibility.md), and how cost grows with the number of cells in [scale.md](../docs/scale.md).
"""


def growth_tables(growth: dict) -> str:
    pipelines, stores = growth["pipelines"], growth["stores"]
    of_pipelines = [
        [
            f"{row['cells']:,}",
            row["layout"],
            *(seconds(row[name], pipelines["limit_s"]) for name in ("status_s", "repro_s")),
            f"{row['lock_mb']:.2f} MB",
            seconds(row["report_s"], pipelines["limit_s"]),
            f"{row['report_mib']:.0f} MiB",
            f"{row['page_mb']:.2f} MB",
        ]
        for row in pipelines["rows"]
    ]
    of_stores = [
        [
            f"{row['cells']:,}",
            *(seconds(row[name], stores["limit_s"]) for name in ("publish_s", "publish_again_s")),
            f"{row['store_mb']:,.0f} MB",
            seconds(row["run_list_s"], stores["limit_s"]),
        ]
        for row in stores["rows"]
    ]
    return f"""
`{pipelines["command"]}`, {machine(pipelines["machine"])}:

| cells | laid out as | `dvc status` | `dvc repro`, nothing to do | dvc.lock | report | its memory | its page |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows_of(of_pipelines)}

`{stores["command"]}`, {machine(stores["machine"])}:

| cells | `publish.py` | again, nothing to add | MLflow's store | its list: a page of 100 runs |
| --- | --- | --- | --- | --- |
{rows_of(of_stores)}

"""


def seconds(value: float | None, limit: int) -> str:
    return f"over {limit} s" if value is None else f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"


def rows_of(table: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def table_of_ways(ways: dict) -> str:
    rows = []
    for way, row in ways.items():
        cells = [way]
        for value, shown in (
            ("epoch", f"{row['epoch_s']:.2f} s"),
            ("processor", f"{row['processor_s']:.1f} s"),
            ("outside", f"{row['outside_s']:.1f} s"),
            ("memory", f"{row['memory_mib']:.0f} MiB"),
        ):
            cells += [shown, interval(row[f"{value}_to_plain"])]
        rows.append(cells)
    return rows_of(rows)


def interval(found: dict, spec: str = ".2f", factor: float = 1) -> str:
    value, *ends = (None if found[name] is None else format(factor * found[name], spec) for name in ("value", "low", "high"))
    return value if None in ends else f"{value} [{', '.join(ends)}]"


def multiplications(height: int, width: int, channels: int) -> int:
    """Of one image in LeNet-5 with 5x5 kernels."""
    halved, quartered = (height // 2) * (width // 2), (height // 4) * (width // 4)
    return 25 * (height * width * channels * 6 + halved * 6 * 16 + quartered * 16 * 120) + quartered * 120 * 84 + 84 * 10


def machine(of: dict) -> str:
    return f"{of['processor']}, {of['cores']} cores, {of['memory_gib']} GiB, TensorFlow {of['tensorflow']}, Keras {of['keras']}"


if __name__ == "__main__":
    run_script(main)
