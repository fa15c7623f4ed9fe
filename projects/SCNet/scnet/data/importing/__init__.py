"""Reading annotations in the formats of labelling tools, to write them as a COCO json file.

Each format is one file, which only reads. :mod:`.write_coco` writes what they give, and counts what
COCO's format does not have.
"""
