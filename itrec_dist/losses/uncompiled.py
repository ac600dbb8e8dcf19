"""A decorator for what `torch.compile` leaves out of its graphs."""

# The public `torch.compiler.disable` imports the compiler where a function is defined, which takes
# two seconds at the start of every command. This one imports it at the first call.
from torch._compile import _disable_dynamo as uncompiled

__all__ = ["uncompiled"]
