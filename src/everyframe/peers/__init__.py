"""Other systems that can run a clip network of ours, with the weights of its ONNX file: what we are measured against.

onnxruntime and OpenVINO are not here: they are engines of our own (`runtime/`), and run any ONNX file.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.util import find_spec

import onnx

from everyframe.errors import EngineError, EveryframeError, install_extra, pip_install
from everyframe.peers.network import Network


@dataclass(frozen=True)
class Peer:
    """packages: that it needs, as Python imports them. module: what loads a network with it. extra: of everyframe, that brings
    them; without one, pip does by their names.
    """

    packages: tuple[str, ...]
    module: str
    extra: str = ""

    @property
    def installed(self) -> bool:
        return all(find_spec(package) for package in self.packages)

    @property
    def how(self) -> str:
        """To get what is missing."""
        return install_extra(self.extra) if self.extra else pip_install(" ".join(self.packages))


PEERS = {
    "torch": Peer(("torch",), "everyframe.peers.eager", "train"),
    "torch.compile": Peer(("torch",), "everyframe.peers.compiled", "train"),
    "continual-inference": Peer(("torch", "continual"), "everyframe.peers.continual", "bench"),
    "ncnn": Peer(("ncnn", "pnnx"), "everyframe.peers.ncnn"),
}


def load(name: str, model: onnx.ModelProto, threads: int, where: object) -> Network:
    """Raises EngineError for one that is not installed or cannot run the network."""
    peer = PEERS[name]
    if not peer.installed:
        raise EngineError(f"{name} is not installed.", hint=peer.how)
    try:
        made: Network = importlib.import_module(peer.module).load(model, threads)
    except EveryframeError:
        raise
    except Exception as error:  # whatever a library says of a network that it does not take
        raise EngineError(f"{name} cannot run the network.", where=where, got=_first_line(error)) from None
    return made


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:200]}"
