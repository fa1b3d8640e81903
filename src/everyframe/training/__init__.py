"""Training on labeled clips, in the order in which things happen.

run           a training from beginning to end; quick: the recipe that fits itself to the clips
network       a zoo network with the recipe's classes, frozen parts and dropout
begin         weights of another training, whose pictures have to be the same
loader        batches of clips, the same for any number of workers; augment: what training does to them
optimize      parameter groups and the schedule of the learning rate
teacher       soft targets
objective     what a training is for: batches, a loss, figures of a validation; that of labeled clips
hook          what may take part beside the loss
loop          steps and epochs toward an objective, on one process or several (lightning-fabric); precision, progress,
              convolutions: in forms that processors train fast
checkpoint    everything that a resumed training needs
folder        the run folder: what is written, and how
finish        the best weights as clip and step model, evaluated and reported
"""
