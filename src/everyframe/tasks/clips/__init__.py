"""Networks that recognize, as far as they are not those of `training/`: how they are searched (torch).

choices, searched    what is chosen of a network, and the task as `nas/` sees it
"""
