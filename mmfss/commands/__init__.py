"""Command lines: arguments first, heavy imports after.

Each module has the parser of a command, and imports its work from :mod:`mmfss.commands.runs` once the arguments are
known to be right. So ``--help`` and a wrong option are answered at once, and the threads are set before PyTorch is
loaded.
"""
from mmfss.utils.threads import set_up_threads

set_up_threads()
