"""How the evaluation of the motions' events is printed."""

from __future__ import annotations


def text(name: str, report: dict) -> str:
    streams, negatives, singles = report["streams"], report["negatives"], report["singles"]
    lines = [
        f"{name}: event rule {', '.join(f'{k} {v}' for k, v in report['rule'].items())}",
        f"  rendered streams     {streams['gestures']} gestures in {streams['minutes']} min: "
        f"recall {streams['recall']:.1%}, {streams['false_per_minute']:.2f} false events a minute, "
        f"F1 {streams['f1']:.3f}",
        f"  rendered negatives   {negatives['minutes']} min: {negatives['false_per_minute']:.2f} false events a minute",
        f"  single gestures      {singles['count']} clips, 8 labels: accuracy {singles['accuracy']:.1%}; "
        f"time reversed {singles['reversed_against_same_label']:.1%} "
        f"(against the reversed label {singles['reversed_against_reversed_label']:.1%}), "
        f"shuffled {singles['shuffled']:.1%}",
    ]
    for label, accuracy in singles["accuracy_by_label"].items():
        recall = streams["recall_by_label"].get(label)
        in_streams = "" if recall is None else f", recall in streams {recall:.1%}"
        lines.append(f"    {label:<26} accuracy {accuracy:.1%}{in_streams}")
    for name, found in streams.get("recall_by_factor", {}).items():
        shares = ", ".join(f"{part} {hits / count:.0%} of {count}" for part, (hits, count) in found.items())
        if shares:
            lines.append(f"    recall by {name:<16} {shares}")
    for folder, one in report.get("real", {}).items():
        lines += _folder(folder, one)
    return "\n".join(lines)


def _folder(name: str, one: dict) -> list[str]:
    if "classes" not in one:
        rate = f"{one['false_per_minute']:.2f} false events a minute {one['events']}"
        return [f"  {name:<20} {one['clips']} clips, {one['minutes']} min: {rate}"]
    lines = [
        f"  {name:<20} {one['mapped_clips']} clips of mapped classes: first event right {one['first']:.1%}, "
        f"any {one['any']:.1%}, peak {one['peak']:.1%}, silent {one['silent']:.1%} "
        f"(as cut, without a held last frame: right {one['as_cut']['first']:.1%}, silent {one['as_cut']['silent']:.1%}); "
        f"other classes {one['false_per_minute_on_other_classes']:.2f} false events a minute"
    ]
    for name, row in sorted(one["classes"].items()):
        mapped = row["label"] != "none"
        counts = f"first {row['first']}/{row['clips']}, peak {row['peak']}/{row['clips']}"
        counts = counts if mapped else f"silent {row['silent']}/{row['clips']}"
        lines.append(f"    {name:<20} -> {row['label']:<24} {counts}, first events {row['said']}")
    return lines
