"""Clips a second of the data pipeline alone, of training steps alone, and of both together.

    python benchmarks/training_speed.py FOLDER       a folder of clips, as docs/data.md has it
    python benchmarks/training_speed.py --forms      steps alone, with torch's own convolutions and with those of a training

Every network is trained as `everyframe train` does it, with the settings below. By the clock, on all cores, so run it on a
machine that does nothing else; the three are measured in turns. `--forms` is processor time of one thread, the least of some
steps. Writes benchmarks/results/training_speed.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import networks

from everyframe import recipes as recipes
from everyframe.benchmarking import Table, describe, one_line, save
from everyframe.data.clips import Collection
from everyframe.data.formats import read
from everyframe.modelfile.schema import Preprocess
from everyframe.recipes.training import ClipRecipe

if TYPE_CHECKING:
    from everyframe.training import loader

#: network -> frames, (height, width)
NETWORKS = {
    "motionnet_1.0x": (30, (72, 96)),
    "mobilenet3d_0.5x": (16, (64, 80)),
    "shufflenet3d_v2_1.0x": (16, (112, 112)),
    "tsm_mobilenet_v2_online": (8, (64, 80)),
}
STEPS, WARM = 14, 4
#: name -> options of the zoo: what `--forms` measures, on clips of this shape
FORMS: dict[str, dict[str, str]] = {
    "x3d_xs": {}, "x3d_xs, causal": {"causal": "true"}, "movinet_a0": {}, "movinet_a0_stream": {},
    "mobilenet3d_v2_0.45x": {}, "shufflenet3d_v2_0.5x": {}, "motionnet_1.0x": {},
}  # fmt: skip
SHAPE = (8, 3, 16, 48, 64)


class Watched:
    """A loader of `steps` batches that notes when each was asked for. repeat: the first one again and again."""

    def __init__(self, source: loader.Loader, repeat: bool) -> None:
        self.source, self.repeat, self.times = source, repeat, list[float]()

    def steps(self) -> int:
        return STEPS

    def batches(self, epoch: int, *_: int) -> Iterator[loader.Batch]:
        found = self.source.batches(epoch)
        first = next(found)
        for step in range(STEPS):
            self.times.append(time.perf_counter())
            yield first if self.repeat or not step else next(found)

    @property
    def seconds(self) -> float:
        """Of a batch."""
        return (self.times[-1] - self.times[WARM]) / (len(self.times) - 1 - WARM)


def trained(recipe: ClipRecipe, watched: Watched) -> float:
    from everyframe.training import folder, loop, network, objective, teacher  # torch: tables do without

    with tempfile.TemporaryDirectory() as made:
        run = folder.Run(Path(made), recipe, ())
        loss = teacher.Loss(recipe.training.label_smoothing)
        classes = max(clip.label for clip in watched.source.job.clips) + 1  # type: ignore[attr-defined]
        fabric, built = loop.launch(recipe), network.build(recipe, classes)
        labels = objective.Labels(fabric, built.preprocess, watched, None, loss)  # type: ignore[arg-type]
        loop.Loop(fabric, run, built, labels, recipe).fit()
    return watched.seconds


def measure(name: str, data: Path, collection: Collection, repeats: int) -> dict[str, Any]:
    from everyframe.training import loader

    frames, size = NETWORKS[name]
    recipe = recipes.load("quick", changes=[
        f'model.name="{name}"', f"model.frames={frames}", f"model.size={list(size)}", f"preprocess.resize={list(size)}",
        "training.epochs=1", f'data.root="{data}"', "data.cache=true",
    ])  # fmt: skip
    assert isinstance(recipe, ClipRecipe)
    preprocess = recipe.preprocess or Preprocess()
    kept, _ = loader.stores(recipe, collection, preprocess, size)
    kept.fill(collection.splits["train"], 2)
    found: dict[str, list[float]] = {"pipeline": [], "steps": [], "together": []}
    for _ in range(repeats):
        with loader.training_loader(recipe, collection, kept, frames, size) as source:
            alone = Watched(source, repeat=False)
            for _ in alone.batches(0):
                pass
            found["pipeline"].append(alone.seconds)
            found["steps"].append(trained(recipe, Watched(source, repeat=True)))
            found["together"].append(trained(recipe, Watched(source, repeat=False)))
    clips_s = {kind: round(recipe.training.batch / median(seconds), 1) for kind, seconds in found.items()}
    return {"network": name, "input": f"{frames}x{size[0]}x{size[1]}", "clips_s": clips_s}


def forms(name: str, repeats: int) -> dict[str, Any]:
    """Milliseconds a clip of forward and backward pass, by precision and form."""
    import torch
    from torch.nn import functional

    from everyframe import models
    from everyframe.training.convolutions import Fast
    from everyframe.training.network import channels_last

    torch.set_num_threads(1)
    net = models.create(name.split(",")[0], num_classes=17, frames=SHAPE[2], size=SHAPE[3:], in_channels=3, **FORMS[name]).train()
    channels_last(net)
    clips = torch.rand(SHAPE).contiguous(memory_format=torch.channels_last_3d)
    labels, found = torch.arange(SHAPE[0]), dict[str, float]()
    for precision in ("f32", "bf16"):
        for form, context in (("plain", contextlib.nullcontext), ("fast", Fast)):
            seconds = []
            for _ in range(1 + repeats):
                began = time.process_time()
                with context(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    logits = net(clips)
                functional.cross_entropy(logits.float(), labels).backward()
                seconds.append(time.process_time() - began)
            found[f"{precision} {form}"] = round(1000 * min(seconds[1:]) / SHAPE[0], 1)
    return {"network": name, "ms_a_clip": found}


def tables(results: dict[str, Any]) -> list[Table]:
    made = Table("Clips a second", ["network", "input", "pipeline", "steps", "together", "together / steps"])
    for row in results["rows"]:
        speed = row["clips_s"]
        share = f"{speed['together'] / speed['steps']:.0%}"
        made.rows.append([row["network"], row["input"], *(f"{speed[k]:g}" for k in ("pipeline", "steps", "together")), share])
    made.notes = [
        "batches of 16 in bf16, clips from the cache, augmentation of the recipe `quick`; "
        f"{results['workers']} worker processes beside {results['workers']} threads of torch",
        one_line(results["machine"]),
    ]
    kinds = [f"{precision} {form}" for precision in ("f32", "bf16") for form in ("plain", "fast")]
    steps = Table("Milliseconds of a training step, a clip", ["network", *kinds, "times"])
    for row in results.get("forms", {}).get("rows", ()):
        took = row["ms_a_clip"]
        best = min(took["f32 plain"], took["bf16 plain"]) / min(took["f32 fast"], took["bf16 fast"])
        steps.rows.append([row["network"], *(took[kind] for kind in kinds), f"{best:.1f}"])
    if steps.rows:
        steps.notes = [
            f"{SHAPE[0]} clips of {SHAPE[2]} frames of {SHAPE[3]} x {SHAPE[4]} pixels, forward and backward, one thread, "
            "processor time; plain: torch's own convolutions, in channels-last; times: by the better precision of each",
            one_line(results["forms"]["machine"]),
        ]
    return [made, steps] if steps.rows else [made]


def main() -> None:
    from everyframe.training import loader

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--forms", action="store_true")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "training_speed.json")
    args = parser.parse_args()
    known = json.loads(args.output.read_text("utf-8")) if args.output.is_file() else {}
    if args.forms or args.folder is None:
        known["forms"] = {"machine": describe("torch"), "rows": [forms(name, args.repeats) for name in FORMS]}
        tables(known)[-1].show()
        print(f"wrote {save(args.output, known)}")
        return
    first = recipes.load("quick", changes=[f'data.root="{args.folder.resolve()}"'])
    assert isinstance(first, ClipRecipe)
    collection = read(first.data, args.folder)
    rows = [measure(name, args.folder.resolve(), collection, args.repeats) for name in args.networks]
    results = {"benchmark": "training_speed", "machine": describe("torch"), "workers": loader.workers(first), "rows": rows}
    results |= {"forms": known["forms"]} if "forms" in known else {}
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
