"""Registering data sets and loading them: COCO format, semantic maps, the built-in shapes."""
