"""One file a verb, each with a function `command`: read the arguments, call the package, print."""
