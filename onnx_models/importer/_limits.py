"""Sizes that a model file may declare, checked before anything of that size is allocated."""

MAX_FILE_BYTES = 2**29
"""Bytes of the model file, and of its external data. Exact verification ends far below: 512 MiB hold 134 million float32 weights."""

MAX_NODES = 20_000
"""Nodes of the graph; ResNet-152 has about 500."""

MAX_RANK = 16
"""Dimensions of a tensor. numpy stops at 64; real networks use at most 5."""

MAX_ENTRIES = 2**27
"""Entries of one tensor, and of everything that lowering writes out in total (values, weights, index maps). In float64 this is 1 GiB."""
