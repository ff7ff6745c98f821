"""Search spaces for these tests, seconds, not minutes, and who trains in them."""

from soak.health import called

SMALL = """
name: small
data: {name: digits, train_size: 300, validation_size: 200}
model: lenet-300-100
training:
  epochs: 5
  batch_size: 50
  optimizer: {name: sgd, lr: {low: 0.02, high: 0.2, log: true}}
recipe:
  choices:
    magnitude: {schedule.final_sparsity: {low: 0.5, high: 0.95}}
    dyprune: {schedule.b: {low: 7.0, high: 20.0}, stopping: {every: {epochs: 1}}}
    dense: {}
objectives: {accuracy: maximize, params: minimize}
"""


def write(folder, text=SMALL, **search):
    """A YAML file with this text and these settings of the section ``search`` (six trials, two at a time)."""
    settings = {"trials": 6, "concurrency": 2, **search}
    path = folder / "small.yaml"
    path.write_text(text + "search: {" + ", ".join(f"{key}: {value}" for key, value in settings.items()) + "}\n")
    return path


def ranks():
    """Process ids of the ranks below this process, by Ray's name for them."""
    return called("ray::Member")
