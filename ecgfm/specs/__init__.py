"""What a model is and takes, on paper: no file is opened, no kernel is loaded."""
