"""Running models: a `Program` holds the weights, a `Stream` the state of one video. No torch.

In the order in which data passes through: `program` (open) -> `engine` (which engines there are; `ort`, `reference`, `native`,
`openvino`; `auto` chooses) -> `states` (what is fed back, without copies) -> `stream` (frames in, predictions out; `pipeline`:
a split model in stages) -> `events`, `steady` (what is said about them) -> `play` (a video through a stream), `handed`, `feed`
(frames of somebody else); `profile` tells where the time goes.
"""

from everyframe.runtime.engine import ENGINES
from everyframe.runtime.play import Playback
from everyframe.runtime.prediction import Prediction, Top
from everyframe.runtime.program import BUILTIN, Program, open
from everyframe.runtime.stream import ClipStream, Stream

__all__ = ["BUILTIN", "ENGINES", "ClipStream", "Playback", "Prediction", "Program", "Stream", "Top", "open"]
