"""Accuracy on labeled videos: of clips, of videos, and of the stream that a live user gets. No torch.

source     which videos: a folder, or what a recipe names
match      labels of the data and of the model, by name
fit        what is true of clips, as the model would say it
metrics    figures as their fields compute them: arrays in, numbers out
models     a clip network and its step network, from a file or a run folder
controls   in which order a video's frames are played, to find out what a network goes by
measure    one video through both networks
tally      outcomes -> figures
run        all videos, several at once -> `result`
tasks      the same for several labels, quantities, and labels of frames -> `task_tally`, `task_result`
features   what a network's classifier sees of each video
probe      labels read from those, by a linear classifier and by neighbors
spans      events on long recordings, against the spans in which things happen
draw       confusion matrix, accuracy over time, curves of a training
report     files in a folder, and one `page` that shows them; `task_report` those of `tasks`
"""

from everyframe.evaluation.controls import CONTROLS
from everyframe.evaluation.models import Pair, open_pair
from everyframe.evaluation.result import Result
from everyframe.evaluation.run import evaluate

__all__ = ["CONTROLS", "Pair", "Result", "evaluate", "open_pair"]
