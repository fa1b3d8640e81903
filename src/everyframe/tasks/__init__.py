"""What else than recognizing networks do, one folder a task. Every task has a recipe (`recipes/`); data, a loss and figures of
its own for the one training loop (`training/objective.py`); a head, which the file names (`task` of its metadata); a metric;
and a step for each frame, which writes what the task is about.

which               for which task a model or a run folder is
learning            what their trainings have in common (torch)
searching           what the searches of their networks have in common; searchable: a row for each (torch)
super_resolution    pictures and video, two to four times larger
detection           boxes of cars and people in scans of a lidar
clips               how networks that recognize are searched (torch)
"""
