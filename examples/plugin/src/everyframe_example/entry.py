"""A network of the zoo, as data: torch is imported when it is built, not when it is listed."""

from everyframe.modelfile.schema import Preprocess
from everyframe.models import Entry

EXAMPLE_NET = Entry(
    name="example_net",
    build="everyframe_example.network:ExampleNet",
    frames=8,
    size=(32, 32),
    num_classes=4,
    preprocess=Preprocess(resize=(32, 32), fps=10),
    head="head",
    paper="none: an example",
    source="everyframe-example",
    note="Two convolutions, to show what a plugin needs.",
)
