"""What processes of the tests' server need before they can train, done once in the server."""
import torch._dynamo  # noqa: F401  (the first step of an optimizer imports it)

from tests.quick_runners import collect_env

collect_env()
