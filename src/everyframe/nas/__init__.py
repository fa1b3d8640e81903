"""Networks searched that are fast enough and as good as can be, in the order of its parts.

After Zhan et al., ICCV 2021 (arXiv:2108.08910): a supernet that is trained once, architecture and pruning chosen against a
latency model of measured layers, then pruning rates, then retraining; with the RNN of Zhao et al. (arXiv:2012.13801) among what
proposes networks.

space         choices by name, in one vector
task          what a task gives: how a network is built, judged and measured in parts
parts         a table of measured parts, and a network's time from it; layers: parts that are a layer alone
controllers/  random, evolution, bayesian, policy: what proposes the next network
schemes       pruning among the choices
supernet      all networks in one set of weights; sandwich: how those are trained, and networks measured (torch)
trials, draw  the log, and its picture
find          choices for a time
run           the stages in a folder
"""
