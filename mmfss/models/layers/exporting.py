"""Whether the model is being written as a graph."""
import torch


def exporting() -> bool:
    """Check whether ``torch.export`` records the computation.

    A graph for all queries holds plain tensor operations: no loop that depends on values, no buffer written in place.
    What is faster otherwise has such a branch beside it.
    """
    # Since PyTorch 2.7; before, only `is_compiling` tells, for compiled models too.
    return getattr(torch.compiler, 'is_exporting', torch.compiler.is_compiling)()
