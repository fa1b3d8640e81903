"""`python -m everyframe`: the command line, also below launchers such as `torchrun`."""

from everyframe.cli.start import run

run()
