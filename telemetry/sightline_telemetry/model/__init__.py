"""What a model was trained on, what it predicts, and how far the two are apart."""
