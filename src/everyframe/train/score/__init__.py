"""Accuracy on labelled videos: of clips, of videos, and of the stream that a live user gets. numpy and onnx, no torch.

match      labels of the data and of the model, by name
models     a clip network and its step network, from a file or a run folder
orders     in which order a video's frames are played
measure    one video through both networks
tally      outcomes -> figures
run        all videos, several at once -> Result
draw       confusion matrix, accuracy over time, curves of a training
report     files in a folder, and one page that shows them
"""

from everyframe.train.score.models import Pair, open_pair
from everyframe.train.score.orders import CONTROLS
from everyframe.train.score.result import Result
from everyframe.train.score.run import evaluate

__all__ = ["CONTROLS", "Pair", "Result", "evaluate", "open_pair"]
