"""The fault campaign: random lines, random faults at random moments, judged by what the sinks hold afterwards.

    python -m benchmarks.faults                          1,000 faults, then a table
    python -m benchmarks.faults --seed 7 --write         another one; writes benchmarks/results/faults.json and .md
    python -m benchmarks.faults --only 7:12              trial 12 of campaign 7 alone, with all that is known of it
    python -m benchmarks.faults --keep runs/faults       keeps each trial's result, and goes on where it was ended
    python -m benchmarks.faults --recordings             every line has a recordsink, too; its trials are others

A trial is a line of one, two or four cameras and one to eight faults. A file line that exits with 0 must hold every
frame of every camera once, in order, with what an undisturbed line gives; one that does not must say why, and name what
is missing between frames that are there. A live line must never go back. None may hang, print a traceback, or leave a
process, shared memory or a file of a run. Root on Linux can fill disks and shared memory too: they are file systems of
the trial alone.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.drawing import Selection, draw
from benchmarks.faults.kept import Kept
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.place import find_reasons, open_place
from benchmarks.faults.table import make_table
from benchmarks.faults.trial import Report, Trial
from benchmarks.reporting import make_parser, write_results

_RESULT = "result: "
_LIMIT_S = 1000.0


def main() -> int:
    """Run one trial or a campaign; returns how many trials found something wrong, at most 100."""
    parser = make_parser(__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the campaign")
    parser.add_argument("--faults", type=int, default=1000, help="how many faults, at least")
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time")
    parser.add_argument("--first", type=int, default=0, help="index of the first trial")
    parser.add_argument("--only", metavar="SEED:INDEX", help="run this trial alone")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep results here; those that are here are not retaken"
    )
    parser.add_argument("--kinds", nargs="+", metavar="KIND", choices=sorted(KINDS), help="draw only these faults")
    parser.add_argument("--recordings", action="store_true", help="let every line record its frames, too")
    options = parser.parse_args()
    selection = Selection(tuple(options.kinds or ()), options.recordings)
    if options.only:
        seed, _, index = options.only.partition(":")
        return run_one(int(seed), int(index), selection)
    kept = Kept(options.keep, options.seed, selection)
    results = list(run_many(options.seed, options.first, options.faults, options.jobs, selection, kept))
    command = f"python -m benchmarks.faults --seed {options.seed} --faults {options.faults} --jobs {options.jobs}"
    command += _to_options(selection)
    text = make_table(results, command, find_reasons())
    print(text)
    if options.write:
        write_results("faults", [_shorten(result) for result in results], text)
    return min(100, sum(bool(result["violations"]) for result in results))


def run_one(seed: int, index: int, selection: Selection) -> int:
    """Run one trial in this process, print all about it, and last its result as JSON."""
    with open_place() as place:
        report = Trial(draw(seed, index, selection), place).run()
    print(_describe(report, selection))
    print(_RESULT + json.dumps(report.as_dict()), flush=True)
    return bool(report.violations)


def run_many(
    seed: int, first: int, faults: int, jobs: int, selection: Selection, kept: Kept
) -> Iterator[dict[str, Any]]:
    """Run trials, each in a process of its own, until so many faults have happened. A trial whose result is kept is not
    run again."""
    done, index = 0, first
    running: set[Future[dict[str, Any]]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        while done < faults or running:
            while done < faults and len(running) < jobs:
                running.add(pool.submit(kept.get, index, partial(run_apart, seed, index, selection)))
                index += 1
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                result = future.result()
                done += len(result["faults"])
                _print_progress(result, done)
                yield result


def run_apart(seed: int, index: int, selection: Selection) -> dict[str, Any]:
    """Run one trial in a process of its own; what it found."""
    command = [sys.executable, "-m", "benchmarks.faults", "--only", f"{seed}:{index}", *selection.words]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
        output, _, result = ran.stdout.rpartition(_RESULT)
        return {**json.loads(result), "index": index, "output": output}
    except (ValueError, subprocess.TimeoutExpired) as error:
        text = ran.stderr[-2000:] if isinstance(error, ValueError) else f"it took more than {_LIMIT_S} s"
        what = f"the trial itself failed: {text}"
        return {"index": index, "faults": [], "violations": [what], "seconds": 0.0, "output": f"{index}: {what}"}


def _print_progress(result: dict[str, Any], done: int) -> None:
    if result["violations"]:
        print(result["output"], flush=True)
    wrong = "; ".join(result["violations"]) or "as it should be"
    count = f"{len(result['faults'])} faults ({done} so far)"
    print(f"trial {result['index']}: {count}, {result['seconds']:.1f} s: {wrong[:200]}", flush=True)


def _describe(report: Report, selection: Selection) -> str:
    scenario = report.scenario
    live, name = "live" if scenario.is_live else "files", f"{scenario.seed}:{scenario.index}"
    rows = [
        f"-- trial {name} ({live}), exit status {report.code}, {report.seconds:.1f} s",
        f"   again: python -m benchmarks.faults --only {name}{_to_options(selection)}",
        *(f"   {line}" for line in report.text.splitlines()),
        f"   frames: {', '.join(f'{camera} {count}' for camera, count in scenario.frames.items())}",
        *(f"   at {one.at_s:.2f} s ({one.fault.moment}): {one.fault.kind}: {one.what}" for one in report.faults),
        *(f"   {name}: {held}" for name, held in report.held.items()),
        *(f"   stderr: {line[:300]}" for line in report.stderr.splitlines()[-25:]),
        *(f"   VIOLATION: {violation}" for violation in report.violations),
    ]
    return "\n".join(rows)


def _shorten(result: dict[str, Any]) -> dict[str, Any]:
    """What is written of a trial; ``--only`` shows the rest."""
    faults = [
        {"kind": one["fault"]["kind"], "at_s": round(one["at_s"], 2), "recovery_s": one["recovery_s"]}
        for one in result["faults"]
    ]
    return {key: result.get(key) for key in ("index", "code", "seconds", "violations")} | {"faults": faults}


def _to_options(selection: Selection) -> str:
    return "".join(f" {shlex.quote(word)}" for word in selection.words)


if __name__ == "__main__":
    raise SystemExit(main())
