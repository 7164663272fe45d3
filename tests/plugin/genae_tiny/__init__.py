"""What the tests add to the framework from outside."""

import torch  # noqa: F401, whoever imports this package for a help text is seen to
