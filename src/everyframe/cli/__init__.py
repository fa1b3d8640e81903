"""The command line: `main` runs it, `verbs/` has one file a verb, `show/` is how things are printed and drawn."""
