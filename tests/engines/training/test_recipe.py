"""Recipes: the shipped ones are valid, and errors name the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.errors import EngineError  # noqa: E402
from engines.spec import network  # noqa: E402
from engines.training.recipe import read_recipe  # noqa: E402
from engines.training.tasks import find_spec, make_task  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("file", sorted((ROOT / "configs/training").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_recipe_is_valid(file: Path) -> None:
    read = read_recipe(file)
    spec = find_spec(read)
    # The papers' networks have 60 million weights; shapes are enough here.
    with torch.device("meta"):
        model = network.build(read.network, spec)
        make_task(read, spec).make_objective(model)
    assert all(
        model.get_submodule(name) for name in (*read.frozen, *(initial.into for initial in read.initial_weights))
    )
    assert all(milestone < read.epochs for milestone in read.optimisation.milestones)


def test_a_recipe_may_change_the_joints_of_its_network() -> None:
    read = read_recipe(ROOT / "configs/training/fami-subjhmdb.yaml")
    assert find_spec(read).skeleton == "jhmdb15"
    with torch.device("meta"):
        assert network.build(read.network, find_spec(read)).hrnet.final_layer.out_channels == 15


def test_an_unknown_skeleton_is_an_error_listing_the_known_ones() -> None:
    read = msgspec.structs.replace(read_recipe(ROOT / "configs/training/fami-subjhmdb.yaml"), skeleton="dog20")
    with pytest.raises(EngineError, match="skeleton 'dog20' is not known; there are coco17, "):
        find_spec(read)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": 3}, "recipe.yaml line 3, column 10: network must be text, not an integer"),
        ({"speed": "fast"}, "has no key 'speed'"),
        ({"batch": 0}, "batch must be an integer of at least 1"),
        ({"data": {"type": "synthetic", "first_scene": 7}}, "data.first_scene must be an integer of at least 100000"),
        ({"optimisation": {"name": "lion"}}, "optimisation.name cannot be 'lion'"),
    ],
)
def test_an_invalid_recipe_is_an_error_naming_the_field(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"network": "any", "data": {"type": "synthetic"}} | changes))
    with pytest.raises(EngineError) as caught:
        read_recipe(recipe)
    assert words in str(caught.value)


def test_a_missing_recipe_is_an_error_pointing_to_examples(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"No such file or directory; see configs/training for examples"):
        read_recipe(tmp_path / "none.yaml")
