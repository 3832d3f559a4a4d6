"""Two processes on a CPU, started by torchrun: they train as one, rank 0 writes, and errors are reported once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.training.session import WEIGHTS, prepare  # noqa: E402
from tests.engines.datasets import sample_datasets  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch was built without torch.distributed"),
]

HRNET = {"width": 12, "modules": [1, 1, 1], "blocks": 1, "stem_width": 8, "bottlenecks": 1}


def recipe(folder: Path, network: dict[str, Any], settings: dict[str, Any]) -> Path:
    """A recipe that trains for seconds, and the catalogue entry of its network."""
    entry = {"kind": "network", "title": "micro", "licence": "Apache-2.0"}
    shape = {"hrnet": HRNET, "input_size": [64, 64], "skeleton": "coco17"}
    (folder / "micro.yaml").write_text(yaml.safe_dump({**entry, "network": {**shape, **network}}))
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"network": str(folder / "micro.yaml"), **settings}))
    return path


def torchrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Two processes, one thread each; temporary files go to ``folder``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_two_processes_train_as_one_without_batch_statistics(tmp_path: Path) -> None:
    sample_datasets.coco(tmp_path / "data")
    # IMAPose has batch normalisation only in its backbone, which is frozen.
    network = {"model": "imapose.IMAPose", "window": [-1, 0, 1], "options": {"radius": 1, "dilations": [1, 3]}}
    settings = {
        "data": {"type": "coco", "root": str(tmp_path / "data")},
        "epochs": 2,
        "batch": 7,
        # No random augmentation, since each rank draws numbers for its own share.
        "augmentation": {"flip": 0, "gain": 0, "tint": 0, "shift": 0},
        "frozen": ["hrnet"],
        "optimisation": {"rate": 1e-3, "clip": 1.0, "ema": 0.9},
    }
    path = recipe(tmp_path, network, settings)
    alone = prepare(path, tmp_path / "alone", tensorboard=False)
    # The last batch of an epoch is one sample, so one rank has no share of it.
    assert len(alone.trainer.samples) == 8
    alone.run()
    done = torchrun(tmp_path, "stream", "train", str(path), "--out", str(tmp_path / "two"), "--no-tensorboard")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 2: PCK@0.05") == 1
    assert done.stderr.count("to export it:") == 1
    one, two = (steps(tmp_path / name / "log.jsonl") for name in ("alone", "two"))
    assert [row["step"] for row in two] == [row["step"] for row in one] == [1, 2, 3, 4]
    for mine, theirs in zip(one, two, strict=True):
        # float32 sums of half the batch, added up: 2^-24 for each of some hundred additions.
        assert theirs["total"] == pytest.approx(mine["total"], rel=1e-5)
        assert theirs["gradient_norm"] == pytest.approx(mine["gradient_norm"], rel=1e-4)
    assert len({row["total"] for row in one}) == 4
    assert sorted(file.name for file in (tmp_path / "two").iterdir()) == ["last", "log.jsonl", WEIGHTS]


def steps(log: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row for row in rows if "total" in row]


def test_ranks_stay_in_sync_resume_exactly_and_report_errors_once(tmp_path: Path) -> None:
    done = torchrun(tmp_path, "tests.engines.training.two_processes", str(tmp_path))
    findings = [json.loads((tmp_path / f"findings{rank}.json").read_text()) for rank in (0, 1)]
    for rank in (0, 1):
        assert findings[rank]["loss not finite"] == ("RemoteRankError" if rank else "EngineError")
        assert findings[rank]["missing file"] == ("EngineError: no file for 1" if rank else "RemoteRankError: ")
        facts = {name: findings[rank][name] for name in ("in sync", "resumed exactly", "stopped after", "wrote")}
        assert facts == {"in sync": True, "resumed exactly": True, "stopped after": 2, "wrote": True}
    assert findings[0]["other rank exited"] == (
        "EngineError: rank 0 of 2: another rank of this training has ended, see its own message; run the same command "
        "to resume"
    )
    assert done.returncode != 0  # rank 1 exited with a message
