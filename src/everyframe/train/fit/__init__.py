"""Training on labelled clips, in the order in which things happen.

network       a zoo network with the recipe's classes, frozen parts and dropout
optimise      parameter groups and the schedule of the learning rate
teacher       soft targets
hook          what may take part beside the loss
loop          steps and epochs, on one process or several (lightning-fabric)
checkpoint    everything that a resumed training needs
folder        the run folder: what is written, and how
finish        the best weights as clip and step model, evaluated and reported
"""
