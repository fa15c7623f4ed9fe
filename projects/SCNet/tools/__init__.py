"""The commands. A tool reads its command line, and only then imports PyTorch and calls ``scnet``.

It is a package of its own, ``scnet_tools``, since the import of anything below ``scnet`` imports
PyTorch, which takes seconds.
"""
