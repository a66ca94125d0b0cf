"""The room of the fused Triton kernels, each with its plain reference beside it: none yet.

Installed as ``lofid.kernels``. This room may use the configuration types of ``lofid.rwkv``, nothing
else of lofid.
"""
