"""``python -m benchmarks``: the library against the formulas written out, measured side by side on your own machine.

cases     what is measured: losses, warps, scores
step      a whole training step
scaling   several processes
measure   time and memory, memory in processes of their own
report    the file, the picture and the table that the README shows
"""
