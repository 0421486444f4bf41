"""Sizes that a model file may declare, checked before anything of that size is allocated."""

MAX_FILE_BYTES = 2**28
"""Bytes of the model file, and of its external data: 67 million float32 weights. Exact verification ends far below."""

MAX_NODES = 20_000
"""Nodes of the graph; ResNet-152 has about 500."""

MAX_RANK = 16
"""Dimensions of a tensor. numpy stops at 64; real networks use at most 5."""

MAX_ENTRIES = 2**26
"""Entries of all stored tensors together: 512 MiB as float64."""

MAX_INPUT_ENTRIES = 2**22
"""Entries of one input; an image of 3 x 1024 x 1024 has 3 million."""

MAX_WORDS = 2**27
"""Words of 8 bytes that lowering a whole model may write out (values, weights, index maps): 1 GiB."""
