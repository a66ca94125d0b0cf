"""The fused Triton kernels of RWKV-6, each with its plain reference beside it.

Installed as ``lofid.kernels``. This room may use torch, triton, numpy and the configuration types
of ``lofid.rwkv``, nothing else of lofid. Each module of kernels ends with ``VARIANTS``, what of it
is launched, which :mod:`lofid.kernels.targets` compiles for every GPU that we know of::

    python -m lofid.kernels.targets
"""

import os

# Multiply and add in one rounding, as Triton does unless told otherwise up to 3.9, where it warns
# that 3.10 will not. It reads this when it compiles.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
