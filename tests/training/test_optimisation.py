import copy

import pytest
import torch

from piecemeal.training.optimisation import Stepper, build_optimiser, learning_rate

OPTIMISER = {"learning_rate": 0.01, "warmup_steps": 50, "warmup_factor": 0.1}


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.001), (49, 0.001), (50, 0.01), (51, 0.01), (10**6, 0.01)]
)
def test_learning_rate(step, rate):
    assert learning_rate(
        step, OPTIMISER, {"decay": {"kind": "none"}, "steps": 250}
    ) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.001), (49, 0.001), (50, 0.01), (150, 0.005), (50 + 200 / 3, 0.0075), (250, 0.0)],
)
def test_learning_rate_along_a_cosine(step, rate):
    """Down from its full height after the warm-up: cos(60 degrees) = 1/2 after a third."""
    plan = {"decay": {"kind": "cosine"}, "steps": 250}
    assert learning_rate(step, OPTIMISER, plan) == pytest.approx(rate)


def test_learning_rate_without_warm_up():
    optimiser = OPTIMISER | {"warmup_steps": 0}
    assert learning_rate(0, optimiser, {"decay": {"kind": "none"}, "steps": 10}) == 0.01


def test_learning_rate_along_a_polynomial():
    """Half-way after the warm-up: (1 / 2) ** 0.9."""
    plan = {"decay": {"kind": "polynomial", "power": 0.9}, "steps": 250}
    assert learning_rate(150, OPTIMISER, plan) == pytest.approx(0.01 * 0.5**0.9)
    assert learning_rate(250, OPTIMISER, plan) == 0


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 1.0), (50, 0.5), (90, 0.0245), (100, 1.0), (150, 0.5), (990, 0.0245)]
)
def test_warm_restarts_go_through_the_cosine_again_and_again(step, rate):
    """Ten in 1,000 steps, as ten epochs each of 100: epochs 0, 5, 9 and 10 of the schedule."""
    optimiser = {"learning_rate": 1.0, "warmup_steps": 0, "warmup_factor": 1.0}
    plan = {"decay": {"kind": "warm_restarts", "restarts": 10}, "steps": 1000}
    assert learning_rate(step, optimiser, plan) == pytest.approx(rate, abs=1e-4)


@pytest.mark.parametrize(
    ("step", "times"), [(0, 1), (159, 1), (160, 2), (1600, 11), (9999, 63), (10000, 63)]
)
def test_a_staircase_goes_down_at_every_part_of_the_training(step, times):
    """2,500 epochs of 4 steps, times 0.99 every 40 epochs and at the first: Li et al.'s code."""
    optimiser = {"learning_rate": 5e-4, "warmup_steps": 0, "warmup_factor": 1.0}
    decay = {"kind": "staircase", "factor": 0.99, "times": 62.5, "at_start": True}
    found = learning_rate(step, optimiser, {"decay": decay, "steps": 10000})
    assert found == pytest.approx(5e-4 * 0.99**times)


COMMON = {"learning_rate": 0.1, "weight_decay": 0.0, "clip_norm": None}


def moved(settings: dict, start: float, steps: int = 1, precision: str = "float32") -> float:
    """Where one weight is after steps down the slope 2."""
    weight = torch.nn.Parameter(torch.tensor([start]))
    optimiser = build_optimiser([weight], COMMON | settings)
    stepper = Stepper(optimiser, precision, torch.device("cpu"), (COMMON | settings)["clip_norm"])
    for _ in range(steps):
        stepper.step(2 * weight.sum())
    return weight.item()


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        ({"name": "sgd", "momentum": 0.0, "nesterov": False}, 1, 1 - 0.1 * 2),
        # Momentum 0.5: 2, then 2 + 0.5 * 2.
        ({"name": "sgd", "momentum": 0.5, "nesterov": False}, 2, 1 - 0.1 * (2 + 3)),
        # Nesterov looks ahead: 2 + 0.5 * 2, then 2 + 0.5 * 3.
        ({"name": "sgd", "momentum": 0.5, "nesterov": True}, 2, 1 - 0.1 * (3 + 3.5)),
        ({"name": "adam"}, 1, 1 - 0.1),
        # Decoupled: the weight shrinks by 0.1 * 0.5 of itself first.
        ({"name": "adamw", "weight_decay": 0.5}, 1, 1 - 0.05 - 0.1),
        ({"name": "sgd", "momentum": 0.0, "nesterov": False, "clip_norm": 0.5}, 1, 1 - 0.1 * 0.5),
        # The mean square is a hundredth of 4, so its root 0.2.
        ({"name": "rmsprop", "momentum": 0.9}, 1, 1 - 0.1 * 2 / 0.2),
    ],
)
def test_steps_by_hand(settings, steps, expected):
    assert moved(settings, 1.0, steps) == pytest.approx(expected, abs=1e-6)


def test_a_scaled_loss_steps_as_far():
    settings = {"name": "sgd", "momentum": 0.0, "nesterov": False}
    assert moved(settings, 1.0, precision="float16") == pytest.approx(0.8)


def test_a_gradient_that_overflows_is_passed_over_and_the_scale_falls():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    settings = COMMON | {"name": "sgd", "momentum": 0.0, "nesterov": False}
    stepper = Stepper(build_optimiser([weight], settings), "float16", torch.device("cpu"), None)
    before = stepper.state()["scaler"]["scale"]
    stepper.step(weight.sum() * torch.inf)
    assert weight.item() == 1
    assert stepper.state()["scaler"]["scale"] == before / 2


def test_state_is_restored():
    settings = COMMON | {"name": "adam"}

    def stepper(weight):
        return Stepper(build_optimiser([weight], settings), "float16", torch.device("cpu"), None)

    one, two = (torch.nn.Parameter(torch.tensor([1.0])) for _ in range(2))
    first, second = stepper(one), stepper(two)
    first.step(one.square().sum())
    with torch.no_grad():
        two.copy_(one)
    second.restore(copy.deepcopy(first.state()))
    for weight, each in ((one, first), (two, second)):
        each.step(3 * weight.square().sum())
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_parameter_may_be_left_out_of_the_first_steps(name):
    """Of networks side by side only those move of whose task the batch has samples."""
    settings = COMMON | {"name": name, "momentum": 0.9, "nesterov": name == "sgd"}
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimiser = build_optimiser(weights, settings, all_used=False)
    stepper = Stepper(optimiser, "float32", torch.device("cpu"), None)
    stepper.step(2 * weights[0].sum())
    assert weights[0].item() < weights[1].item() == 1.0
    stepper.step(2 * weights[0].sum() + 2 * weights[1].sum())
    assert weights[1].item() < 1.0


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("all_used", [True, False])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_steps_are_those_of_torch_to_the_bit(name, all_used, precision):
    """Also after the state went to a second optimiser, as from a checkpoint."""
    options = {"lr": 0.1, "weight_decay": 0.01}
    if name in ("sgd", "rmsprop"):
        options["momentum"] = 0.9
    if name != "rmsprop":
        options["fused"] = all_used or name != "sgd"
    kinds = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
    settings = COMMON | {"name": name, "momentum": 0.9, "nesterov": False, "weight_decay": 0.01}
    start = torch.linspace(-1, 1, 7)
    theirs, ours = (torch.nn.Parameter(start.clone()) for _ in range(2))
    device = torch.device("cpu")
    steppers = [
        Stepper(getattr(torch.optim, kinds[name])([theirs], **options), precision, device, None),
        Stepper(build_optimiser([ours], settings, all_used), precision, device, None),
    ]
    for step in range(6):
        for weight, stepper in zip((theirs, ours), steppers, strict=True):
            stepper.step((weight - step).square().sum())
        assert torch.equal(theirs, ours)
        state = copy.deepcopy(steppers[1].state())
        steppers[1] = Stepper(build_optimiser([ours], settings, all_used), precision, device, None)
        steppers[1].restore(state)
    assert not torch.equal(ours, start)
