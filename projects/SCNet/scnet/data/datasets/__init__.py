"""Data sets in COCO format: registering, finding and loading them."""
