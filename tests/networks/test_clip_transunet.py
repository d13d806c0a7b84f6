"""The CLIP-driven head on the 3D TransUNet: its vectors of structures, learned, drawn and given."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError

SMALL = {"root": 2, "tokens": 8, "depth": 1, "heads": 2, "patch": 32, "tasks": 3}


def small(**options) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("clip_transunet", 1, 2, **(SMALL | options)).eval()


def features() -> tuple[torch.Tensor, torch.Tensor]:
    """Of three images, as the head takes them."""
    return torch.randn(3, 256), torch.randn(3, 8, 4, 5, 6)


def vectors(rows: int = 3, kind: type = np.float16) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, 512)).astype(kind)


@pytest.mark.parametrize(
    ("options", "added"),
    [({"embeddings": "random"}, 342_817), ({}, 342_817 - (512 + 1) * 256 + 16 * 256)],
)
def test_published_size(parameters, options, added):
    """In place of the head of 17 classes; a learned vector makes do without the text's layer."""
    whole = parameters("versatile_transunet", 1, 17)
    assert parameters("clip_transunet", 1, 1, **options) == whole - 1_105 + added


def test_what_the_image_is_told_in():
    """Norm and ReLU of the tokens, their mean, and a linear layer to 256 numbers."""
    network, image = small(), torch.randn(2, 1, 32, 32, 32)
    head = network.dynamic
    with torch.inference_mode():
        tokens, last = network.backbone(image)
        context, maps = network.features(image)
        pooled = F.relu(F.group_norm(tokens, 8)).mean((2, 3, 4))
        torch.testing.assert_close(context, pooled @ head.image.weight.T + head.image.bias)
        assert context.shape == (2, 256)
        assert torch.equal(maps, head.last(last))


@pytest.mark.parametrize("embeddings", ["learned", "random"])
def test_head_by_hand(embeddings):
    """Three convolutions of size one, with weights from the image and the vector of a structure."""
    head, task, given = small(embeddings=embeddings).dynamic, torch.tensor([2, 0, 2]), features()
    with torch.inference_mode():
        found = head(given, task)
        for image, (context, maps) in enumerate(zip(*given, strict=True)):
            vector = head.structures.vectors[task[image]]
            if embeddings == "random":
                layer = head.structures.layer
                vector = F.relu(layer.weight @ vector + layer.bias)
            numbers = head.controller(torch.cat([context, vector]))
            x = maps[None]
            for weights, biases, outputs in ((0, 144, 8), (64, 152, 8), (128, 160, 2)):
                x = x.relu() if weights else x
                weight = numbers[weights : weights + 8 * outputs].view(outputs, 8, 1, 1, 1)
                x = F.conv3d(x, weight, numbers[biases : biases + outputs])
            torch.testing.assert_close(found[image], x[0])


def test_structures_differ():
    network, given = small(), features()
    with torch.inference_mode():
        assert not torch.allclose(network.head(given, 0), network.head(given, 1))


def test_learned_vectors_are_learned_and_drawn_ones_are_not():
    learned, drawn = small().dynamic.structures, small(embeddings="random").dynamic.structures
    assert learned.vectors.shape == (3, 256)
    assert [key for key, _ in learned.named_parameters()] == ["vectors"]
    assert drawn.vectors.shape == (3, 512)
    assert sorted(key for key, _ in drawn.named_parameters()) == ["layer.bias", "layer.weight"]
    assert "vectors" in drawn.state_dict()  # what predicts needs no second drawing


def test_drawn_vectors_depend_on_their_seed_alone():
    torch.manual_seed(0)
    one = networks.build("clip_transunet", 1, 1, embeddings="random", seed=1, **SMALL)
    two = networks.build("clip_transunet", 1, 1, embeddings="random", seed=1, **SMALL)
    other = networks.build("clip_transunet", 1, 1, embeddings="random", seed=2, **SMALL)
    one, two, other = (network.dynamic.structures.vectors for network in (one, two, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.var().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("suffix", ["npy", "pt"])
def test_vectors_of_a_file(tmp_path, suffix):
    """Rows in the order of the structures, whatever the kind of number."""
    path, given = tmp_path / f"text.{suffix}", vectors()
    if suffix == "npy":
        np.save(path, given)
    else:
        torch.save(torch.from_numpy(given), path)
    found = small(embeddings=str(path)).dynamic.structures.vectors
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found, given.astype(np.float32))


@pytest.mark.parametrize("shape", [(4, 512), (3, 256), (512,)])
def test_a_file_of_another_shape_is_refused(tmp_path, shape):
    np.save(tmp_path / "text.npy", np.zeros(shape, np.float32))
    with pytest.raises(InputError) as refused:
        small(embeddings=str(tmp_path / "text.npy"))
    assert f"{tmp_path / 'text.npy'} has the shape {shape}" in str(refused.value)
    assert "give a file of numbers of the shape (3, 512)" in str(refused.value)


def test_a_file_with_holes_is_refused(tmp_path):
    given = vectors(kind=np.float32)
    given[1, 7] = np.nan
    np.save(tmp_path / "text.npy", given)
    with pytest.raises(InputError, match=r"text.npy holds numbers that are not finite"):
        small(embeddings=str(tmp_path / "text.npy"))


class Malicious:
    """Whoever unpickles it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize("suffix", ["npy", "pt"])
def test_nothing_in_a_file_is_executed(tmp_path, suffix):
    path, touched = tmp_path / f"text.{suffix}", tmp_path / "touched"
    if suffix == "npy":
        np.save(path, np.array([Malicious(touched)], object), allow_pickle=True)
    else:
        torch.save([Malicious(touched)], path)
    with pytest.raises(InputError, match=rf"text.{suffix} cannot be read"):
        small(embeddings=str(path))
    assert not touched.exists()


def _text(path) -> None:
    path.write_text("no numbers")


def _nothing(path) -> None:
    path.touch()


def _missing(path) -> None:
    pass


@pytest.mark.parametrize("write", [_text, _nothing, _missing])
@pytest.mark.parametrize("suffix", ["npy", "pt"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, suffix, write):
    path = tmp_path / f"text.{suffix}"
    write(path)
    with pytest.raises(InputError, match=rf"embeddings {path} cannot be read .*\(3, 512\)"):
        small(embeddings=str(path))


def test_unknown_embeddings_are_refused():
    with pytest.raises(InputError, match="embeddings is 'lerned'; allowed: learned, random, or"):
        small(embeddings="lerned")
