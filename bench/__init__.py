"""What measures lofid from outside: benches, long runs, attacks, the check of the GPU kernels.

For whoever works on lofid; no part of what is installed. Each module that can be run says how in
its first lines, and ``make`` lists them.
"""
