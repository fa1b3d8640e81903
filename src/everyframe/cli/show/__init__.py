"""How things are printed: `console`, tables of `models`, `accuracy` and `events_report`; `live` views, the `timeline`, and
`watch`, which runs a video before them.
"""
