"""Looking for mistakes in data sets: in a json file, in its image files, between several sets."""
