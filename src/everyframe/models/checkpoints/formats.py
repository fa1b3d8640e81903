"""Which project wrote a checkpoint, told by its keys, and what its keys are called in our networks.

Our networks use the names of one project each (see catalog/), so most checkpoints need no renaming at all; they are
listed here so that a message can say what a file is. The others are renamed by rules, in order, each at most once a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from everyframe.models.registry import Entry

if TYPE_CHECKING:
    from torch import Tensor

Rules = tuple[tuple[str, str], ...]

# "stage2" ... "stage5" in the rules are the residual stages; where they lie depends on whether a pool follows the first.
STAGE_BLOCKS = {"blocks.5.proj": (1, 2, 3, 4), "blocks.6.proj": (1, 3, 4, 5)}


@dataclass(frozen=True)
class Format:
    """How one project writes one kind of network.

    networks: regex of the names in the zoo that it loads into. mark: regex that some key of such a file matches.
    rules: (regex, replacement) a part of a key. options: build option -> ((regex of a key, value), ...): the first that
    some key matches decides; an empty regex always matches.
    """

    project: str
    networks: str
    mark: str
    rules: Rules = ()
    options: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    note: str = ""

    def fits(self, name: str) -> bool:
        return re.fullmatch(self.networks, name) is not None


PYSLOWFAST_LAYERS: Rules = (
    (r"\.branch1\.", ".branch1_conv."),
    (r"\.branch1_bn\.", ".branch1_norm."),
    (r"\.branch2\.([abc])\.", r".branch2.conv_\1."),
    (r"\.branch2\.([abc])_bn\.", r".branch2.norm_\1."),
)
X3D_LAYERS: Rules = (
    (r"^s1\.pathway0_stem\.conv_xy\.", "blocks.0.conv.conv_t."),  # PyTorchVideo exchanged the two names
    (r"^s1\.pathway0_stem\.conv\.", "blocks.0.conv.conv_xy."),
    (r"^s1\.pathway0_stem\.bn\.", "blocks.0.norm."),
    (r"^s([2-5])\.pathway0_res(\d+)\.", r"stage\1.res_blocks.\2."),
    (r"\.branch2\.b_bn\.", ".branch2.norm_b.0."),
    (r"\.branch2\.se\.fc1\.", ".branch2.norm_b.1.block.0."),
    (r"\.branch2\.se\.fc2\.", ".branch2.norm_b.1.block.2."),
    *PYSLOWFAST_LAYERS,
    (r"^head\.conv_5\.", "blocks.5.pool.pre_conv."),
    (r"^head\.conv_5_bn\.", "blocks.5.pool.pre_norm."),
    (r"^head\.lin_5\.", "blocks.5.pool.post_conv."),
    (r"^head\.projection\.", "head."),
)
RESNET_LAYERS: Rules = (
    (r"^s1\.pathway0_stem\.conv\.", "blocks.0.conv."),
    (r"^s1\.pathway0_stem\.bn\.", "blocks.0.norm."),
    (r"^s([2-5])\.pathway0_res(\d+)\.", r"stage\1.res_blocks.\2."),
    *PYSLOWFAST_LAYERS,
    (r"^head\.projection\.", "head."),
)
CO_RESNET_LAYERS: Rules = (
    (r"^0\.", "blocks.0."),
    # containers for delays put numbers between a block and its layers: 1.pathway0_res0.0.1.branch2.conv_a
    (r"^1\.pathway0_res(\d+)\.(?:\d+\.)*", r"stage2.res_blocks.\1."),
    (r"^2\.pathway0_res(\d+)\.(?:\d+\.)*", r"stage3.res_blocks.\1."),
    (r"^3\.pathway0_res(\d+)\.(?:\d+\.)*", r"stage4.res_blocks.\1."),
    (r"^4\.pathway0_res(\d+)\.(?:\d+\.)*", r"stage5.res_blocks.\1."),
    *PYSLOWFAST_LAYERS,
    (r"^5\.projection\.", "head."),
)
SLOWFAST_LAYERS: Rules = (
    (r"^s1\.pathway([01])_stem\.conv\.", r"blocks.0.multipathway_blocks.\1.conv."),
    (r"^s1\.pathway([01])_stem\.bn\.", r"blocks.0.multipathway_blocks.\1.norm."),
    (r"^s1_fuse\.conv_f2s\.", "blocks.0.multipathway_fusion.conv_fast_to_slow."),
    (r"^s1_fuse\.bn\.", "blocks.0.multipathway_fusion.norm."),
    *((rf"^s{k}_fuse\.conv_f2s\.", f"blocks.{k - 1}.multipathway_fusion.conv_fast_to_slow.") for k in (2, 3, 4)),
    *((rf"^s{k}_fuse\.bn\.", f"blocks.{k - 1}.multipathway_fusion.norm.") for k in (2, 3, 4)),
    *((rf"^s{k}\.pathway([01])_res(\d+)\.", rf"blocks.{k - 1}.multipathway_blocks.\1.res_blocks.\2.") for k in (2, 3, 4, 5)),
    *PYSLOWFAST_LAYERS,
    (r"^head\.projection\.", "head."),
)
PLAIN_C3D: Rules = (
    (r"^conv([12])\.", r"backbone.conv\1a.conv."),
    (r"^conv([345][ab])\.", r"backbone.conv\1.conv."),
    (r"^fc([67])\.", r"backbone.fc\1."),
    (r"^fc8\.", "head."),
)
ONE_WAY_TSM: Rules = (
    (r"^base_model\.", ""),
    (r"\.net\.weight$", ".weight"),
    (r"^new_fc\.", "head."),
)
#: of a MobileNet-V1 in stages of so many blocks
MOBILENET_STAGES = (1, 2, 2, 6, 2)
MOBILENET_V1: Rules = (
    (r"^conv_stem\.", "features.0.0."),
    (r"^bn1\.", "features.0.1."),
    *(
        (rf"^blocks\.{stage}\.{block}\.", f"features.{1 + sum(MOBILENET_STAGES[:stage]) + block}.")
        for stage, blocks in enumerate(MOBILENET_STAGES) for block in range(blocks)
    ),
    (r"\.conv_dw\.", ".0."),
    (r"(features\.\d+)\.bn1\.", r"\1.1."),
    (r"\.conv_pw\.", ".3."),
    (r"\.bn2\.", ".4."),
    (r"^classifier\.", "head."),
)  # fmt: skip

#: In order; the first whose mark is found and that fits the network is taken.
FORMATS = (
    Format(
        "PySlowFast or co3d",
        r"x3d_.+",
        r"^s1\.pathway0_stem\.conv_xy\.weight$",
        X3D_LAYERS,
        {"first_shortcut": ((r"^s2\.pathway0_res0\.branch1_bn\.", "conv_bn"), ("", "conv"))},
    ),
    Format("PySlowFast", r"slowfast_.+", r"^s1\.pathway1_stem\.conv\.weight$", SLOWFAST_LAYERS),
    Format("PySlowFast", r"(slow|i3d|c2d)_r50", r"^s1\.pathway0_stem\.conv\.weight$", RESNET_LAYERS),
    Format("co3d", r"(slow|i3d|c2d)_r50", r"^1\.pathway0_res0\.", CO_RESNET_LAYERS),
    Format(
        "C3D converted from Caffe",
        r"c3d",
        r"^conv3a\.weight$",
        PLAIN_C3D,
        note="such files come with frames of their own (mostly B, G, R minus a mean): the file does not say which",
    ),
    Format(
        "temporal-shift-module",
        r"tsm_mobilenet_v2_online",
        r"^base_model\.features\.",
        ONE_WAY_TSM,
        note="the file does not say which way it was trained to shift; weights of a two-way shift are wrong here",
    ),
    Format(
        "timm",
        r"early3d_mobilenet_[\d.]+x",
        r"^conv_stem\.weight$",
        MOBILENET_V1,
        note="such networks cut activations off at 6, this one does not: a start for a training, not a finished classifier",
    ),
    # written with our names
    Format("temporal-shift-module", r"tsm_(mobilenet_v2|resnet50)", r"^base_model\."),
    Format("temporal-shift-module (online demo)", r"tsm_mobilenet_v2_online", r"^features\.2\.conv\.0\.weight$"),
    Format("torchvision", r"(r3d|mc3|r2plus1d)_18", r"^stem\.0\.weight$"),
    Format("torchvision", r"s3d", r"^features\.0\.0\.0\.weight$"),
    Format("pytorch-i3d", r"i3d", r"^Conv3d_1a_7x7\.conv3d\.weight$"),
    Format("MMAction2", r"c3d", r"^backbone\.conv1a\.conv\.weight$"),
    Format("PyTorchVideo", r"slowfast_.+", r"^blocks\.0\.multipathway_blocks\."),
    Format(
        "PyTorchVideo",
        r"x3d_.+",
        r"^blocks\.0\.conv\.conv_t\.weight$",
        options={"first_shortcut": ((r"^blocks\.1\.res_blocks\.0\.branch1_norm\.", "conv_bn"), ("", "conv"))},
    ),
    Format("PyTorchVideo", r"(slow|i3d|c2d|r2plus1d|csn)_r\d+", r"^blocks\.0\.conv\.weight$"),
    Format(
        "Efficient-3DCNNs",
        r"res(net|next)3d_\d+",
        r"^layer1\.0\.conv1\.weight$",
        options={"shortcut": ((r"\.downsample\.0\.weight$", "B"), ("", "A"))},
    ),
    Format(
        "MoViNet-pytorch",
        r"movinet_a\d(_stream)?",
        r"^blocks\.b0_l0\.alpha$",
        options={"conv": ((r"\.conv3d\.", "3d"), ("", "2plus1d"))},
    ),
    Format("Efficient-3DCNNs", r"c3d_bn", r"^group1\.0\.weight$"),
    Format("Efficient-3DCNNs", r"squeezenet3d", r"^features\.4\.squeeze\.weight$"),
    Format("Efficient-3DCNNs", r"mobilenet3d_[\d.]+x", r"^features\.1\.conv1\.weight$"),
    Format("Efficient-3DCNNs", r"mobilenet3d_v2_[\d.]+x", r"^features\.1\.conv\.0\.weight$"),
    Format("Efficient-3DCNNs", r"shufflenet3d_[\d.]+x", r"^layer1\.0\.conv3\.weight$"),
    Format("Efficient-3DCNNs", r"shufflenet3d_v2_[\d.]+x", r"^features\.0\.banch1\.0\.weight$"),
)


def recognize(keys: Iterable[str]) -> list[Format]:
    """The formats whose mark these keys bear; several projects call some layers alike."""
    keys = list(keys)
    return [one for one in FORMATS if any(re.search(one.mark, key) for key in keys)]


def build_options(found: Format, keys: Iterable[str]) -> dict[str, str]:
    """Options of the network that only the checkpoint knows."""
    keys = list(keys)
    return {
        option: next(value for mark, value in rows if any(re.search(mark, key) for key in keys))
        for option, rows in found.options.items()
    }


def rename(found: Format, entry: Entry, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The checkpoint under our names. A key that no rule touches keeps its name."""
    return {_rename(found.rules, entry.head, key): value for key, value in state.items()}


def _rename(rules: Rules, head: str, key: str) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    if rules and key.startswith("head."):
        return f"{head}.{key.removeprefix('head.')}"
    if stage := re.match(r"stage([2-5])\.", key):
        return f"blocks.{STAGE_BLOCKS[head][int(stage[1]) - 2]}.{key[stage.end() :]}"
    return key
