"""Sharing a trained model: a folder of what others need, and its way to Hugging Face."""
